// The pair terms of mean-field inference, in forms that give the same numbers at different cost.
//
// Both sides of a pair are vectors that depend on the pair's distance bin k and channel c: child
// [B, n, K, h, R] and head [B, n, K, h, R]. Either may have 1 in place of K and h where its vector
// is the same for all. The terms are the bilinear form
//
//   F[b, c, i, j] = sum_l child[b, i, bin(i, j), c, l] head[b, j, bin(i, j), c, l]     (i != j)
//
// and its two derivatives, weighted by head distributions Q [B, h, n, n]: what a child collects
// from its heads and a head from its children. Derivatives of all three are made of the same
// two functions, so a form is nothing but an implementation of these.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "model/probtrans_distance.h"
#include "nn/pair_terms.h"

namespace ckv {

using at::Tensor;

// The bins of one sentence length.
struct PairLayout {
  int64_t words = 0;
  std::vector<DistanceBins::Bin> bins;  // those that occur
  std::vector<int64_t> ids;             // their numbers among all bins, ascending
  std::vector<int32_t> table;           // [n * n]: position in `bins`; -1 for i == j
  Tensor mask;                          // [K, 1, n, n] bool on the device
  Tensor id_tensor;                     // `ids` on the device
  PairTables tables;                    // on the device

  int64_t num_bins() const { return static_cast<int64_t>(bins.size()); }
};
std::shared_ptr<const PairLayout> MakePairLayout(const DistanceBins& bins, int64_t words,
                                                 const at::Device& device);

enum class PairForm {
  kDense,   // one matrix product a bin, masked; the fewest operations
  kBand,    // single diagonals for near bins, a product for each bin without end
  kGather,  // each pair once, in loops; CPU only
  kFused,   // each pair once, in CUDA kernels; fp32 on a GPU only
};
// "auto", "dense", "band", "gather", "fused", for sides like `side`; auto never chooses the fused
// form. Throws ConfigError for a form that `side` cannot have.
PairForm ChoosePairForm(const std::string& name, int64_t words, const Tensor& side);

// F [B, h, n, n], zero for i == j. Differentiable.
Tensor PairScores(const Tensor& child, const Tensor& head,
                  const std::shared_ptr<const PairLayout>& layout, PairForm form);

// dF.Q/dchild, shaped like `child`, and dF.Q/dhead, shaped like `head`, for Q [B, h, n, n] (the
// diagonal does not count). Differentiable.
std::pair<Tensor, Tensor> PairSums(const Tensor& probs, const Tensor& child, const Tensor& head,
                                   const std::shared_ptr<const PairLayout>& layout, PairForm form);

// The forms themselves, without autograd.
struct PairKernel {
  Tensor (*scores)(const Tensor& child, const Tensor& head, const PairLayout& layout);
  std::pair<Tensor, Tensor> (*sums)(const Tensor& probs, const Tensor& child, const Tensor& head,
                                    const PairLayout& layout);
};
extern const PairKernel kDensePairs;
extern const PairKernel kBandPairs;
extern const PairKernel kGatherPairs;
extern const PairKernel kFusedPairs;

}  // namespace ckv
