// AdamW (Loshchilov and Hutter 2019), or Adam with the decay in the gradient (Kingma and Ba 2015),
// over LibTorch's fused kernels, with clipping by global norm,
// fp32 masters of low-precision weights, and no round trip to the host within a step.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "config/visitor.h"
#include "nn/fused_adamw.h"

namespace ckv {

using at::Tensor;

// `train.optim`.
struct OptimConfig {
  std::string kind = "adamw";
  double lr = 3e-4;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  double clip_norm = 1.0;

  void Visit(ConfigVisitor& v);
};

class AdamW {
 public:
  using Named = std::vector<std::pair<std::string, Tensor>>;

  // `parameters` in fp32 or fp64 are updated themselves; for lower precision the optimizer keeps
  // fp32 masters and copies them back after each step. With adamw matrices decay, vectors do not,
  // unless `decays` says so for each: a slice of a matrix is a vector; with adam all do. `fused`:
  // low precision on a GPU goes in one kernel (nn/fused_adamw.h).
  AdamW(Named parameters, const OptimConfig& config, std::vector<bool> decays = {},
        bool fused = true);

  // Makes the norm of all gradients from that of the ones held here, a scalar, where ranks hold
  // parts (train/data_parallel.h).
  void SetNormReduction(std::function<Tensor(const Tensor&)> reduction) {
    norm_reduction_ = std::move(reduction);
  }

  // Moves the gradients of the parameters into the step's sum and clears them. Once a micro-batch.
  void Accumulate();

  struct StepResult {
    Tensor grad_norm;  // scalar on the device, before clipping
    Tensor skipped;    // scalar on the device: 1 if norm or loss was not finite, else 0
  };
  // One update with learning rate `lr` from the accumulated gradients, which are then cleared.
  // Nothing changes if their norm or `loss` (a scalar) is not finite.
  StepResult Step(double lr, const Tensor& loss);

  // Updates done, skipped ones not counted; waits for the device.
  int64_t num_updates() const;

  // Names and master weights in fp32 (fp64).
  Named Weights() const;
  // What a checkpoint needs beside the weights: moments by parameter name, and the update count.
  Named State() const;
  // Puts State() and weights back. `find` returns the stored tensor of a name, of the right shape.
  template <typename Find>
  void Restore(Find&& find) {
    for (auto& [name, tensor] : State()) tensor.copy_(find(name));
  }
  // Copies masters to the working weights, after masters were changed from outside.
  void RefreshWorkingWeights();

  // Bytes of masters, moments and sums.
  int64_t bytes() const;

 private:
  StepResult FusedStep(double lr, const Tensor& loss);
  void MakeSums();
  void FoldFresh();
  std::vector<size_t> Group(bool decays) const;

  OptimConfig config_;
  std::vector<bool> decays_;
  std::function<Tensor(const Tensor&)> norm_reduction_;
  std::vector<std::string> names_;
  std::vector<Tensor> working_;
  std::vector<Tensor> masters_;  // the same tensors as working_ where precision allows
  std::vector<Tensor> grads_;  // sums over micro-batches, in the masters' type; empty: no need yet
  std::vector<Tensor> first_moments_;
  std::vector<Tensor> second_moments_;
  Tensor updates_;  // scalar fp32
  bool separate_masters_ = false;
  bool accumulated_ = false;

  std::optional<FusedAdamW> fused_;
  std::vector<Tensor> fresh_;  // the first micro-batch's gradients as they came; empty = in grads_
};

}  // namespace ckv
