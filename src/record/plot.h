// Pictures of runs: reads metrics.jsonl of one or several runs and draws them with gnuplot.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ckv {

struct PlotOptions {
  // Names as in record/names.h. Those starting with "valid_" are drawn as points joined by lines,
  // the others as lines; "x" and "valid_x" share a panel. Runs may lack metrics, but a panel
  // without any point is an error.
  std::vector<std::string> metrics = {"loss", "valid_loss"};
  std::string x_axis = "step";  // step | tokens | seconds
  // 0 to <1. Above 0, lines other than of validation are means over neighbouring points, weighted
  // by smoothing^distance; the points themselves are drawn pale behind.
  double smoothing = 0.0;
  bool log_x = false;
  bool log_y = false;
  std::string title;
  int64_t width = 960;  // pixels
  int64_t height = 600;
  bool keep_data = false;  // leave <out without ending>.gp and .dat, from which gnuplot redraws it
  std::string gnuplot = "gnuplot";  // program to run, looked up on PATH
};

// Draws `runs` (run folders, or metrics.jsonl files) into `out`, an .svg or .png file, which is
// replaced at once or left as it was. Throws ConfigError for options that cannot be met (also: runs
// without points, another file ending, gnuplot not installed), FormatError for broken metrics and
// IoError.
void PlotRuns(const std::vector<std::string>& runs, const PlotOptions& options,
              const std::string& out);

}  // namespace ckv
