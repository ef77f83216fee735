// The training loop. It receives finished parts and builds nothing; validating, saving and writing
// metrics are hooks.
//
// Nothing waits for the device between two rows of metrics: losses, norms and the count of skipped
// steps stay there until then.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include <ATen/core/Tensor.h>

#include "base/json.h"
#include "data/source.h"
#include "model/objective.h"
#include "train/adamw.h"
#include "train/config.h"
#include "train/data_parallel.h"
#include "train/ema.h"
#include "train/plateau.h"
#include "train/schedule.h"
#include "train/step_task.h"

namespace ckv {

// Where a run stands; with weights, optimizer, data position and random state all that a checkpoint
// holds.
struct TrainState {
  int64_t step = 0;      // optimizer steps done, skipped ones included
  int64_t tokens = 0;    // targets trained on
  double seconds = 0.0;  // in training steps
  int64_t skipped_steps = 0;
  std::optional<double> best_valid_loss;
  PlateauState plateau;  // its learning rate is the schedule's times plateau.lr_scale
  // Since the last row of metrics.
  double loss_sum = 0.0;
  int64_t loss_targets = 0;

  OrderedJson ToJson() const;
  // Throws FormatError(path, key, ...).
  static TrainState FromJson(const Json& json, const std::string& path);
};

// What a row of metrics says of the steps since the last one.
struct TrainProgress {
  double loss = 0.0;       // mean per target
  double grad_norm = 0.0;  // of the last step, before clipping
  double lr = 0.0;         // of the last step
  double tokens_per_second = 0.0;
  double step_seconds = 0.0;
  double data_seconds = 0.0;  // waiting for batches, a step
};

struct TrainHooks {
  std::function<void(const TrainState&, const TrainProgress&)> log;
  std::function<void(TrainState&)> validate;
  std::function<void(const TrainState&)> save;
  // After each step, before the others; may be empty. What the rank has to say of its checkpoints
  // goes into `report` (several ranks).
  std::function<void(DataParallel::Report* report)> after_step;
  // Before Run returns or is interrupted by a signal; may be empty.
  std::function<void()> finish;
};

class Trainer {
 public:
  // `ema` may be nullptr. `parallel`: the ranks that share the work; nullptr = this process is
  // alone. With it a batch of `data` is this rank's part of a whole step's.
  Trainer(const TrainConfig& config, Objective& objective, DataSource& data, AdamW& optimizer,
          Ema* ema, const at::Device& device, DataParallel* parallel = nullptr);

  // The same loop over steps of another kind; `task` divides its losses itself.
  Trainer(const TrainConfig& config, StepTask& task, AdamW& optimizer, const at::Device& device);

  // Runs until config.steps, or until state.plateau.stopped. At the end it validates and saves,
  // unless the last step just did. Throws DivergedError, and Interrupted after saving when a signal
  // is pending.
  void Run(TrainState& state, const TrainHooks& hooks);

 private:
  struct Pending;  // sums on the device since the last look

  void Step(TrainState& state, Pending& pending);
  // `rank_targets`: what the losses of all ranks are divided by; undefined = loss.count.
  void FinishStep(TrainState& state, Pending& pending, const StepLoss& loss,
                  const Tensor& rank_targets = {});
  torch::nn::Module& module();
  void Settle(TrainState& state, Pending& pending);
  Batch ToDevice(const TokenBatch& batch) const;
  std::vector<TokenBatch> NextBatches();
  int Signal() const;

  TrainConfig config_;
  LrSchedule schedule_;
  Objective* objective_ = nullptr;  // with data_; or
  DataSource* data_ = nullptr;
  StepTask* task_ = nullptr;
  AdamW& optimizer_;
  Ema* ema_ = nullptr;
  at::Device device_;
  DataParallel* parallel_ = nullptr;
  DataParallel::Report report_;
};

}  // namespace ckv
