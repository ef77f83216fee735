// Pair terms in CUDA kernels, each pair once.
#include <algorithm>

#include <ATen/ATen.h>

#include "model/probtrans_pairs.h"

namespace ckv {
namespace {

Tensor FusedScores(const Tensor& child, const Tensor& head, const PairLayout& layout) {
  return PairScoresOnGpu(child, head, layout.tables, std::max(child.size(3), head.size(3)));
}

std::pair<Tensor, Tensor> FusedSums(const Tensor& probs, const Tensor& child, const Tensor& head,
                                    const PairLayout& layout) {
  return {PairSumsOnGpu(probs, head, layout.tables, /*own_is_child=*/true, child.size(2),
                        child.size(3)),
          PairSumsOnGpu(probs, child, layout.tables, /*own_is_child=*/false, head.size(2),
                        head.size(3))};
}

}  // namespace

const PairKernel kFusedPairs = {FusedScores, FusedSums};

}  // namespace ckv
