// `ckv conic`: scores of Conic10K predictions, whoever made them.
#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/conic_report.h"
#include "app/output.h"
#include "base/error.h"
#include "base/file.h"
#include "conic/annotation.h"

namespace ckv {
namespace {

struct ConicCheckCommand {
  std::string gold;
  std::string predicted;
  std::string task = "parsing";
  std::string mode = "compat";
  std::string arithmetic = "auto";
  std::string train;
  std::string rows;
  bool unspaced = false;
  int64_t show = 5;
  CommandOutput output;
};

// The first rows with unreadable lines.
std::string FaultText(const ConicReport& report, int64_t limit) {
  std::string text;
  int64_t shown = 0;
  for (const OrderedJson& row : report.rows) {
    if (!row.contains("unreadable")) continue;
    if (shown++ == limit) break;
    for (const auto& fault : row["unreadable"]) {
      text += Str("  row ", row["index"].get<int64_t>(), ", ", fault.get<std::string>(), "\n");
    }
  }
  return text.empty() || limit == 0 ? "" : "unreadable, first rows:\n" + text;
}

void CheckByOptions(const ConicCheckCommand& command) {
  ConicCheck check;
  check.task = ConicTask(command.task);
  check.mode = command.mode == "strict" ? conic::Mode::kStrict : conic::Mode::kCompat;
  check.arithmetic = command.arithmetic;
  check.gold = conic::ReadGold(command.gold, check.task, !command.unspaced);
  const conic::PredictionFile predictions =
      conic::ReadPredictions(command.predicted, check.gold.size());
  check.predicted = predictions.rows;
  if (!command.train.empty()) {
    check.leaked = conic::FindLeaked(check.gold, conic::ReadProblems(command.train));
  }
  ConicReport report = CheckConic(check);
  report.summary["missing"] = predictions.missing;
  if (!command.rows.empty()) {
    std::string lines;
    for (const OrderedJson& row : report.rows)
      lines += row.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
    WriteFileAtomically(command.rows, lines);
  }
  if (predictions.missing > 0) {
    report.text += Str(predictions.missing, " rows have no prediction and count as empty ones\n");
  }
  command.output.Print(report.summary, report.text + FaultText(report, command.show));
}

struct ConicParseCommand {
  std::string text;
  std::string mode = "compat";
  CommandOutput output;
};

// The trees of one annotation, and what cannot be read.
void ParseByOptions(const ConicParseCommand& command) {
  const conic::Mode mode = command.mode == "strict" ? conic::Mode::kStrict : conic::Mode::kCompat;
  conic::TermPool pool;
  std::vector<conic::LineFault> faults;
  const std::vector<conic::Line> lines = conic::SplitLines(command.text);
  conic::Scope scope;
  OrderedJson json;
  std::string text;
  json["declarations"] = OrderedJson::array();
  for (const conic::Declaration& one : conic::ReadDeclarations(lines, &faults)) {
    scope[one.name] = pool.MakeSymbol(one.name, pool.Label(one.concept_name));
    json["declarations"].push_back({one.name, one.concept_name});
    text += Str(one.name, ": ", one.concept_name, "\n");
  }
  const conic::Statements read = conic::ReadStatements(lines, scope, mode, &pool, &faults);
  const auto add = [&](const char* key, const std::vector<conic::TermId>& terms) {
    json[key] = OrderedJson::array();
    for (const conic::TermId term : terms) {
      json[key].push_back(conic::ToText(pool, term));
      text += Str(conic::ToText(pool, term), std::string(key) == "queries" ? " = ?\n" : "\n");
      for (const std::string& doubt : conic::Doubts(pool, term)) {
        json["doubts"].push_back(doubt);
        text += "  note: " + doubt + "\n";
      }
    }
  };
  add("facts", read.facts);
  add("queries", read.queries);
  json["unreadable"] = OrderedJson::array();
  for (const conic::LineFault& fault : faults) {
    json["unreadable"].push_back(fault.ToString());
    text += "unreadable: " + fault.ToString() + "\n";
  }
  command.output.Print(json, text);
}

void AddModeOption(CLI::App& command, std::string* mode) {
  command
      .add_option("--mode", *mode,
                  "compat: as the benchmark's own scorer; strict: with its faults repaired")
      ->check(CLI::IsMember({"compat", "strict"}))
      ->capture_default_str();
}

void AddCheck(CLI::App& conic) {
  const auto options = std::make_shared<ConicCheckCommand>();
  CLI::App* command = conic.add_subcommand("check", "Score predictions against gold");
  command
      ->add_option("GOLD", options->gold,
                   "A file of the release, or JSON lines with 'gold' (and 'text')")
      ->type_name("FILE")
      ->required();
  command
      ->add_option("PRED", options->predicted,
                   "JSON lines (strings, or objects with 'pred' and perhaps 'index'), or text with "
                   "one prediction a line")
      ->type_name("FILE")
      ->required();
  command->add_option("--task", options->task, "What is predicted")
      ->check(CLI::IsMember({"parsing", "answer", "reasoning"}))
      ->capture_default_str();
  AddModeOption(*command, &options->mode);
  command->add_flag("--unspaced", options->unspaced,
                    "Gold statements as the release writes them, not spaced as models see them");
  command
      ->add_option("--arithmetic", options->arithmetic,
                   "Of answers; exact needs FLINT, points are no proof (auto: exact where built)")
      ->check(CLI::IsMember({"auto", "exact", "points"}))
      ->capture_default_str();
  command
      ->add_option("--train", options->train,
                   "Release file: score also without rows whose text stands in it")
      ->type_name("FILE");
  command->add_option("--rows", options->rows, "Write a JSON line for every row")
      ->type_name("FILE");
  command->add_option("--show", options->show, "Rows with unreadable lines to print")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
  options->output.AddOptions(*command);
  command->footer(
      "Exit codes: 0 scored, whatever the score; 2 wrong usage; 3 a broken file (the message "
      "names\n"
      "line or row); 4 a file cannot be read or written. Lines of predictions that are no "
      "statement\n"
      "are no error: they are counted and told.\n\n"
      "Example:\n"
      "  ckv conic check test.json predictions.jsonl --train train.json --rows rows.jsonl");
  command->callback([options] { CheckByOptions(*options); });
}

void AddParse(CLI::App& conic) {
  const auto options = std::make_shared<ConicParseCommand>();
  CLI::App* command =
      conic.add_subcommand("parse", "Show how an annotation reads, and what is unreadable in it");
  command->add_option("TEXT", options->text, "Statements, ';' between them")->required();
  AddModeOption(*command, &options->mode);
  options->output.AddOptions(*command);
  command->callback([options] { ParseByOptions(*options); });
}

}  // namespace

void AddConicCommand(CLI::App& program) {
  CLI::App* conic = program.add_subcommand("conic", "Conic10K: score predictions, read statements");
  conic->require_subcommand(1);
  AddCheck(*conic);
  AddParse(*conic);
}

}  // namespace ckv
