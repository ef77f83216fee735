#include "record/status_line.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "base/str.h"

namespace ckv {
namespace {

constexpr int kLiveBarCells = 12;

std::string StepText(const TrainStatus& status) {
  return status.num_steps > 0 ? Str(status.step, "/", status.num_steps) : Str(status.step);
}

// What both lines say after the step.
std::string CommonText(const TrainStatus& status) {
  return Str(" loss ", Fixed(status.loss, 3), " lr ", ShortExponent(status.lr), " ",
             HumanCount(status.tokens_per_second), " tok/s");
}

}  // namespace

std::string ShortExponent(double value) {
  if (value == 0.0) return "0";
  if (!std::isfinite(value)) return Str(value);
  char text[32];
  std::snprintf(text, sizeof(text), "%.1e", value);
  const std::string digits = text;
  const size_t e = digits.find('e');
  return Str(digits.substr(0, e), "e", std::atoi(digits.c_str() + e + 1));
}

std::string TrainLiveLine(const TrainStatus& status) {
  std::string line;
  if (status.num_steps > 0) {
    const double share = std::clamp(
        static_cast<double>(status.step) / static_cast<double>(status.num_steps), 0.0, 1.0);
    const int filled = static_cast<int>(share * kLiveBarCells);
    line = "[" + std::string(static_cast<size_t>(filled), '#') +
           std::string(static_cast<size_t>(kLiveBarCells - filled), '.') + "] ";
  } else {
    line = "step ";
  }
  line += StepText(status) + CommonText(status);
  if (status.mfu) line += Str(" mfu ", Fixed(100.0 * *status.mfu, 1), "%");
  if (status.memory_bytes) line += " " + HumanBytes(*status.memory_bytes);
  if (status.skipped_steps > 0) line += Str(" ", status.skipped_steps, " skipped");
  if (status.seconds_left) line += " " + HumanSeconds(*status.seconds_left) + " left";
  return line;
}

std::string TrainLogLine(const TrainStatus& status) {
  std::string line = "step " + StepText(status) + CommonText(status);
  if (status.grad_norm) line += " gnorm " + Fixed(*status.grad_norm, 2);
  if (status.mfu) line += Str(" mfu ", Fixed(100.0 * *status.mfu, 1), "%");
  if (status.memory_bytes) line += " mem " + HumanBytes(*status.memory_bytes);
  if (status.skipped_steps > 0) line += Str(" skipped ", status.skipped_steps);
  if (status.seconds_left) line += " left " + HumanSeconds(*status.seconds_left);
  return line;
}

}  // namespace ckv
