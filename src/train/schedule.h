// The learning rate over steps: a warm-up, then a shape that falls to a floor.
#pragma once

#include <cstdint>
#include <string>

#include "config/visitor.h"

namespace ckv {

// `train.schedule`.
struct ScheduleConfig {
  std::string kind = "cosine";
  int64_t warmup_steps = 0;
  double floor = 0.1;
  int64_t decay_steps = 0;

  void Visit(ConfigVisitor& v);
};

// Learning rates as factors of the peak, for a run of `num_steps` steps.
class LrSchedule {
 public:
  // Throws ConfigError if warm-up and decay do not fit into the run.
  LrSchedule(const ScheduleConfig& config, int64_t num_steps);

  // The factor of step `step`, which counts from 0. Warm-up rises from 1 / warmup_steps to 1. Then
  // - constant: 1;
  // - linear, cosine: from 1 to `floor` at the last step;
  // - inverse_sqrt: sqrt(warmup / (step + 1)), not below `floor`;
  // - wsd (warm-up, stable, decay): 1, and over the last decay_steps linearly to `floor`.
  double At(int64_t step) const;

 private:
  ScheduleConfig config_;
  int64_t num_steps_;
};

}  // namespace ckv
