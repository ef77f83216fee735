// Products of one input with several weights at once, and what stands behind them: rotated heads,
// and the gated unit of the feed-forward block. Each has a gradient of its own.
//
// The weights stay parameters of their own, under their own names. Where they lie one behind
// another in memory (nn/joined.h) the product reads them as one matrix; elsewhere they are joined
// first. On a GPU in bf16 and fp16 rotation and gate are one kernel each way
// (nn/cuda/fused_heads.cu, fused_gate.cu); elsewhere they are composed of LibTorch's operations.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "nn/rope.h"

namespace ckv {

using at::Tensor;

// x [..., K], weights [N_i, K] -> [..., sum of N_i]: the products side by side.
Tensor PackedLinear(const Tensor& x, const std::vector<Tensor>& weights);

// One projection of ProjectHeads.
struct HeadProjection {
  Tensor weight;  // [heads D, C]
  bool rotates = false;
  int64_t skip = 0;  // tokens at the front that the result lacks
};

// x [B, T, C] -> one [B, heads, T - skip, D] for each of up to three projections, rotated by `rope`
// where it says so. The results are views of one buffer.
std::vector<Tensor> ProjectHeads(const Tensor& x, const std::vector<HeadProjection>& projections,
                                 int64_t head_dim, const RopeTable& rope);

// The weights as one matrix [sum of N_i, K], without gradient; no copy where they are packed.
Tensor JoinedWeights(const std::vector<Tensor>& weights);

// Without gradient: what ProjectHeads makes of its product [B, T, sum of heads D], which is
// overwritten. The weights of `projections` say sizes only.
std::vector<Tensor> RotateProduct(const Tensor& product,
                                  const std::vector<HeadProjection>& projections, int64_t head_dim,
                                  const RopeTable& rope);

// packed [..., 2 F] = gate, up -> activation(gate) * up, [..., F]. `activation` is silu, gelu or
// gelu_tanh. In at least fp32 within.
Tensor GatedUnit(const Tensor& packed, const std::string& activation);

}  // namespace ckv
