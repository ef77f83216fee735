#include "train/config.h"

#include "base/str.h"

namespace ckv {
namespace {

constexpr int64_t kMaxSteps = 1'000'000'000'000;
constexpr int64_t kMaxBatch = 1 << 24;

}  // namespace

void TrainConfig::Visit(ConfigVisitor& v) {
  v.Field("steps", steps, "optimizer steps of the whole run");
  v.Require(steps >= 1 && steps <= kMaxSteps, Str("must be from 1 to ", kMaxSteps));
  v.Field("batch_size", batch_size, "samples a step, over all micro-batches");
  v.Require(batch_size >= 1 && batch_size <= kMaxBatch, Str("must be from 1 to ", kMaxBatch));
  v.Field("micro_batch_size", micro_batch_size,
          "samples run at once, their gradients summed; 0 = batch_size");
  v.Require(micro_batch_size >= 0 && batch_size % MicroRows() == 0, "must divide batch_size");
  v.Choice("precision", precision, {"fp32", "tf32", "bf16", "fp64"},
           "number format of the work; bf16 keeps fp32 master weights");
  v.Section("optim", optim, "AdamW");
  v.Section("schedule", schedule, "learning rate over steps");
  v.Section("lora", lora, "low-rank adapters of init_from's weights, which alone are trained then");
  v.Field("label_smoothing", label_smoothing, "share of each target spread over the vocabulary");
  v.Require(label_smoothing >= 0.0 && label_smoothing < 1.0, "must be from 0 to below 1");
  v.Field("z_loss", z_loss, "weight of the squared log normaliser");
  v.Require(z_loss >= 0.0, "must be >= 0");
  v.List("passes", passes, "m and b over training, by first step; empty = the model's");
  bool ascending = true;
  for (size_t i = 1; i < passes.size(); ++i) ascending &= passes[i - 1].step < passes[i].step;
  v.Require(ascending, "must have rising steps");
  v.Field("checkpoint_layers", checkpoint_layers,
          "recompute activations in segments of so many layers; 0 = keep them");
  v.Require(checkpoint_layers >= 0, "must be >= 0");
  v.Field("fused", fused,
          "run layers, loss and optimizer in few kernels of our own, on a GPU in bf16");
  v.Choice("sdpa", sdpa, {"auto", "flash", "cudnn", "efficient"},
           "which of LibTorch's attention kernels to use on a GPU");
  v.Field("ema_decay", ema_decay, "decay of a running mean of the weights; 0 = none");
  v.Require(ema_decay >= 0.0 && ema_decay < 1.0, "must be from 0 to below 1");
  v.Choice("on_nonfinite", on_nonfinite, {"stop", "skip"},
           "a loss or gradient that is not finite: stop the run, or skip the step and count it");
  v.Field("max_skipped_steps", max_skipped_steps, "skip: stop after so many skipped steps");
  v.Require(max_skipped_steps >= 1, "must be >= 1");
  v.Field("log_every", log_every, "steps between rows of metrics");
  v.Require(log_every >= 1, "must be >= 1");
  v.Field("eval_every", eval_every, "steps between validations; 0 = at the end only");
  v.Require(eval_every >= 0, "must be >= 0");
  v.Field("save_every", save_every, "steps between checkpoints; 0 = at the end only");
  v.Require(save_every >= 0, "must be >= 0");
  v.Field("keep_checkpoints", keep_checkpoints, "newest checkpoints to keep beside the best");
  v.Require(keep_checkpoints >= 1, "must be >= 1");
  v.Field("async_checkpoints", async_checkpoints, "train on while a checkpoint is written");
  v.Field("csv", csv, "write metrics.csv beside metrics.jsonl");
  v.Field("tensorboard", tensorboard, "write TensorBoard event files");
}

}  // namespace ckv
