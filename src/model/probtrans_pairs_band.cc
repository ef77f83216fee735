// Pair terms as single diagonals where a bin ends, and one masked product where it does not: the
// cost falls from K dense products to two and O(n) for each near distance.
#include <algorithm>

#include <ATen/ATen.h>

#include "model/probtrans_pairs.h"

namespace ckv {
namespace {

// Bin k of a side, or its only one: [B, n, h or 1, R].
Tensor BinOf(const Tensor& side, int64_t k) { return side.select(2, side.size(2) == 1 ? 0 : k); }

// A diagonal: children first, first + 1, ... with heads `offset` to their right.
struct Diagonal {
  int64_t offset = 0;
  int64_t bin = 0;
  int64_t child = 0;
  int64_t head = 0;
  int64_t length = 0;
};

std::vector<Diagonal> NearDiagonals(const PairLayout& layout) {
  std::vector<Diagonal> diagonals;
  for (int64_t k = 0; k < layout.num_bins(); ++k) {
    const DistanceBins::Bin& bin = layout.bins[static_cast<size_t>(k)];
    if (bin.far == DistanceBins::kNoEnd) continue;
    for (int64_t distance = bin.near; distance <= std::min(bin.far, layout.words - 1); ++distance) {
      const int64_t offset = bin.sign * distance;
      diagonals.push_back({offset, k, std::max<int64_t>(-offset, 0), std::max<int64_t>(offset, 0),
                           layout.words - distance});
    }
  }
  return diagonals;
}

std::vector<int64_t> FarBins(const PairLayout& layout) {
  std::vector<int64_t> far;
  for (int64_t k = 0; k < layout.num_bins(); ++k) {
    if (layout.bins[static_cast<size_t>(k)].far == DistanceBins::kNoEnd) far.push_back(k);
  }
  return far;
}

Tensor ByChannel(const Tensor& side) { return side.transpose(1, 2); }  // [B, h, n, R]

Tensor BandScores(const Tensor& child, const Tensor& head, const PairLayout& layout) {
  const int64_t channels = std::max(child.size(3), head.size(3));
  Tensor scores = at::zeros({child.size(0), channels, layout.words, layout.words}, child.options());
  for (const int64_t k : FarBins(layout)) {
    scores += at::matmul(ByChannel(BinOf(child, k)), ByChannel(BinOf(head, k)).transpose(-1, -2)) *
              layout.mask[k];
  }
  for (const Diagonal& d : NearDiagonals(layout)) {
    const Tensor dots = (BinOf(child, d.bin).narrow(1, d.child, d.length) *
                         BinOf(head, d.bin).narrow(1, d.head, d.length))
                            .sum(-1);  // [B, length, h]
    scores.diagonal(d.offset, 2, 3).copy_(dots.transpose(1, 2));
  }
  return scores;
}

// Adds [B, length, h, R] to a part of one bin, summing over channels where the side has one.
void AddTo(const Tensor& part, const Tensor& addend) {
  Tensor target = part;
  target += addend.sum_to_size(part.sizes());
}

std::pair<Tensor, Tensor> BandSums(const Tensor& probs, const Tensor& child, const Tensor& head,
                                   const PairLayout& layout) {
  Tensor to_child = at::zeros(child.sizes(), child.options());
  Tensor to_head = at::zeros(head.sizes(), head.options());
  for (const int64_t k : FarBins(layout)) {
    const Tensor weights = probs * layout.mask[k];  // [B, h, n, n]
    AddTo(BinOf(to_child, k), at::matmul(weights, ByChannel(BinOf(head, k))).transpose(1, 2));
    AddTo(BinOf(to_head, k),
          at::matmul(weights.transpose(-1, -2), ByChannel(BinOf(child, k))).transpose(1, 2));
  }
  for (const Diagonal& d : NearDiagonals(layout)) {
    const Tensor weights =
        probs.diagonal(d.offset, 2, 3).transpose(1, 2).unsqueeze(-1);  // [B, length, h, 1]
    AddTo(BinOf(to_child, d.bin).narrow(1, d.child, d.length),
          weights * BinOf(head, d.bin).narrow(1, d.head, d.length));
    AddTo(BinOf(to_head, d.bin).narrow(1, d.head, d.length),
          weights * BinOf(child, d.bin).narrow(1, d.child, d.length));
  }
  return {to_child, to_head};
}

}  // namespace

const PairKernel kBandPairs = {BandScores, BandSums};

}  // namespace ckv
