// `train`: how a run optimises, and when it logs, validates and saves.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/visitor.h"
#include "model/lora.h"
#include "model/objective.h"
#include "train/adamw.h"
#include "train/schedule.h"

namespace ckv {

struct TrainConfig {
  int64_t steps = 1000;
  int64_t batch_size = 32;
  int64_t micro_batch_size = 0;
  std::string precision = "fp32";
  OptimConfig optim;
  ScheduleConfig schedule;
  LoraConfig lora;

  double label_smoothing = 0.0;
  double z_loss = 0.0;
  std::vector<PassesStage> passes;
  int64_t checkpoint_layers = 0;
  bool fused = true;
  std::string sdpa = "auto";
  double ema_decay = 0.0;
  std::string on_nonfinite = "stop";
  int64_t max_skipped_steps = 100;

  int64_t log_every = 10;
  int64_t eval_every = 0;
  int64_t save_every = 0;
  int64_t keep_checkpoints = 3;
  bool async_checkpoints = true;
  bool csv = true;
  bool tensorboard = true;

  void Visit(ConfigVisitor& v);

  // Rows of a micro-batch, and micro-batches a step.
  int64_t MicroRows() const { return micro_batch_size > 0 ? micro_batch_size : batch_size; }
  int64_t MicroBatches() const { return batch_size / MicroRows(); }
  // Micro-batches a step on each of `world` ranks, whose rows of a step differ by one at most.
  int64_t MicroBatchesOf(int world) const {
    const int64_t rows = (batch_size + world - 1) / world;
    return micro_batch_size > 0 ? (rows + micro_batch_size - 1) / micro_batch_size : 1;
  }
};

}  // namespace ckv
