// Terms of pairs of words whose vectors depend on the pair's distance bin, in CUDA kernels of their
// own: for sentences of tens of words, where products of whole bins are many small launches.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace ckv {

using at::Tensor;

// The bins of sentences of n words, in tensors on the GPU. A head `offset` words to the right of
// its child (to the left: negative) is in bin `bin_of[offset + n - 1]`, and bin k has the heads at
// offsets `ranges[k][0]` to `ranges[k][1]`, 0 left out.
struct PairTables {
  Tensor bin_of;  // [2n - 1] int32, -1 at offset 0
  Tensor ranges;  // [K, 2] int32
};

// Whether fp32 tensors like this one have kernels.
bool HasPairKernels(const Tensor& side);

// F[b, c, i, j] = child[b, i, bin(i, j), c] . head[b, j, bin(i, j), c], 0 for i == j. Sides
// [B, n, K or 1, h or 1, R]; [B, h, n, n].
Tensor PairScoresOnGpu(const Tensor& child, const Tensor& head, const PairTables& tables,
                       int64_t channels);

// `own_is_child`: out[b, i, k, c] = sum over j in bin k of probs[b, c, i, j] from[b, j, k, c]; else
// out[b, j, k, c] = sum over i. `bins` and `channels`: all of them, or 1 for their sum.
Tensor PairSumsOnGpu(const Tensor& probs, const Tensor& from, const PairTables& tables,
                     bool own_is_child, int64_t bins, int64_t channels);

}  // namespace ckv
