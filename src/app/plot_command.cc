#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/output.h"
#include "record/plot.h"

namespace ckv {
namespace {

struct PlotCommand {
  std::vector<std::string> runs;
  std::string out;
  PlotOptions plot;
  CommandOutput output;
};

void PlotByOptions(const PlotCommand& options) {
  PlotRuns(options.runs, options.plot, options.out);
  OrderedJson json;
  json["file"] = options.out;
  json["runs"] = options.runs;
  json["metrics"] = options.plot.metrics;
  options.output.Print(json, options.out);
}

}  // namespace

void AddPlotCommand(CLI::App& program) {
  const auto options = std::make_shared<PlotCommand>();
  PlotOptions& plot = options->plot;
  CLI::App* command = program.add_subcommand("plot", "Draw the metrics of runs into one picture");
  command->add_option("RUN", options->runs, "Run folders, or metrics.jsonl files")
      ->required()
      ->type_name("FOLDER");
  command->add_option("--out", options->out, "Picture to write, .svg or .png")
      ->required()
      ->type_name("FILE");
  command
      ->add_option("--metric", plot.metrics,
                   "Metric to draw (repeat for more); 'x' and 'valid_x' share a panel")
      ->allow_extra_args(false)
      ->default_str("loss, valid_loss");
  command->add_option("--x", plot.x_axis, "What the x axis counts")
      ->check(CLI::IsMember({"step", "tokens", "seconds"}))
      ->capture_default_str();
  command
      ->add_option("--smoothing", plot.smoothing,
                   "From 0 to below 1: means over neighbouring points, the points pale behind")
      ->capture_default_str();
  command->add_flag("--log-x", plot.log_x, "Logarithmic x axis");
  command->add_flag("--log-y", plot.log_y, "Logarithmic y axis");
  command->add_option("--title", plot.title, "Title above the picture");
  command->add_option("--width", plot.width, "Pixels")->capture_default_str();
  command->add_option("--height", plot.height, "Pixels")->capture_default_str();
  command->add_flag("--keep-data", plot.keep_data,
                    "Leave the gnuplot script and its data beside the picture");
  command->add_option("--gnuplot", plot.gnuplot, "Program that draws")
      ->type_name("PROGRAM")
      ->capture_default_str();
  options->output.AddJson(*command);
  command->footer(
      "Example:\n"
      "  ckv plot experiments/default/runs/* --smoothing 0.9 --out loss.svg");
  command->callback([options] { PlotByOptions(*options); });
}

}  // namespace ckv
