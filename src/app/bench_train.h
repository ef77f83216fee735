// `ckv bench train`: the speed of training steps on random tokens.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "app/train_run.h"
#include "base/json.h"
#include "nn/phase_clock.h"

namespace ckv {

struct TrainBenchOptions {
  int64_t rows = 3;        // measurements; the first steps before them are not counted
  int64_t row_steps = 10;  // steps of a measurement
  std::string profile;     // file for a trace of the step after the last measurement; empty = none
};

struct TrainBenchResult {
  std::string kv_sharing;
  int64_t parameters = 0;
  double tokens_per_second = 0.0;                // median of the measurements
  double spread = 0.0;                           // (largest - smallest) / median
  double flops_per_token = 0.0;                  // run, passes included
  double plain_flops_per_token = 0.0;            // what MFU counts
  std::optional<double> peak_flops;              // of the device's data sheet
  double matmul_flops = 0.0;                     // of a large product, as measured here; 0 = not
  std::array<double, kNumPhases> phase_ms = {};  // a step, by Phase
  double step_ms = 0.0;
  int64_t memory_bytes = 0;
  double loss = 0.0;  // of the last measurement: log V at first

  OrderedJson ToJson() const;
};

// FLOP/s of a large matrix product of random numbers in the working type; 0 on a CPU.
double MeasureMatmul(const at::Device& device, const std::string& precision);

// Runs real training steps (forward, backward, clipping, AdamW) of the run's model, with its batch,
// precision and passes.
TrainBenchResult BenchTraining(TrainRun run, const TrainBenchOptions& options);

}  // namespace ckv
