// The operations of a prompt between its matrix products, without gradient: each reads its input
// once and writes its output once, and projections of one input come as one packed product.
//
// On a GPU bf16 and fp16 have a kernel each (nn/cuda/prefill_ops.cu); all else is composed of
// LibTorch's operations. HasPrefillKernels says where a model gains by them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "nn/rope.h"

namespace ckv {

using at::Tensor;

bool HasPrefillKernels(const Tensor& weight, int64_t width, int64_t inner, int64_t head_dim);

// [..., C] -> [..., C], weight x / sqrt(mean(x^2) + epsilon).
Tensor PrefillNorm(const Tensor& x, const Tensor& weight, double epsilon);

// What lies in a packed product: queries, then what a layer owns of keys and values.
struct PackedHeads {
  int64_t heads = 0;  // of queries; 0 = none
  int64_t kv_heads = 0;
  Tensor keys;    // [B, G, T, D], any strides but the last: where keys go; undefined = none
  Tensor values;  // likewise
};

// packed [B, T, (heads + own heads) D]: rotates queries in place, and keys on their way to
// `to.keys`; copies values to `to.values`.
void PrefillRotate(Tensor& packed, const RopeTable& table, int64_t head_dim, PackedHeads& to);

// packed [N, 2 F] = gate, up; out [N, F] = activation(gate) up. Names as DecoderConfig::hidden_act.
void PrefillGate(const Tensor& packed, const std::string& activation, Tensor& out);

// x [N, K] times the transposes of several weights [n, K], side by side: [N, sum of n]. Weights
// that lie next to each other in memory are one product. Biases [n] may be undefined.
Tensor PackedProduct(const Tensor& x, const std::vector<Tensor>& weights,
                     const std::vector<Tensor>& biases);

}  // namespace ckv
