#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/output.h"
#include "base/error.h"
#include "base/file.h"
#include "config/config.h"
#include "config/yaml_reader.h"
#include "config/yaml_writer.h"
#include "record/metrics.h"
#include "record/names.h"
#include "sweep/report.h"

namespace ckv {
namespace {

constexpr size_t kCompareCurvePoints = 300;

struct CompareRuns {
  std::vector<std::string> runs;
  std::string html;
  CommandOutput output;
};

void FlattenValue(const ConfigValue& value, const std::string& name, FlatConfig* flat) {
  if (value.kind() == ConfigValue::Kind::kMap) {
    for (const auto& [key, item] : value.entries()) {
      FlattenValue(item, name.empty() ? key : name + "." + key, flat);
    }
  } else {
    flat->emplace_back(name, FlowYaml(value));
  }
}

struct ComparedRun {
  std::string path;
  FlatConfig config;
  std::map<std::string, double> values;
  std::vector<MetricRow> rows;
};

ComparedRun ReadComparedRun(const std::string& path) {
  const std::string config = JoinPath(path, "config.yaml");
  if (!IsDirectory(path) || !FileExists(config)) {
    throw FormatError(path, "", "is no folder of a run: it has no config.yaml");
  }
  ComparedRun run;
  run.path = path;
  FlattenValue(ReadYamlFile(config), "", &run.config);
  // A sweep's stages leave their results as files of the folder.
  std::vector<std::string> stages;
  for (const std::string& name : ListDir(path)) {
    const bool json = name.size() > 5 && name.substr(name.size() - 5) == ".json";
    if (json && name != "run.json" && name != "point.json" && name != "result.json") {
      stages.push_back(name.substr(0, name.size() - 5));
    }
  }
  if (FileExists(JoinPath(path, "eval/results.json"))) stages.emplace_back("eval/results");
  run.values = ValuesOfRun(path, stages);
  run.rows = ReadMetrics(JoinPath(path, "metrics.jsonl"));
  return run;
}

std::string Padded(const std::string& text, size_t width) {
  return text + std::string(text.size() < width ? width - text.size() : 1, ' ');
}

Chart CurvesOf(const std::vector<ComparedRun>& runs, const std::string& metric,
               const std::string& title) {
  Chart chart;
  chart.title = title;
  chart.x_label = "tokens";
  chart.y_label = "nats per token";
  for (size_t i = 0; i < runs.size(); ++i) {
    ChartSeries series;
    series.label = runs[i].path;
    series.colour = static_cast<int>(i) % kNumChartColours + 1;
    series.points = CurveOf(runs[i].rows, metric, kCompareCurvePoints);
    if (!series.points.empty()) chart.series.push_back(std::move(series));
  }
  return chart;
}

std::string CompareHtml(const std::vector<ComparedRun>& runs,
                        const std::vector<ConfigDifference>& differences,
                        const std::set<std::string>& names) {
  const std::string title = Str(runs[0].path, " and ", runs[1].path);
  std::string html = PageStart(title) + Str("<h1>", EscapeHtml(title), "</h1>\n");
  const auto head = [&](const char* first) {
    return Str("<div class=\"scroll\"><table class=\"left\"><thead><tr><th>", first, "</th><th>",
               EscapeHtml(runs[0].path), "</th><th>", EscapeHtml(runs[1].path),
               "</th></tr></thead><tbody>\n");
  };
  html += Str("<h2>Configuration</h2>\n", head("key"));
  for (const ConfigDifference& difference : differences) {
    html += Str("<tr><td>", EscapeHtml(difference.key), "</td><td>", EscapeHtml(difference.left),
                "</td><td>", EscapeHtml(difference.right), "</td></tr>\n");
  }
  html += Str("</tbody></table></div>\n<h2>Results</h2>\n", head("metric"));
  for (const std::string& name : names) {
    html += Str("<tr><td>", EscapeHtml(name), "</td>");
    for (const ComparedRun& run : runs) {
      const auto found = run.values.find(name);
      html += Str("<td>", found == run.values.end() ? "" : ShortNumber(found->second), "</td>");
    }
    html += "</tr>\n";
  }
  html += "</tbody></table></div>\n";
  for (const auto& [metric, name] :
       {std::pair(kMetricValidLoss, "Validation loss"), std::pair(kMetricLoss, "Training loss")}) {
    const Chart chart = CurvesOf(runs, metric, name);
    if (chart.series.empty()) continue;
    html += Str("<h2>", name, "</h2>\n<div class=\"wide\">", ChartSvg(chart, 860, 420),
                "</div><div class=\"narrow\">", ChartSvg(chart, 340, 360), "</div>\n");
  }
  return html + PageEnd();
}

void RunCompareRuns(const CompareRuns& command) {
  std::vector<ComparedRun> runs;
  for (const std::string& path : command.runs) runs.push_back(ReadComparedRun(path));
  const std::vector<ConfigDifference> differences = DiffConfigs(runs[0].config, runs[1].config);
  std::set<std::string> names;
  for (const ComparedRun& run : runs) {
    for (const auto& [name, value] : run.values) names.insert(name);
  }
  std::string text = Str("A: ", runs[0].path, "\nB: ", runs[1].path, "\n\n");
  OrderedJson json;
  json["a"] = runs[0].path;
  json["b"] = runs[1].path;
  json["config"] = OrderedJson::array();
  text += Padded("key", 34) + Padded("A", 28) + "B\n";
  for (const ConfigDifference& difference : differences) {
    text += Padded(difference.key, 34) +
            Padded(difference.left.empty() ? "-" : difference.left, 28) +
            (difference.right.empty() ? "-" : difference.right) + "\n";
    json["config"].push_back(
        {{"key", difference.key}, {"a", difference.left}, {"b", difference.right}});
  }
  text += "\n" + Padded("metric", 34) + Padded("A", 14) + Padded("B", 14) + "B - A\n";
  json["metrics"] = OrderedJson::array();
  for (const std::string& name : names) {
    const auto a = runs[0].values.find(name);
    const auto b = runs[1].values.find(name);
    OrderedJson item = {{"name", name}};
    text += Padded(name, 34);
    text += Padded(a == runs[0].values.end() ? "-" : ShortNumber(a->second), 14);
    text += Padded(b == runs[1].values.end() ? "-" : ShortNumber(b->second), 14);
    if (a != runs[0].values.end()) item["a"] = a->second;
    if (b != runs[1].values.end()) item["b"] = b->second;
    if (a != runs[0].values.end() && b != runs[1].values.end()) {
      text += ShortNumber(b->second - a->second);
    }
    text = text.substr(0, text.find_last_not_of(' ') + 1) + "\n";
    json["metrics"].push_back(std::move(item));
  }
  if (!command.html.empty()) {
    WriteFileAtomically(command.html, CompareHtml(runs, differences, names));
  }
  command.output.Print(json, text);
}

}  // namespace

void AddCompareCommand(CLI::App& program) {
  const auto options = std::make_shared<CompareRuns>();
  CLI::App* command = program.add_subcommand(
      "compare", "How two runs differ: configuration, results, and with --html their curves");
  command->add_option("RUN", options->runs, "Folders of two runs")
      ->type_name("FOLDER")
      ->required()
      ->expected(2);
  command->add_option("--html", options->html, "Write a page with curves, too")->type_name("FILE");
  options->output.AddOptions(*command);
  command->footer(
      "Example:\n  ckv compare experiments/demo/runs/first experiments/demo/runs/second --html "
      "compare.html");
  command->callback([options] { RunCompareRuns(*options); });
}

}  // namespace ckv
