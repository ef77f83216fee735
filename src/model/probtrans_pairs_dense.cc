// Pair terms as one masked matrix product a bin.
#include <ATen/ATen.h>

#include "model/probtrans_pairs.h"

namespace ckv {
namespace {

// [B, n, K, h, R] -> [B, K, h, n, R]
Tensor ByBin(const Tensor& side) { return side.permute({0, 2, 3, 1, 4}); }

// [B, K, h, n, R] -> [B, n, K, h, R], summed to the size of `like`.
Tensor LikeSide(const Tensor& by_bin, const Tensor& like) {
  return by_bin.permute({0, 3, 1, 2, 4}).sum_to_size(like.sizes());
}

bool IsOneVector(const Tensor& side) { return side.size(2) == 1 && side.size(3) == 1; }

// A child side that is the same for all bins and channels (the full form) meets all head vectors of
// a sentence in one product, without copies of it.
Tensor OneChildScores(const Tensor& child, const Tensor& head, const PairLayout& layout) {
  const int64_t batch = head.size(0), words = head.size(1), bins = head.size(2);
  const Tensor heads = head.reshape({batch, -1, head.size(4)});
  Tensor all = at::bmm(child.reshape({batch, words, -1}), heads.transpose(1, 2));
  all = all.view({batch, words, words, bins, -1}).permute({0, 3, 4, 1, 2});  // [B, K, h, n, n]
  return (all * layout.mask).sum(1);
}

std::pair<Tensor, Tensor> OneChildSums(const Tensor& binned, const Tensor& child,
                                       const Tensor& head) {
  const int64_t batch = head.size(0), words = head.size(1);
  const Tensor heads = head.reshape({batch, -1, head.size(4)});
  const Tensor weights =
      binned.permute({0, 3, 4, 1, 2}).reshape({batch, words, -1});  // [B, i, (j K h)]
  const Tensor to_child = at::bmm(weights, heads);
  const Tensor to_head = at::bmm(weights.transpose(1, 2), child.reshape({batch, words, -1}));
  return {to_child.view(child.sizes()), to_head.view(head.sizes())};
}

Tensor DenseScores(const Tensor& child, const Tensor& head, const PairLayout& layout) {
  if (IsOneVector(child) && !IsOneVector(head)) return OneChildScores(child, head, layout);
  const Tensor all = at::matmul(ByBin(child), ByBin(head).transpose(-1, -2));
  return (all * layout.mask).sum(1);
}

std::pair<Tensor, Tensor> DenseSums(const Tensor& probs, const Tensor& child, const Tensor& head,
                                    const PairLayout& layout) {
  const Tensor binned = probs.unsqueeze(1) * layout.mask;  // [B, K, h, n, n]
  if (IsOneVector(child) && !IsOneVector(head)) return OneChildSums(binned, child, head);
  return {LikeSide(at::matmul(binned, ByBin(head)), child),
          LikeSide(at::matmul(binned.transpose(-1, -2), ByBin(child)), head)};
}

}  // namespace

const PairKernel kDensePairs = {DenseScores, DenseSums};

}  // namespace ckv
