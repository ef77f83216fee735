#include "sweep/live_table.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/progress.h"
#include "record/metrics.h"
#include "record/names.h"
#include "sweep/runner.h"

namespace ckv {
namespace {

constexpr double kRedrawSeconds = 0.5;
constexpr double kLogSeconds = 30.0;
constexpr std::streamoff kTailBytes = 4096;

// "step 120 loss 3.214" of the last row of a run's metrics; "" if there is none yet.
std::string ProgressOf(const std::string& folder) {
  std::ifstream file(JoinPath(folder, "metrics.jsonl"), std::ios::binary | std::ios::ate);
  if (!file) return "";
  const std::streamoff size = file.tellg();
  const std::streamoff begin = std::max<std::streamoff>(0, size - kTailBytes);
  file.seekg(begin);
  std::string text(static_cast<size_t>(size - begin), '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  size_t end = text.rfind('\n');
  std::string found;
  while (end != std::string::npos && end > 0 && found.empty()) {
    const size_t start = text.rfind('\n', end - 1);
    if (start == std::string::npos && begin > 0) break;
    try {
      const size_t from = start == std::string::npos ? 0 : start + 1;
      const MetricRow row = ParseMetricRow(text.substr(from, end - from), folder, "");
      if (const auto loss = row.Find(kMetricLoss)) {
        found = Str("step ", row.step(), "  loss ", Fixed(*loss, 3));
        if (const auto speed = row.Find(kMetricTokensPerSecond)) {
          found += Str("  ", Fixed(*speed / 1000.0, 1), "k tok/s");
        }
      }
    } catch (const Error&) {  // a line that is being written
    }
    end = start;
  }
  return found;
}

int TerminalColumns() {
  winsize size = {};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

std::string SummaryLine(const std::string& name, size_t running, const SweepCounts& counts) {
  return Str(name, ": ", counts.done, " done, ", running, " running, ", counts.waiting,
             " waiting, ", counts.failed, " failed",
             counts.elsewhere > 0 ? Str(", ", counts.elsewhere, " run elsewhere") : std::string());
}

}  // namespace

std::vector<std::string> LiveTableLines(const std::string& name,
                                        const std::vector<LivePoint>& points,
                                        const SweepCounts& counts, size_t columns) {
  std::vector<std::string> lines = {SummaryLine(name, points.size(), counts)};
  for (const LivePoint& point : points) {
    lines.push_back(Str(
        "  ", point.stage, std::string(point.stage.size() < 8 ? 8 - point.stage.size() : 1, ' '),
        Fixed(point.seconds, 0), " s  ",
        point.stage == "train" ? ProgressOf(point.folder) : std::string(), "  ", point.id));
  }
  for (std::string& line : lines) line.resize(std::min(line.size(), columns - 1));
  return lines;
}

LiveTable::LiveTable(const SweepConfig& config, bool wanted)
    : config_(config), terminal_(wanted && StderrIsTerminal()) {}

void LiveTable::Clear() {
  if (lines_ > 0) std::fprintf(stderr, "\x1b[%dA\x1b[J", lines_);
  lines_ = 0;
}

void LiveTable::Show(const std::vector<LivePoint>& points, const SweepCounts& counts) {
  const auto now = std::chrono::steady_clock::now();
  const double passed = std::chrono::duration<double>(now - last_).count();
  if (passed < (terminal_ ? kRedrawSeconds : kLogSeconds)) return;
  const bool first = last_ == std::chrono::steady_clock::time_point();
  last_ = now;
  if (!terminal_) {
    if (!first) LogInfo("sweep", SummaryLine(config_.name, points.size(), counts));
    return;
  }
  Clear();
  const std::vector<std::string> lines =
      LiveTableLines(config_.name, points, counts, static_cast<size_t>(TerminalColumns()));
  for (const std::string& line : lines) std::fprintf(stderr, "%s\n", line.c_str());
  std::fflush(stderr);
  lines_ = static_cast<int>(lines.size());
}

}  // namespace ckv
