// One AdamW step over all parameters of low precision, with fp32 masters: gradient norm, clipping,
// update and working weights in three kernels, without the host (nn/cuda/fused_adamw.cu). Several
// ranks can each do a part of the parameters and clip by the norm of all.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ckv {

using at::Tensor;

class FusedAdamW {
 public:
  struct Parameter {
    Tensor working;  // bf16 or fp16, on a GPU
    Tensor master;   // fp32; these three in place, contiguous, never moved
    Tensor first_moment;
    Tensor second_moment;
    double decay = 0.0;
  };
  struct Rates {
    double lr = 0.0;
    double beta1 = 0.0;
    double beta2 = 0.0;
    double eps = 0.0;
    double clip_norm = 0.0;  // 0 = none
  };
  struct Result {
    Tensor grad_norm;  // fp32 scalar on the device, before clipping
    Tensor skipped;    // 1 = norm or loss was not finite and nothing changed, else 0
  };

  // True if parameters like this one have a kernel.
  static bool Works(const Tensor& working);

  // All of one type on one device.
  explicit FusedAdamW(std::vector<Parameter> parameters);
  ~FusedAdamW();
  FusedAdamW(FusedAdamW&&) noexcept;
  FusedAdamW& operator=(FusedAdamW&&) noexcept;

  // `grads`: one a parameter, of the working weights' shape, all in their type or all in fp32;
  // undefined = zeros. `updates` (fp32 scalar) counts updates done; `loss` is a scalar.
  // `combine_norm`, if there is one, makes the norm of all gradients from that of `grads`.
  Result Step(const std::vector<Tensor>& grads, const Rates& rates, Tensor& updates,
              const Tensor& loss,
              const std::function<Tensor(const Tensor& norm)>& combine_norm = {});

 private:
  struct Tables;
  std::vector<Parameter> parameters_;
  std::unique_ptr<Tables> tables_;
};

}  // namespace ckv
