#include "model/objective.h"

#include <ATen/ATen.h>

#include "sharing/cost.h"

namespace ckv {

void PassesStage::Visit(ConfigVisitor& v) {
  v.Field("step", step, "first step of the stage");
  v.Require(step >= 0, "must be >= 0");
  v.Field("forward", forward, "m: passes without gradient");
  v.Require(forward >= 0, "must be >= 0");
  v.Field("backward", backward, "b: passes with gradient");
  v.Require(backward >= 1, "must be >= 1");
}

CausalLmObjective::CausalLmObjective(Decoder decoder, CausalLmOptions options)
    : decoder_(std::move(decoder)), options_(std::move(options)) {}

PassesStage CausalLmObjective::PassesAt(int64_t step) const {
  const DecoderConfig& config = decoder_->config();
  PassesStage now{0, config.forward_passes, config.backward_passes};
  for (const PassesStage& stage : options_.passes) {
    if (stage.step <= step) now = stage;
  }
  return now;
}

Tensor CausalLmObjective::LossSum(const Batch& batch, int64_t step) {
  const PassesStage passes = PassesAt(step);
  DecoderRun run;
  run.forward_passes = passes.forward;
  run.backward_passes = passes.backward;
  run.checkpoint_layers = options_.checkpoint_layers;
  run.fusing = options_.fusing;
  const Tensor hidden = decoder_->Hidden({batch.tokens, {}, batch.segments}, run);
  return LinearCrossEntropy(hidden.flatten(0, 1), decoder_->head_weight(), batch.targets.flatten(),
                            options_.loss);
}

double CausalLmObjective::ModelFlopsPerToken(int64_t seq_len) const {
  return RunFlops(seq_len, 0).plain;
}

double CausalLmObjective::RunFlopsPerToken(int64_t seq_len, int64_t step) const {
  return RunFlops(seq_len, step).passes;
}

TrainFlops CausalLmObjective::RunFlops(int64_t seq_len, int64_t step) const {
  const PassesStage passes = PassesAt(step);
  const IterationPlan plan(decoder_->config().sharing(), passes.forward, passes.backward);
  return CountTrainFlops(plan, decoder_->config().Shape(), seq_len, decoder_->config().Start());
}

}  // namespace ckv
