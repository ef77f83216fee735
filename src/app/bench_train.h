// `ckv bench train`: the speed of training steps on random tokens.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "app/train_run.h"
#include "base/json.h"
#include "dist/group.h"
#include "nn/phase_clock.h"

namespace ckv {

struct TrainBenchOptions {
  int64_t rows = 3;        // measurements; the first steps before them are not counted
  int64_t row_steps = 10;  // steps of a measurement
  std::string profile;     // file for a trace of one more step; empty = none
};

struct TrainBenchResult {
  std::string kv_sharing;
  int64_t parameters = 0;
  int64_t batch_size = 0;  // samples a step, of all ranks
  int64_t seq_len = 0;
  double tokens_per_second = 0.0;                // median of the measurements
  double spread = 0.0;                           // (largest - smallest) / median
  double flops_per_token = 0.0;                  // run, passes included
  double plain_flops_per_token = 0.0;            // what MFU counts
  std::optional<double> peak_flops;              // of the device's data sheet
  double matmul_flops = 0.0;                     // of a large product, as measured here; 0 = not
  std::array<double, kNumPhases> phase_ms = {};  // a step, by Phase
  double step_ms = 0.0;
  int64_t memory_bytes = 0;  // of the rank that takes most
  // Several ranks: `tokens_per_second` is that of all, phases and step are those of rank 0.
  int ranks = 1;
  int64_t zero = 0;
  std::vector<int64_t> rank_memory_bytes;
  CommGroup::Traffic traffic;  // of a step, in bytes
  double loss = 0.0;           // of the last measurement: log V at first

  OrderedJson ToJson() const;
};

// FLOP/s of a large matrix product of random numbers in the working type; 0 on a CPU.
double MeasureMatmul(const at::Device& device, const std::string& precision);

// Runs real training steps (forward, backward, clipping, AdamW) of the run's model, with its batch,
// precision and passes, on `device` alone or on all ranks of `group` (may be nullptr), which share
// the batch. Each rank writes a profile: rank 0 to the file of the options, rank N to the one that
// FileOfRank names.
TrainBenchResult BenchTraining(TrainRun run, const TrainBenchOptions& options,
                               const at::Device& device, CommGroup* group);

// "trace.json" -> "trace.rank1.json".
std::string FileOfRank(const std::string& path, int rank);

}  // namespace ckv
