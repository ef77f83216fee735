#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/eval_commands.h"
#include "app/output.h"
#include "base/error.h"
#include "base/file.h"
#include "tasks/results.h"

namespace ckv {
namespace {

struct CompareCommand {
  std::vector<std::string> runs;
  double level = 0.05;
  CommandOutput output;
};

struct RunResults {
  std::string name;
  std::vector<TaskResult> tasks;
};

// A row of the table: one metric of one task, of a run against the first.
struct CompareRow {
  std::string task;
  std::string metric;
  std::string run;
  double left = 0.0;
  double right = 0.0;
  size_t documents = 0;
  PairedFigure paired;
};

RunResults ReadRun(const std::string& path) {
  const std::string file = IsDirectory(path) ? JoinPath(path, "eval/results.json") : path;
  if (!FileExists(file)) {
    throw IoError(file, "there is no such file; 'ckv eval tasks --out FILE' writes one");
  }
  return {path, ReadResults(file)};
}

const TaskResult* FindTaskResult(const RunResults& run, const std::string& name) {
  for (const TaskResult& task : run.tasks) {
    if (task.name == name) return &task;
  }
  return nullptr;
}

std::vector<DocumentScore> FirstScores(const TaskResult& task, const std::string& metric,
                                       size_t count) {
  std::vector<DocumentScore> scores;
  for (size_t i = 0; i < count; ++i) scores.push_back(task.scores[i].at(metric));
  return scores;
}

void CompareTask(const RunResults& left, const TaskResult& base, const RunResults& right,
                 std::vector<CompareRow>* rows) {
  const TaskResult* other = FindTaskResult(right, base.name);
  if (other == nullptr) return;
  if (other->fingerprint != base.fingerprint) {
    throw ConfigError(right.name, Str("its task '", base.name, "' is not that of ", left.name,
                                      ": documents, prompts or examples differ"));
  }
  const size_t count = std::min(base.scores.size(), other->scores.size());
  for (const std::string& metric : base.metrics) {
    if (other->scores.front().count(metric) == 0) continue;
    const std::vector<DocumentScore> a = FirstScores(base, metric, count);
    const std::vector<DocumentScore> b = FirstScores(*other, metric, count);
    const Metric& kind = *FindMetric(metric);
    rows->push_back({base.name, metric, right.name, Aggregate(kind, a).value,
                     Aggregate(kind, b).value, count, ComparePaired(kind, a, b)});
  }
}

OrderedJson NumberOrNull(double value) {
  return std::isfinite(value) ? OrderedJson(value) : OrderedJson(nullptr);
}

void RunCompare(const CompareCommand& command) {
  std::vector<RunResults> runs;
  for (const std::string& path : command.runs) runs.push_back(ReadRun(path));
  std::vector<CompareRow> rows;
  for (const TaskResult& task : runs[0].tasks) {
    for (size_t i = 1; i < runs.size(); ++i) CompareTask(runs[0], task, runs[i], &rows);
  }
  if (rows.empty()) throw ConfigError("", "the runs have no task in common");
  std::string text = Str("left: ", runs[0].name, "\n\n",
                         "task            metric           right                       documents  "
                         "    left     right     diff     ± se         p\n");
  OrderedJson json;
  json["left"] = runs[0].name;
  json["rows"] = OrderedJson::array();
  for (const CompareRow& row : rows) {
    char line[512];
    std::snprintf(line, sizeof(line), "%-15s %-16s %-27s %9zu %9.4f %9.4f %+8.4f %8.4f %9.2g%s\n",
                  row.task.c_str(), row.metric.c_str(), row.run.c_str(), row.documents, row.left,
                  row.right, row.paired.difference, row.paired.stderr_of_difference,
                  row.paired.p_value, row.paired.p_value < command.level ? " *" : "");
    text += line;
    json["rows"].push_back({{"task", row.task},
                            {"metric", row.metric},
                            {"right", row.run},
                            {"documents", row.documents},
                            {"left_value", row.left},
                            {"right_value", row.right},
                            {"difference", row.paired.difference},
                            {"difference_stderr", row.paired.stderr_of_difference},
                            {"left_only", row.paired.left_only},
                            {"right_only", row.paired.right_only},
                            {"p", NumberOrNull(row.paired.p_value)}});
  }
  text += Str("\n*: p < ", command.level,
              ", on the same documents: McNemar's exact test for accuracies, else Student's t\n");
  command.output.Print(json, text);
}

}  // namespace

void AddEvalCompareCommand(CLI::App& eval) {
  const auto options = std::make_shared<CompareCommand>();
  CLI::App* command = eval.add_subcommand(
      "compare", "Whether models differ on downstream tasks, document by document");
  command
      ->add_option("RUN", options->runs,
                   "Results of 'ckv eval tasks --out', or folders with eval/results.json; the "
                   "others are compared with the first")
      ->type_name("FILE")
      ->required()
      ->expected(2, 1000);
  command->add_option("--level", options->level, "Mark differences with a smaller p")
      ->type_name("P")
      ->capture_default_str();
  options->output.AddOptions(*command);
  command->footer("Example:\n  ckv eval compare vanilla.json cla2.json sandwich.json");
  command->callback([options] { RunCompare(*options); });
}

}  // namespace ckv
