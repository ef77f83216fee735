// The matrix products of a decode step, each with what stands directly before and after it: a norm,
// and a gate, a rotation with cache write, or the residual stream.
//
// On a GPU in bf16 or fp16, up to 8 rows run in one kernel that reads the weights once
// (nn/cuda/small_batch.cu), and up to 64 in one behind the norm (nn/cuda/medium_batch.cu, compute
// capability 9.0). Everything else is norm, LibTorch's product into a buffer that stays
// where it is, and the operation of nn/decode_ops.h. Nothing waits for the device.
#pragma once

#include <cstdint>
#include <string>

#include <ATen/core/Tensor.h>
#include <c10/core/TensorOptions.h>

#include "nn/decode_ops.h"

namespace ckv {

// y = norm(x) W^T + b.
struct DecodeLinear {
  Tensor norm_weight;  // [K]; undefined = no norm
  double epsilon = 0.0;
  Tensor weight;  // [N, K]
  Tensor bias;    // [N]; undefined = none
};

// Room for what lies between norm, product and what follows.
class DecodeLinearScratch {
 public:
  // For up to `batch` rows, norms of `width` numbers and products of `most_outputs` before a gate
  // or rotation.
  DecodeLinearScratch(int64_t batch, int64_t width, int64_t most_outputs,
                      const at::TensorOptions& options);

  Tensor Normed(int64_t batch) const { return normed_.narrow(0, 0, batch); }
  Tensor Product(int64_t batch, int64_t outputs) const;  // [B, outputs], contiguous

 private:
  Tensor normed_;
  Tensor product_;
};

// out [B, N] = y.
void Project(const Tensor& x, const DecodeLinear& linear, DecodeLinearScratch& scratch,
             Tensor& out);
// stream [B, N] += y, for a linear without norm.
void ProjectAdd(const Tensor& x, const DecodeLinear& linear, Tensor& stream);
// out [B, N / 2] = activation(first half of y) * second half.
void ProjectGate(const Tensor& x, const DecodeLinear& linear, const std::string& activation,
                 DecodeLinearScratch& scratch, Tensor& out);
// RotateAndStore of y.
void ProjectRotate(const Tensor& x, const DecodeLinear& linear, DecodeLinearScratch& scratch,
                   RotateTarget& target);

}  // namespace ckv
