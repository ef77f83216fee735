#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/output.h"
#include "base/error.h"
#include "base/file.h"
#include "sweep/report.h"

namespace ckv {
namespace {

struct ReportCommand {
  std::string sweep;
  std::string folder;
  std::string quality;
  std::string baseline;
  CommandOutput output;
};

void WriteReport(const ReportCommand& command) {
  std::string path = command.sweep;
  if (!FileExists(path)) throw IoError(path, "there is no such file or folder");
  if (IsDirectory(path)) {
    path = JoinPath(path, "runs/sweep.yaml");
    if (!FileExists(path)) {
      throw FormatError(command.sweep, "", "is no sweep's folder: it has no runs/sweep.yaml");
    }
  }
  SweepConfig config = LoadSweepConfig(path);
  // A folder may have been moved.
  if (IsDirectory(command.sweep)) config.dir = command.sweep;
  if (!command.quality.empty()) config.quality = command.quality;
  if (!command.baseline.empty()) config.baseline = command.baseline;
  const SweepResults results = ReadSweepResults(config);
  const std::string folder = command.folder.empty() ? config.dir : command.folder;
  MakeDirs(folder);
  OrderedJson json;
  std::string text;
  const std::pair<const char*, std::string> files[] = {
      {"report.html", ReportHtml(config, results)},
      {"report.md", ReportMarkdown(config, results)},
      {"results.csv", ReportCsv(results)}};
  for (const auto& [name, content] : files) {
    const std::string file = JoinPath(folder, name);
    WriteFileAtomically(file, content);
    json["files"].push_back(file);
    text += file + "\n";
  }
  json["points"] = results.points.size();
  json["groups"] = results.groups.size();
  command.output.Print(json, text);
}

}  // namespace

void AddReportCommand(CLI::App& program) {
  const auto options = std::make_shared<ReportCommand>();
  CLI::App* command = program.add_subcommand(
      "report", "Write what a sweep found: an HTML page, Markdown and a CSV table");
  command->add_option("SWEEP", options->sweep, "YAML file or folder of a sweep")
      ->type_name("PATH")
      ->required();
  command->add_option("--out", options->folder, "Folder for the files (default: the sweep's)")
      ->type_name("DIR");
  command->add_option("--quality", options->quality, "The metric drawn against KV bytes")
      ->type_name("METRIC");
  command->add_option("--baseline", options->baseline, "The point that others are compared with")
      ->type_name("LABEL");
  options->output.AddJson(*command);
  command->footer("Example:\n  ckv report experiments/first-study/sweep.yaml");
  command->callback([options] { WriteReport(*options); });
}

}  // namespace ckv
