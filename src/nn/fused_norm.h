// Residual sum and RMS norm in one operation with a gradient of its own: what stands between two
// blocks of a decoder.
//
// On a GPU in bf16 and fp16 each direction is one kernel (nn/cuda/fused_norm.cu), which keeps the
// factor of each row instead of the operands in fp32; elsewhere it is composed of LibTorch's
// operations, with the maths in at least fp32.
#pragma once

#include <ATen/core/Tensor.h>

namespace ckv {

using at::Tensor;

struct NormedSum {
  Tensor sum;     // x + delta, in x's type; x itself without delta
  Tensor normed;  // weight * sum / sqrt(mean(sum^2) + epsilon)
};

// x, delta [..., C] (delta undefined = zeros), weight [C]; differentiable in all three.
NormedSum AddRmsNorm(const Tensor& x, const Tensor& delta, const Tensor& weight, double epsilon);

}  // namespace ckv
