#include "train/trainer.h"

#include <algorithm>
#include <chrono>

#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "base/error.h"
#include "base/signals.h"
#include "nn/device.h"
#include "nn/phase_clock.h"

namespace ckv {
namespace {

class Stopwatch {
 public:
  double Seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

bool IsEvery(int64_t step, int64_t every) { return every > 0 && step % every == 0; }

template <typename T>
T Needed(const Json& json, const char* key, const std::string& path) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number()) {
    throw FormatError(path, key, "must be a number");
  }
  return found->get<T>();
}

}  // namespace

OrderedJson TrainState::ToJson() const {
  OrderedJson json;
  json["step"] = step;
  json["tokens"] = tokens;
  json["seconds"] = seconds;
  json["skipped_steps"] = skipped_steps;
  if (best_valid_loss.has_value()) json["best_valid_loss"] = *best_valid_loss;
  if (plateau.has_best) json["plateau"] = plateau.ToJson();
  json["loss_sum"] = loss_sum;
  json["loss_targets"] = loss_targets;
  return json;
}

TrainState TrainState::FromJson(const Json& json, const std::string& path) {
  if (!json.is_object()) throw FormatError(path, "", "must be a JSON object");
  TrainState state;
  state.step = Needed<int64_t>(json, "step", path);
  state.tokens = Needed<int64_t>(json, "tokens", path);
  state.seconds = Needed<double>(json, "seconds", path);
  state.skipped_steps = Needed<int64_t>(json, "skipped_steps", path);
  state.loss_sum = Needed<double>(json, "loss_sum", path);
  state.loss_targets = Needed<int64_t>(json, "loss_targets", path);
  if (json.contains("best_valid_loss")) {
    state.best_valid_loss = Needed<double>(json, "best_valid_loss", path);
  }
  if (json.contains("plateau")) {
    state.plateau = PlateauState::FromJson(json.at("plateau"), path);
  }
  return state;
}

struct Trainer::Pending {
  Stopwatch watch;
  Tensor loss_sum;      // scalar fp64
  Tensor grad_norm;     // scalar, of the last step
  Tensor skipped;       // scalar fp32: steps
  Tensor left_out;      // scalar fp64: targets of skipped steps
  Tensor rank_targets;  // scalar fp64: targets of all ranks, not yet in `targets`
  Tensor first_bad;     // scalar fp32: the first skipped step, counted from 1; 0 = none
  int64_t targets = 0;  // what the loss is divided by
  int64_t tokens = 0;
  int64_t steps = 0;
  double lr = 0.0;
  double data_seconds = 0.0;
};

Trainer::Trainer(const TrainConfig& config, Objective& objective, DataSource& data,
                 AdamW& optimizer, Ema* ema, const at::Device& device, DataParallel* parallel)
    : config_(config),
      schedule_(config.schedule, config.steps),
      objective_(&objective),
      data_(&data),
      optimizer_(optimizer),
      ema_(ema),
      device_(device),
      parallel_(parallel) {}

Trainer::Trainer(const TrainConfig& config, StepTask& task, AdamW& optimizer,
                 const at::Device& device)
    : config_(config),
      schedule_(config.schedule, config.steps),
      task_(&task),
      optimizer_(optimizer),
      device_(device) {}

torch::nn::Module& Trainer::module() {
  return task_ != nullptr ? task_->module() : objective_->module();
}

Batch Trainer::ToDevice(const TokenBatch& batch) const {
  const auto move = [&](const std::vector<int64_t>& numbers) {
    Tensor host = at::empty({batch.rows, batch.cols},
                            at::TensorOptions().dtype(at::kLong).pinned_memory(device_.is_cuda()));
    std::copy(numbers.begin(), numbers.end(), host.data_ptr<int64_t>());
    return device_.is_cuda() ? host.to(device_, /*non_blocking=*/true) : host;
  };
  Batch result;
  result.tokens = move(batch.tokens);
  result.targets = move(batch.targets);
  if (!batch.segments.empty()) result.segments = move(batch.segments);
  return result;
}

std::vector<TokenBatch> Trainer::NextBatches() {
  constexpr char kEnd[] = "the training data came to an end";
  if (parallel_ != nullptr) {
    TokenBatch rows;
    CKV_CHECK(data_->Next(&rows), kEnd);
    return SplitRows(rows, config_.MicroBatchesOf(parallel_->group().world()));
  }
  std::vector<TokenBatch> batches(static_cast<size_t>(config_.MicroBatches()));
  for (TokenBatch& batch : batches) CKV_CHECK(data_->Next(&batch), kEnd);
  return batches;
}

int Trainer::Signal() const {
  return parallel_ != nullptr ? parallel_->agreed().signal : PendingSignal();
}

void Trainer::Step(TrainState& state, Pending& pending) {
  if (task_ != nullptr) return FinishStep(state, pending, task_->RunStep(state.step, optimizer_));
  BeginPhase(Phase::kInput);
  const Stopwatch data_watch;
  const std::vector<TokenBatch> batches = NextBatches();
  int64_t targets = 0;
  for (const TokenBatch& batch : batches) {
    targets += static_cast<int64_t>(batch.targets.size()) -
               std::count(batch.targets.begin(), batch.targets.end(), kIgnoreTarget);
  }
  const double data_seconds = data_watch.Seconds();

  Tensor step_targets;  // of all ranks
  if (parallel_ != nullptr) {
    report_.targets = targets;
    report_.signal = PendingSignal();
    step_targets = parallel_->BeginStep(state.step, report_);
  }
  Tensor loss_sum;
  for (size_t i = 0; i < batches.size(); ++i) {
    const bool last = i + 1 == batches.size();
    BeginPhase(Phase::kInput);
    const Batch on_device = ToDevice(batches[i]);
    BeginPhase(Phase::kForward);
    if (parallel_ != nullptr) parallel_->BeginMicroBatch(last);
    const Tensor loss = objective_->LossSum(on_device, state.step);
    BeginPhase(Phase::kBackward);
    // One division by the targets of the whole step: the gradient does not depend on how it is cut.
    if (parallel_ == nullptr) {
      (loss / static_cast<double>(std::max<int64_t>(targets, 1))).backward();
    } else {
      parallel_->BeginBackward();
      (loss / step_targets.clamp_min(1.0).to(loss.scalar_type())).backward();
      parallel_->EndMicroBatch();
    }
    BeginPhase(Phase::kOptimizer);
    if (parallel_ == nullptr || last) optimizer_.Accumulate();
    const Tensor sum = loss.detach().to(at::kDouble);
    loss_sum = loss_sum.defined() ? loss_sum + sum : sum;
  }
  if (parallel_ != nullptr) {
    loss_sum = parallel_->SumScalar(loss_sum);
    targets = 0;  // those of all ranks are on the device
  }
  FinishStep(state, pending, {loss_sum, targets, targets, data_seconds}, step_targets);
}

void Trainer::FinishStep(TrainState& state, Pending& pending, const StepLoss& loss,
                         const Tensor& rank_targets) {
  const Tensor& loss_sum = loss.sum;
  pending.data_seconds += loss.data_seconds;
  pending.lr = config_.optim.lr * schedule_.At(state.step) * state.plateau.lr_scale;
  const AdamW::StepResult result = optimizer_.Step(pending.lr, loss_sum);
  if (parallel_ != nullptr) parallel_->SpreadWeights();
  if (ema_ != nullptr) ema_->Update(optimizer_.Weights());
  ++state.step;

  // A skipped step has no part in the mean loss.
  const Tensor counted = at::where(result.skipped.eq(0), loss_sum, at::zeros_like(loss_sum));
  const Tensor left_out = rank_targets.defined()
                              ? result.skipped * rank_targets
                              : result.skipped.to(at::kDouble) * static_cast<double>(loss.count);
  const Tensor bad_step = result.skipped * static_cast<double>(state.step);
  if (pending.loss_sum.defined()) {
    pending.loss_sum = pending.loss_sum + counted;
    pending.skipped = pending.skipped + result.skipped;
    pending.left_out = pending.left_out + left_out;
    pending.first_bad = at::where(pending.first_bad.eq(0), bad_step, pending.first_bad);
  } else {
    pending.loss_sum = counted;
    pending.skipped = result.skipped;
    pending.left_out = left_out;
    pending.first_bad = bad_step;
  }
  if (rank_targets.defined()) {
    pending.rank_targets =
        pending.rank_targets.defined() ? pending.rank_targets + rank_targets : rank_targets;
  }
  pending.grad_norm = result.grad_norm;
  pending.targets += loss.count;
  pending.tokens += loss.words;
  ++pending.steps;
}

void Trainer::Settle(TrainState& state, Pending& pending) {
  if (pending.steps == 0) return;
  if (pending.rank_targets.defined()) {
    const auto targets = static_cast<int64_t>(pending.rank_targets.item<double>());
    pending.targets += targets;
    pending.tokens += targets;
  }
  state.loss_sum += pending.loss_sum.item<double>();  // waits for the device
  state.loss_targets += pending.targets - static_cast<int64_t>(pending.left_out.item<double>());
  state.tokens += pending.tokens;
  state.seconds += pending.watch.Seconds();
  const auto skipped = static_cast<int64_t>(pending.skipped.item<float>());
  state.skipped_steps += skipped;
  if (skipped > 0 && config_.on_nonfinite == "stop") {
    throw DivergedError(static_cast<int64_t>(pending.first_bad.item<float>()),
                        "the loss or a gradient is not finite; checkpoints are from before (lower "
                        "train.optim.lr, or train.on_nonfinite: skip)");
  }
  if (state.skipped_steps > config_.max_skipped_steps) {
    throw DivergedError(state.step, Str(state.skipped_steps,
                                        " steps had a loss or gradient that is not finite, more "
                                        "than train.max_skipped_steps"));
  }
}

void Trainer::Run(TrainState& state, const TrainHooks& hooks) {
  module().train();
  Pending pending;
  // Times since the last row of metrics, without validating and saving.
  double row_seconds = 0.0;
  double row_data_seconds = 0.0;
  int64_t row_steps = 0;
  int64_t row_tokens = 0;
  while (state.step < config_.steps && !state.plateau.stopped) {
    Step(state, pending);
    const bool last = state.step == config_.steps;
    const bool log = last || IsEvery(state.step, config_.log_every);
    const bool validate = last || IsEvery(state.step, config_.eval_every);
    const int signal = Signal();
    if (hooks.after_step) hooks.after_step(&report_);
    const bool save = last || IsEvery(state.step, config_.save_every) || signal != 0;
    // On a CPU looking costs nothing, so that a fault stops the run at once.
    if (!(log || validate || save || device_.is_cpu())) continue;

    const double before = state.seconds;
    Settle(state, pending);
    row_seconds += state.seconds - before;
    row_data_seconds += pending.data_seconds;
    row_steps += pending.steps;
    row_tokens += pending.tokens;
    if (log) {
      TrainProgress progress;
      // NaN if all steps were skipped.
      progress.loss = state.loss_sum / static_cast<double>(state.loss_targets);
      progress.grad_norm = pending.grad_norm.item().toDouble();
      progress.lr = pending.lr;
      progress.tokens_per_second = static_cast<double>(row_tokens) / std::max(row_seconds, 1e-9);
      progress.step_seconds = row_seconds / static_cast<double>(row_steps);
      progress.data_seconds = row_data_seconds / static_cast<double>(row_steps);
      state.loss_sum = 0.0;
      state.loss_targets = 0;
      hooks.log(state, progress);
      row_seconds = row_data_seconds = 0.0;
      row_steps = row_tokens = 0;
    }
    if (validate) {
      hooks.validate(state);
      module().train();
    }
    if (save || state.plateau.stopped) hooks.save(state);
    if (hooks.finish && (last || signal != 0)) hooks.finish();
    if (signal != 0 && !last) {
      throw Interrupted(signal, Str("stopped by ", SignalName(signal), " after step ", state.step,
                                    "; the checkpoint is saved, and the same command goes on"));
    }
    pending = Pending();
  }
}

}  // namespace ckv
