#include "base/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/log.h"
#include "base/str.h"

namespace ckv {
namespace {

constexpr std::chrono::milliseconds kTerminalInterval{100};
constexpr std::chrono::seconds kPlainInterval{10};
constexpr int kBarCells = 24;

size_t TerminalWidth() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 10) return size.ws_col;
  return 80;
}

}  // namespace

bool StderrIsTerminal() { return ::isatty(STDERR_FILENO) == 1; }

void ShowLiveLine(const std::string& text) {
  if (!StderrIsTerminal()) return;
  std::fprintf(stderr, "\r\033[K%s", text.substr(0, TerminalWidth() - 1).c_str());
  std::fflush(stderr);
}

ProgressBar::ProgressBar(std::string label, uint64_t total, std::string unit)
    : label_(std::move(label)),
      total_(total),
      unit_(std::move(unit)),
      start_(Clock::now()),
      last_draw_(start_) {}

ProgressBar::~ProgressBar() {
  if (!finished_) ShowLiveLine("");
}

void ProgressBar::Update(uint64_t done, const std::string& note) {
  done_ = done;
  const Clock::time_point now = Clock::now();
  const bool terminal = StderrIsTerminal();
  if (now - last_draw_ < (terminal ? Clock::duration(kTerminalInterval) : kPlainInterval)) return;
  last_draw_ = now;
  if (terminal) {
    ShowLiveLine(Render(done, note));
  } else {
    LogInfo(label_, Render(done, note));
  }
}

void ProgressBar::Finish() {
  if (finished_) return;
  finished_ = true;
  ShowLiveLine("");
  const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  LogInfo(label_,
          Str(HumanCount(static_cast<double>(done_)), " ", unit_, " in ", HumanSeconds(seconds)));
}

std::string ProgressBar::Render(uint64_t done, const std::string& note) const {
  const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0.0;
  std::string line = label_ + " ";
  if (total_ > 0) {
    const double share = std::min(1.0, static_cast<double>(done) / static_cast<double>(total_));
    const int filled = static_cast<int>(share * kBarCells);
    line += "[" + std::string(static_cast<size_t>(filled), '#') +
            std::string(static_cast<size_t>(kBarCells - filled), '.') + "] " +
            Fixed(100.0 * share, 1) + "% ";
  }
  line += Str(HumanCount(static_cast<double>(done)), " ", unit_, ", ", HumanCount(rate), " ", unit_,
              "/s");
  if (total_ > done && rate > 0) {
    line += ", " + HumanSeconds(static_cast<double>(total_ - done) / rate) + " left";
  }
  return note.empty() ? line : line + ", " + note;
}

}  // namespace ckv
