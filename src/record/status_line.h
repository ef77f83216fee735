// The lines that tell a person how training goes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace ckv {

// A moment of training. What is unknown is left out of the lines.
struct TrainStatus {
  int64_t step = 0;
  int64_t num_steps = 0;  // 0: unknown
  double loss = 0.0;
  double lr = 0.0;
  double tokens_per_second = 0.0;
  std::optional<double> grad_norm;
  std::optional<double> mfu;           // 0 to 1
  std::optional<double> memory_bytes;  // peak
  std::optional<double> seconds_left;
  int64_t skipped_steps = 0;
};

// For ShowLiveLine: a bar in front, short fields, 80 columns in common cases.
//   [######......] 100/5000 loss 4.213 lr 3.0e-4 98.2k tok/s mfu 41.2% 12.3 GiB 1h 02m left
std::string TrainLiveLine(const TrainStatus& status);

// For LogInfo: one grep-able line.
//   step 100/5000 loss 4.213 lr 3.0e-4 98.2k tok/s gnorm 0.87 mfu 41.2% mem 12.3 GiB left 1h 02m
std::string TrainLogLine(const TrainStatus& status);

// 3e-4 -> "3.0e-4", 0 -> "0": one digit after the point.
std::string ShortExponent(double value);

}  // namespace ckv
