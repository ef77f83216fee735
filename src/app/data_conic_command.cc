// `ckv data conic`: Conic10K's release files as pairs of prompts and targets.
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/conic_commands.h"
#include "app/conic_report.h"
#include "app/output.h"
#include "base/error.h"
#include "base/file.h"

namespace ckv {
namespace {

struct DataConicCommand {
  std::vector<std::string> files;
  std::string task = "parsing";
  std::string out;
  std::string text;
  std::string without;
  CommandOutput output;
};

void MakePairs(const DataConicCommand& command) {
  const conic::Task task = ConicTask(command.task);
  std::vector<conic::Problem> problems;
  for (const std::string& file : command.files) {
    for (conic::Problem& problem : conic::ReadProblems(file)) {
      problems.push_back(std::move(problem));
    }
  }
  std::vector<conic::GoldRow> texts;
  for (const conic::Problem& problem : problems) texts.push_back({"", problem.text});
  std::vector<bool> leaked(problems.size(), false);
  if (!command.without.empty()) {
    leaked = conic::FindLeaked(texts, conic::ReadProblems(command.without));
  }
  std::string lines;
  std::string plain;
  int64_t num_pairs = 0;
  int64_t num_without_target = 0;
  int64_t num_leaked = 0;
  for (size_t i = 0; i < problems.size(); ++i) {
    const conic::PromptAndTarget pair = conic::MakePrompt(problems[i], task);
    if (leaked[i] || !pair.has_target) {
      ++(leaked[i] ? num_leaked : num_without_target);
      continue;
    }
    OrderedJson json;
    json["index"] = i;
    json["prompt"] = pair.prompt;
    json["target"] = pair.target;
    // What is no UTF-8 would stop the writing of all.
    lines += json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
    plain += pair.prompt + " " + pair.target + "\n";
    ++num_pairs;
  }
  if (num_pairs == 0) throw ConfigError("--task", "no row of the files has a target for it");
  WriteFileAtomically(command.out, lines);
  if (!command.text.empty()) WriteFileAtomically(command.text, plain);
  OrderedJson json;
  json["task"] = command.task;
  json["rows"] = problems.size();
  json["pairs"] = num_pairs;
  json["without_target"] = num_without_target;
  json["left_out"] = num_leaked;
  json["out"] = command.out;
  command.output.Print(json,
                       Str(num_pairs, " pairs of ", problems.size(), " rows (", num_without_target,
                           " without a target, ", num_leaked, " left out) in ", command.out, "\n"));
}

}  // namespace

void AddDataConic(CLI::App& data) {
  const auto options = std::make_shared<DataConicCommand>();
  CLI::App* command = data.add_subcommand(
      "conic", "Make pairs for 'data.kind: pairs' from Conic10K's release files");
  command->add_option("FILE", options->files, "train.json, dev.json, test.json")
      ->required()
      ->type_name("FILE");
  command
      ->add_option("--task", options->task,
                   "parsing: text to statements; answer: text to answers; reasoning: text to the "
                   "worked solution and answers (rows that have one)")
      ->check(CLI::IsMember({"parsing", "answer", "reasoning"}))
      ->capture_default_str();
  command->add_option("--out", options->out, "JSON lines with index, prompt and target")
      ->required()
      ->type_name("FILE");
  command
      ->add_option("--text", options->text, "Write the same as plain text, to train a tokenizer on")
      ->type_name("FILE");
  command
      ->add_option("--without", options->without,
                   "Release file: leave out rows whose text stands in it")
      ->type_name("FILE");
  options->output.AddJson(*command);
  command->footer("Example:\n  ckv data conic train.json --out train.jsonl --text train.txt");
  command->callback([options] { MakePairs(*options); });
}

}  // namespace ckv
