#include "record/plot.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "record/metrics.h"
#include "record/names.h"

extern char** environ;

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
      {kMetricLr, {"learning rate", 1.0}},
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
      labels[i] = folders[i].substr(slash == std::string::npos || cut == 0 ? 0 : slash + 1);
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

// Exponential mean that starts without bias towards 0.
std::vector<Point> Smoothed(std::vector<Point> points, double weight) {
  double sum = 0.0;
  double total = 0.0;
  for (Point& point : points) {
    if (!std::isfinite(point.y)) continue;
    sum = weight * sum + (1.0 - weight) * point.y;
    total = weight * total + (1.0 - weight);
    point.y = sum / total;
  }
  return points;
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
      if (curve.points.empty()) continue;
      if (!curve.validation && options.smoothing > 0) {
        curve.raw = Thinned(curve.points, options.width);
        curve.points = Smoothed(std::move(curve.points), options.smoothing);
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

// Text in gnuplot's single quotes, where only the quote itself is special; on one line.
std::string Quoted(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'') {
      quoted += "''";
    } else {
      quoted += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
    }
  }
  return quoted + "'";
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
        text += "# " + x.label + ", " + panel.y.label + ": " + Quoted(curve.label) + "\n";
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

std::string YTicksCommand(const Panel& panel, const PlotOptions& options) {
  if (!options.log_y) return "set ytics autofreq\n";
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
  if (low >= high || high / low >= 1000.0) return "set ytics autofreq\n";
  return "set ytics " + LogTicks(low, high) + "\n";
}

// One curve of a plot command. Curves of validation stand out; those of training beside them, being
// noisy, are thinner and lighter.
std::string CurveText(const Curve& curve, size_t index, bool raw, const std::string& data) {
  const std::string colour = kColours[curve.run % kNumColours];
  const size_t turn = curve.run / kNumColours;  // past the last colour: dashes and other points
  std::string text = Str(Quoted(data), " index ", index, " using 1:2 with ");
  if (curve.validation) {
    text += Str("linespoints pt ", turn % 2 == 0 ? 7 : 5, " ps 0.6 lw 2 dt ", turn + 1);
  } else {
    text += Str("lines lw ", raw ? 1 : 1.5, " dt ", turn + 1);
  }
  const std::string alpha = raw ? "B0" : curve.validation ? "" : "50";
  text += Str(" lc rgb '#", alpha, colour, "' ");
  return text + (raw ? "notitle" : "title " + Quoted(curve.label) + " noenhanced");
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
  text += "set output " + Quoted(output) + "\n";
  text +=
      "set border 3 lc rgb '#606060'\n"
      "set tics nomirror out scale 0.6 textcolor rgb '#303030'\n"
      "set grid xtics ytics lc rgb '#e4e4e4' lt 1 lw 1\n"
      "set format x '%g'\nset format y '%g'\n"
      "set lmargin 10\n";
  if (options.log_x) text += "set logscale x\n";
  if (options.log_y) text += "set logscale y\n";
  const std::string title =
      options.title.empty() ? "" : "title " + Quoted(options.title) + " noenhanced";
  if (num_panels > 1) {
    text += Str("set multiplot layout ", num_panels, ",1 ", title, "\n");
  } else if (!title.empty()) {
    text += "set " + title + "\n";
  }
  return text;
}

// Beside the curves if all labels are short, else below, where they may take the whole width.
std::string KeyText(const std::vector<Panel>& panels) {
  constexpr size_t kShortLabel = 26;
  size_t longest = 0;
  size_t count = 0;
  for (const Panel& panel : panels) {
    count = std::max(count, panel.curves.size());
    for (const Curve& curve : panel.curves) longest = std::max(longest, curve.label.size());
  }
  if (count == 1 && panels.size() == 1) return "set key top right noenhanced\n";
  const std::string place =
      longest <= kShortLabel ? "outside right top vertical" : "below center vertical maxcols 3";
  return "set key " + place + " Left reverse noenhanced samplen 2 spacing 1.1\n";
}

std::string ScriptText(const std::vector<Panel>& panels, const Axis& x, const PlotOptions& options,
                       const std::string& data, const std::string& output) {
  std::string text = HeadText(options, output, panels.size()) + KeyText(panels);
  size_t index = 0;
  for (size_t p = 0; p < panels.size(); ++p) {
    const Panel& panel = panels[p];
    text += "set xlabel " + Quoted(x.label) + " noenhanced\n";
    text += "set ylabel " + Quoted(panel.y.label) + " noenhanced\n" + YTicksCommand(panel, options);
    std::string background;
    std::string foreground;
    std::string front;
    for (const Curve& curve : panel.curves) {
      if (!curve.raw.empty()) background += CurveText(curve, index++, true, data) + ", \\\n     ";
      (curve.validation ? front : foreground) +=
          CurveText(curve, index++, false, data) + ", \\\n     ";
    }
    std::string plot = "plot " + background + foreground + front;
    plot.resize(plot.rfind(", \\"));
    text += plot + "\n";
  }
  if (panels.size() > 1) text += "unset multiplot\n";
  return text + "unset output\n";
}

// --- gnuplot ---

class WorkFolder {
 public:
  WorkFolder() {
    const char* root = ::getenv("TMPDIR");
    path_ = JoinPath(root != nullptr && *root != '\0' ? root : "/tmp", "ckv_plot_XXXXXX");
    if (::mkdtemp(path_.data()) == nullptr) throw IoError(path_, "cannot create", errno);
  }
  ~WorkFolder() {
    try {
      RemoveAll(path_);
    } catch (const IoError&) {
      // What is left over lies in the system's temporary folder.
    }
  }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;

  std::string File(const std::string& name) const { return JoinPath(path_, name); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Runs gnuplot on `script` inside `folder`; what it prints goes to the file "messages" there.
// Returns its exit status.
int RunGnuplot(const std::string& program, const WorkFolder& folder, const std::string& script) {
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  const std::string messages = folder.File("messages");
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, messages.c_str(),
                                     O_WRONLY | O_CREAT | O_APPEND, 0600);
  ::posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  ::posix_spawn_file_actions_addchdir_np(&actions, folder.path().c_str());
  // -d: without the user's own start-up file.
  // The child starts in another folder, which matters to a path, not to a name on PATH.
  const bool is_path = program.find('/') != std::string::npos;
  std::string arguments[] = {is_path ? std::filesystem::absolute(program).string() : program, "-d",
                             script};
  char* argv[] = {arguments[0].data(), arguments[1].data(), arguments[2].data(), nullptr};
  pid_t child = 0;
  const int error = ::posix_spawnp(&child, argv[0], &actions, nullptr, argv, environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error == ENOENT) {
    throw ConfigError(kOrigin, Str("needs the program '", program,
                                   "', which is not installed (Debian: apt-get install "
                                   "gnuplot-nox)"));
  }
  if (error != 0) throw IoError(program, "cannot run", error);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) throw IoError(program, "cannot wait for it", errno);
  }
  return status;
}

std::string LastLine(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  const size_t feed = text.rfind('\n');
  return feed == std::string::npos ? text : text.substr(feed + 1);
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

  const WorkFolder work;
  const std::string picture = "./picture" + Ending(out);
  WriteFileAtomically(work.File("plot.dat"), data);
  WriteFileAtomically(work.File("plot.gp"), ScriptText(panels, x, options, "./plot.dat", picture));
  const int status = RunGnuplot(options.gnuplot, work, "./plot.gp");
  if (status != 0 || !FileExists(work.File(picture))) {
    throw IoError(out, Str("gnuplot failed: ", LastLine(ReadFile(work.File("messages")))));
  }
  WriteFileAtomically(out, ReadFile(work.File(picture)));

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
