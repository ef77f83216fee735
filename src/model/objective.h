// What the trainer knows of a model family: parameters, and a loss to differentiate.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <torch/nn/module.h>

#include "model/decoder.h"
#include "nn/loss.h"

namespace ckv {

// One micro-batch on the device.
struct Batch {
  Tensor tokens;    // [B, T]
  Tensor targets;   // [B, T]; kIgnoreTarget = no loss
  Tensor segments;  // [B, T] document numbers; undefined = attention goes across documents
};

class Objective {
 public:
  virtual ~Objective() = default;

  // Sum of the loss over all targets of the batch, a scalar to run backward on. `step` counts from
  // 0, for what changes over training.
  virtual Tensor LossSum(const Batch& batch, int64_t step) = 0;

  virtual torch::nn::Module& module() = 0;

  // FLOPs a token that model FLOPs utilisation counts (plain model, no passes), and those that are
  // run, for sequences of `seq_len`.
  virtual double ModelFlopsPerToken(int64_t seq_len) const = 0;
  virtual double RunFlopsPerToken(int64_t seq_len, int64_t step) const = 0;
};

// From step `step` on, m = `forward` passes without gradient and b = `backward` with.
struct PassesStage {
  int64_t step = 0;
  int64_t forward = 7;
  int64_t backward = 2;

  void Visit(ConfigVisitor& v);
};

struct CausalLmOptions {
  LossOptions loss;
  std::vector<PassesStage> passes;  // ascending steps; empty = the model config's
  int64_t checkpoint_layers = 0;    // DecoderRun::checkpoint_layers
  DecoderRun::Fusing fusing = DecoderRun::Fusing::kAuto;
};

// Next-token prediction by a Decoder.
class CausalLmObjective : public Objective {
 public:
  CausalLmObjective(Decoder decoder, CausalLmOptions options);

  Tensor LossSum(const Batch& batch, int64_t step) override;
  torch::nn::Module& module() override { return *decoder_; }
  double ModelFlopsPerToken(int64_t seq_len) const override;
  double RunFlopsPerToken(int64_t seq_len, int64_t step) const override;

  // The passes in force at a step.
  PassesStage PassesAt(int64_t step) const;

 private:
  TrainFlops RunFlops(int64_t seq_len, int64_t step) const;

  Decoder decoder_;
  CausalLmOptions options_;
};

}  // namespace ckv
