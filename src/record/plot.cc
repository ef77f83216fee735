#include "record/plot.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "record/gnuplot.h"
#include "record/metrics.h"
#include "record/names.h"

namespace ckv {
namespace {

constexpr char kOrigin[] = "plot";
constexpr char kValidPrefix[] = "valid_";

// Okabe and Ito's colours, which people with any kind of colour vision tell apart; without their
// yellow, which is too light on white.
constexpr const char* kColours[] = {"0072B2", "D55E00", "009E73", "CC79A7",
                                    "E69F00", "56B4E9", "000000"};
constexpr size_t kNumColours = sizeof(kColours) / sizeof(kColours[0]);

// A metric's axis: its label, and what values are multiplied by to be shown.
struct Axis {
  std::string label;
  double scale = 1.0;
};

struct Point {
  double x;
  double y;
};

// One curve: the points of one metric of one run.
struct Curve {
  std::string label;
  size_t run = 0;
  bool validation = false;
  std::vector<Point> points;
  std::vector<Point> raw;  // before smoothing; empty: the same
};

// One coordinate system: the metrics that differ only in "valid_".
struct Panel {
  Axis y;
  std::vector<Curve> curves;
};

bool IsValidation(const std::string& metric) { return metric.rfind(kValidPrefix, 0) == 0; }

std::string PanelKey(const std::string& metric) {
  return IsValidation(metric) ? metric.substr(sizeof(kValidPrefix) - 1) : metric;
}

Axis YAxis(const std::string& key) {
  static const std::map<std::string, Axis> kAxes = {
      {kMetricLoss, {"loss (nats per token)", 1.0}},
      {"perplexity", {"perplexity", 1.0}},
      {"accuracy", {"next-token accuracy (%)", 100.0}},
      {kMetricLr, {"learning rate (1e-3)", 1e3}},
      {kMetricGradNorm, {"gradient norm", 1.0}},
      {kMetricTokensPerSecond, {"tokens per second (thousands)", 1e-3}},
      {kMetricMfu, {"model FLOPs utilization (%)", 100.0}},
      {kMetricMemoryBytes, {"memory (GiB)", 1.0 / (1 << 30)}},
  };
  const auto it = kAxes.find(key);
  return it == kAxes.end() ? Axis{key, 1.0} : it->second;
}

// The axis whose unit suits values up to `largest`.
Axis XAxis(const std::string& name, double largest) {
  if (name == "seconds") {
    if (largest >= 2 * 3600) return {"training time (hours)", 1.0 / 3600};
    if (largest >= 2 * 60) return {"training time (minutes)", 1.0 / 60};
    return {"training time (seconds)", 1.0};
  }
  const std::string what = name == "tokens" ? "training tokens" : "optimizer steps";
  if (largest >= 2e9) return {what + " (billions)", 1e-9};
  if (largest >= 2e6) return {what + " (millions)", 1e-6};
  if (largest >= 2e5) return {what + " (thousands)", 1e-3};
  return {what, 1.0};
}

// --- reading ---

std::string WithoutTrailingSlashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

std::string MetricsPath(const std::string& run) {
  return IsDirectory(run) ? JoinPath(run, "metrics.jsonl") : run;
}

// The shortest ends of the run folders' paths that tell them apart.
std::vector<std::string> RunLabels(const std::vector<std::string>& runs) {
  std::vector<std::string> folders;
  for (const std::string& run : runs) {
    const std::string path = WithoutTrailingSlashes(run);
    folders.push_back(IsDirectory(path) ? path : DirName(path));
  }
  std::vector<std::string> labels;
  for (const std::string& folder : folders) labels.push_back(BaseName(folder));
  for (bool changed = true; changed;) {
    changed = false;
    const std::vector<std::string> before = labels;
    for (size_t i = 0; i < labels.size(); ++i) {
      if (std::count(before.begin(), before.end(), before[i]) < 2) continue;
      if (before[i].size() + 1 >= folders[i].size()) continue;
      const size_t cut = folders[i].size() - before[i].size() - 1;
      const size_t slash = folders[i].rfind('/', cut - 1);
      labels[i] = folders[i].substr(slash == std::string::npos ? 0 : slash + 1);
      changed = true;
    }
  }
  return labels;
}

std::optional<double> XOf(const MetricRow& row, const std::string& x_axis) {
  return x_axis == "step" ? std::optional<double>(static_cast<double>(row.step()))
                          : row.Find(x_axis);
}

std::vector<Point> PointsOf(const std::vector<MetricRow>& rows, const std::string& metric,
                            const PlotOptions& options) {
  std::vector<Point> points;
  for (const MetricRow& row : rows) {
    const std::optional<double> x = XOf(row, options.x_axis);
    const std::optional<double> y = row.Find(metric);
    if (!x || !y || !std::isfinite(*x) || (options.log_x && *x <= 0)) continue;
    const bool shown = std::isfinite(*y) && !(options.log_y && *y <= 0);
    points.push_back({*x, shown ? *y : std::numeric_limits<double>::quiet_NaN()});
  }
  return points;
}

// Each point the mean over its neighbours, weighted by weight^distance. No more count ahead than
// behind, so that the steep beginning of a loss is kept; in the middle as many count on both sides,
// so that the curve does not lag; at the end only the past is left.
std::vector<Point> Smoothed(const std::vector<Point>& points, double weight) {
  constexpr double kNegligible = 1e-3;
  constexpr double kMaxReach = 2000;
  const int64_t reach =
      static_cast<int64_t>(std::min(kMaxReach, std::log(kNegligible) / std::log(weight)));
  const int64_t size = static_cast<int64_t>(points.size());
  std::vector<double> shares = {1.0};
  while (static_cast<int64_t>(shares.size()) <= reach) shares.push_back(shares.back() * weight);
  std::vector<Point> smoothed = points;
  for (int64_t i = 0; i < size; ++i) {
    const int64_t behind = std::min(reach, i);
    const int64_t ahead = std::min(behind, size - 1 - i);
    double sum = 0.0;
    double total = 0.0;
    for (int64_t j = i - behind; j <= i + ahead; ++j) {
      const double y = points[static_cast<size_t>(j)].y;
      if (!std::isfinite(y)) continue;
      const double share = shares[static_cast<size_t>(j < i ? i - j : j - i)];
      sum += share * y;
      total += share;
    }
    Point& point = smoothed[static_cast<size_t>(i)];
    if (std::isfinite(point.y)) point.y = sum / total;
  }
  return smoothed;
}

// At most about two points a pixel, the lowest and the highest of each stretch, so that the picture
// looks the same and stays small.
std::vector<Point> Thinned(const std::vector<Point>& points, int64_t width) {
  const size_t buckets = static_cast<size_t>(width);
  if (points.size() <= 4 * buckets) return points;
  std::vector<Point> thinned;
  for (size_t b = 0; b < buckets; ++b) {
    const auto begin = points.begin() + static_cast<int64_t>(b * points.size() / buckets);
    const auto end = points.begin() + static_cast<int64_t>((b + 1) * points.size() / buckets);
    // NaN compares as equal to everything, which would hide the others.
    const auto key = [](const Point& p, double if_nan) { return std::isnan(p.y) ? if_nan : p.y; };
    auto low = std::min_element(begin, end, [&](const Point& a, const Point& b2) {
      return key(a, HUGE_VAL) < key(b2, HUGE_VAL);
    });
    auto high = std::max_element(begin, end, [&](const Point& a, const Point& b2) {
      return key(a, -HUGE_VAL) < key(b2, -HUGE_VAL);
    });
    if (high < low) std::swap(low, high);
    thinned.push_back(*low);
    if (high != low) thinned.push_back(*high);
  }
  return thinned;
}

// --- the picture ---

std::vector<Panel> MakePanels(const std::vector<std::string>& runs, const PlotOptions& options) {
  const std::vector<std::string> labels = RunLabels(runs);
  std::vector<std::vector<MetricRow>> rows;
  for (const std::string& run : runs) {
    const std::string path = MetricsPath(WithoutTrailingSlashes(run));
    if (!FileExists(path)) throw IoError(path, "cannot open", ENOENT);
    rows.push_back(ReadMetrics(path));
  }

  std::vector<std::string> keys;
  std::map<std::string, Panel> panels;
  std::map<std::string, int> metrics_of_key;
  for (const std::string& metric : options.metrics) ++metrics_of_key[PanelKey(metric)];
  for (size_t run = 0; run < runs.size(); ++run) {
    for (const std::string& metric : options.metrics) {
      const std::string key = PanelKey(metric);
      Curve curve;
      curve.run = run;
      curve.validation = IsValidation(metric);
      curve.label = labels[run];
      if (metrics_of_key[key] > 1) curve.label += curve.validation ? ", valid" : ", train";
      curve.points = PointsOf(rows[run], metric, options);
      const bool any = std::any_of(curve.points.begin(), curve.points.end(),
                                   [](const Point& point) { return std::isfinite(point.y); });
      if (!any) continue;
      if (!curve.validation && options.smoothing > 0) {
        curve.raw = Thinned(curve.points, options.width);
        curve.points = Smoothed(curve.points, options.smoothing);
      }
      curve.points = Thinned(curve.points, options.width);
      panels[key].curves.push_back(std::move(curve));
    }
  }
  std::vector<Panel> ordered;
  for (const std::string& metric : options.metrics) {
    const std::string key = PanelKey(metric);
    if (std::find(keys.begin(), keys.end(), key) != keys.end()) continue;
    keys.push_back(key);
    if (panels.count(key) == 0) {
      throw ConfigError(kOrigin,
                        Str("none of the runs has a point of '", metric, "' by ", options.x_axis));
    }
    Panel& panel = panels[key];
    panel.y = YAxis(key);
    ordered.push_back(std::move(panel));
  }
  return ordered;
}

std::string Number(double value) {
  if (std::isnan(value)) return "NaN";
  char text[40];
  std::snprintf(text, sizeof(text), "%.9g", value);
  return text;
}

// The data blocks of all curves in the order of the panels; gnuplot finds them by their index.
std::string DataText(const std::vector<Panel>& panels, const Axis& x) {
  std::string text;
  for (const Panel& panel : panels) {
    for (const Curve& curve : panel.curves) {
      for (const std::vector<Point>* points : {&curve.raw, &curve.points}) {
        if (points->empty()) continue;
        text += "# " + x.label + ", " + panel.y.label + ": " + GnuplotQuoted(curve.label) + "\n";
        for (const Point& point : *points) {
          text += Number(point.x * x.scale) + " " + Number(point.y * panel.y.scale) + "\n";
        }
        text += "\n\n";
      }
    }
  }
  return text;
}

// Ticks for a logarithmic axis that spans so little that powers of ten would be too few.
std::string LogTicks(double low, double high) {
  const bool narrow = high / low < 10.0;
  std::string ticks;
  for (int power = static_cast<int>(std::floor(std::log10(low))) - 1;
       power <= static_cast<int>(std::ceil(std::log10(high))); ++power) {
    for (int digit = 1; digit < 10; ++digit) {
      const bool shown = narrow ? digit != 7 && digit != 9 : digit == 1 || digit == 2 || digit == 5;
      const double tick = digit * std::pow(10.0, power);
      if (!shown || tick < low / 1.5 || tick > high * 1.5) continue;
      ticks += (ticks.empty() ? "" : ", ") + Number(tick);
    }
  }
  return "(" + ticks + ")";
}

// Range and ticks of a panel's y axis.
std::string YRangeText(const Panel& panel, const PlotOptions& options) {
  const std::string automatic = "set yrange [*:*]\nset ytics autofreq\n";
  if (!options.log_y) return automatic;
  double low = HUGE_VAL;
  double high = 0.0;
  for (const Curve& curve : panel.curves) {
    for (const std::vector<Point>* points : {&curve.raw, &curve.points}) {
      for (const Point& point : *points) {
        if (!std::isfinite(point.y)) continue;
        low = std::min(low, point.y * panel.y.scale);
        high = std::max(high, point.y * panel.y.scale);
      }
    }
  }
  if (low >= high || high / low >= 1000.0) return automatic;
  const double margin = std::pow(high / low, 0.04);
  return Str("set yrange [", Number(low / margin), ":", Number(high * margin), "]\nset ytics ",
             LogTicks(low, high), "\n");
}

// One curve of a plot command. Curves of validation stand out; those of training beside them, being
// noisy, are thinner and lighter.
std::string CurveText(const Curve& curve, size_t index, bool raw, const std::string& data) {
  const std::string colour = kColours[curve.run % kNumColours];
  const size_t turn = curve.run / kNumColours;  // past the last colour: dashes and other points
  std::string text = Str(GnuplotQuoted(data), " index ", index, " using 1:2 with ");
  if (curve.validation) {
    text += Str("linespoints pt ", turn % 2 == 0 ? 7 : 5, " ps 0.6 lw 2 dt ", turn + 1);
  } else {
    text += Str("lines lw ", raw ? 1 : 1.5, " dt ", turn + 1);
  }
  const std::string alpha = raw ? "B0" : curve.validation ? "" : "50";
  text += Str(" lc rgb '#", alpha, colour, "' ");
  return text + (raw ? "notitle" : "title " + GnuplotQuoted(curve.label) + " noenhanced");
}

std::string HeadText(const PlotOptions& options, const std::string& output, size_t num_panels) {
  const std::string size = Str(options.width, ",", options.height);
  std::string text = "set encoding utf8\n";
  if (output.size() > 4 && output.substr(output.size() - 4) == ".svg") {
    text += Str("set terminal svg size ", size,
                " fixed enhanced font 'sans,14' background rgb 'white'\n");
  } else {
    text += Str("if (strstrt(GPVAL_TERMINALS, 'pngcairo')) {\n", "  set terminal pngcairo size ",
                size, " font 'sans,11'\n", "} else {\n", "  set terminal png size ", size, "\n}\n");
  }
  text += "set output " + GnuplotQuoted(output) + "\n";
  text +=
      "set border 3 lc rgb '#606060'\n"
      "set tics nomirror out scale 0.6 textcolor rgb '#303030'\n"
      "set grid xtics ytics lc rgb '#e4e4e4' lt 1 lw 1\n"
      "set format x '%g'\n"
      "set format y '%g'\n";
  text +=
      options.log_x ? "set logscale x\nset xrange [*:*] noextend\n" : "set xrange [0:*] noextend\n";
  if (options.log_y) text += "set logscale y\n";
  const std::string title =
      options.title.empty() ? "" : "title " + GnuplotQuoted(options.title) + " noenhanced";
  if (num_panels > 1) {
    text += Str("set multiplot layout ", num_panels, ",1 ", title, "\n");
  } else if (!title.empty()) {
    text += "set " + title + "\n";
  }
  return text;
}

// Where the legend goes, and margins that put all panels' axes below each other. The legend is
// beside the curves if all labels are short, else below, where they may take the whole width.
std::string KeyText(const std::vector<Panel>& panels, const PlotOptions& options) {
  constexpr size_t kShortLabel = 26;
  constexpr double kLetterPixels = 8.6;
  constexpr double kSamplePixels = 70;
  size_t longest = 0;
  size_t count = 0;
  for (const Panel& panel : panels) {
    count = std::max(count, panel.curves.size());
    for (const Curve& curve : panel.curves) longest = std::max(longest, curve.label.size());
  }
  if (count == 1 && panels.size() == 1) return "set key above right noenhanced\n";
  const double beside = static_cast<double>(longest) * kLetterPixels + kSamplePixels;
  const bool is_beside =
      longest <= kShortLabel && beside < 0.4 * static_cast<double>(options.width);
  std::string text = "set key Left reverse noenhanced samplen 2 spacing 1.1 ";
  text +=
      is_beside ? "outside right top vertical\n" : "below center vertical maxcols 2 height 0.6\n";
  if (panels.size() == 1) return text;
  const double right = is_beside ? 1.0 - beside / static_cast<double>(options.width) : 0.97;
  return text + Str("set lmargin at screen 0.1\nset rmargin at screen ", Number(right), "\n");
}

// The plot command of a panel; `index` counts the blocks of the data.
std::string PanelText(const Panel& panel, const std::string& data, size_t& index) {
  constexpr char kNext[] = ", \\\n     ";
  std::string background;
  std::string foreground;
  std::string front;
  for (const Curve& curve : panel.curves) {
    if (!curve.raw.empty()) background += CurveText(curve, index++, true, data) + kNext;
    (curve.validation ? front : foreground) += CurveText(curve, index++, false, data) + kNext;
  }
  const std::string curves = background + foreground + front;
  return "plot " + curves.substr(0, curves.size() - (sizeof(kNext) - 1)) + "\n";
}

std::string ScriptText(const std::vector<Panel>& panels, const Axis& x, const PlotOptions& options,
                       const std::string& data, const std::string& output) {
  std::string text = HeadText(options, output, panels.size()) + KeyText(panels, options);
  size_t index = 0;
  std::set<size_t> in_legend;
  for (const Panel& panel : panels) {
    // Colours mean the same in all panels: one legend is enough unless a run is missing there.
    bool new_run = false;
    for (const Curve& curve : panel.curves) new_run |= in_legend.insert(curve.run).second;
    if (!new_run) text += "unset key\n";
    const bool last = &panel == &panels.back();
    text += "set xlabel " + GnuplotQuoted(last ? x.label : "") + " noenhanced\n";
    text += "set ylabel " + GnuplotQuoted(panel.y.label) + " noenhanced\n";
    text += YRangeText(panel, options) + PanelText(panel, data, index);
  }
  if (panels.size() > 1) text += "unset multiplot\n";
  return text + "unset output\n";
}

std::string Ending(const std::string& path) {
  const std::string name = BaseName(path);
  const size_t dot = name.rfind('.');
  return dot == std::string::npos || dot == 0 ? "" : name.substr(dot);
}

void CheckOptions(const std::vector<std::string>& runs, const PlotOptions& options,
                  const std::string& out) {
  if (runs.empty()) throw ConfigError(kOrigin, "no runs given");
  if (options.metrics.empty()) throw ConfigError(kOrigin, "no metrics given");
  if (Ending(out) != ".svg" && Ending(out) != ".png") {
    throw ConfigError(kOrigin, Str("the picture is '", out, "', but must end in .svg or .png"));
  }
  if (options.x_axis != "step" && options.x_axis != "tokens" && options.x_axis != "seconds") {
    throw ConfigError(
        kOrigin, Str("the x axis is '", options.x_axis, "', but must be step, tokens or seconds"));
  }
  if (!(options.smoothing >= 0.0 && options.smoothing < 1.0)) {
    throw ConfigError(kOrigin,
                      Str("the smoothing is ", options.smoothing, ", but must be in [0, 1)"));
  }
  constexpr int64_t kMinPixels = 100;
  constexpr int64_t kMaxPixels = 10000;
  for (const int64_t pixels : {options.width, options.height}) {
    if (pixels < kMinPixels || pixels > kMaxPixels) {
      throw ConfigError(kOrigin,
                        Str("the picture's size is ", options.width, " x ", options.height,
                            ", but each side must be ", kMinPixels, " to ", kMaxPixels, " pixels"));
    }
  }
}

}  // namespace

void PlotRuns(const std::vector<std::string>& runs, const PlotOptions& options,
              const std::string& out) {
  CheckOptions(runs, options, out);
  const std::vector<Panel> panels = MakePanels(runs, options);
  double largest_x = 0.0;
  for (const Panel& panel : panels) {
    for (const Curve& curve : panel.curves) {
      for (const Point& point : curve.points) largest_x = std::max(largest_x, point.x);
    }
  }
  const Axis x = XAxis(options.x_axis, largest_x);
  const std::string data = DataText(panels, x);

  const std::string script =
      ScriptText(panels, x, options, "./plot.dat", "./picture" + Ending(out));
  WriteFileAtomically(out, RunGnuplot({options.gnuplot, script, data, Ending(out)}, out));

  if (options.keep_data) {
    // Names without folders: the script is run where it lies. "./" keeps gnuplot from taking a name
    // that begins with '<' or '|' for a command.
    const std::string stem = out.substr(0, out.size() - Ending(out).size());
    const std::string name = "./" + BaseName(stem);
    WriteFileAtomically(stem + ".dat", data);
    WriteFileAtomically(stem + ".gp",
                        ScriptText(panels, x, options, name + ".dat", name + Ending(out)));
  }
}

}  // namespace ckv
