// `ckv bench train`: the speed of training steps on random tokens.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "app/train_run.h"
#include "base/json.h"

namespace ckv {

struct TrainBenchOptions {
  int64_t rows = 3;        // measurements; the first steps before them are not counted
  int64_t row_steps = 10;  // steps of a measurement
};

struct TrainBenchResult {
  std::string kv_sharing;
  int64_t parameters = 0;
  double tokens_per_second = 0.0;      // median of the measurements
  double spread = 0.0;                 // (largest - smallest) / median
  double flops_per_token = 0.0;        // run, passes included
  double plain_flops_per_token = 0.0;  // what MFU counts
  std::optional<double> peak_flops;    // of the device's data sheet
  int64_t memory_bytes = 0;
  double loss = 0.0;  // of the last measurement: log V at first

  OrderedJson ToJson() const;
};

// Runs real training steps (forward, backward, clipping, AdamW) of the run's model, with its batch,
// precision and passes.
TrainBenchResult BenchTraining(TrainRun run, const TrainBenchOptions& options);

}  // namespace ckv
