// Pair terms pair by pair: each meets the vectors of its own bin and no others.
#include <algorithm>

#include <ATen/ATen.h>
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include "base/error.h"
#include "model/probtrans_pairs.h"

namespace ckv {
namespace {

// A side's numbers with the strides of [B, n, K, h]; 0 where all bins or channels share them.
template <typename T>
struct SideView {
  T* data;
  int64_t batch, word, bin, channel;

  explicit SideView(const Tensor& side)
      : data(side.data_ptr<T>()),
        batch(side.stride(0)),
        word(side.stride(1)),
        bin(side.size(2) == 1 ? 0 : side.stride(2)),
        channel(side.size(3) == 1 ? 0 : side.stride(3)) {}

  T* At(int64_t b, int64_t i, int64_t k, int64_t c) const {
    return data + b * batch + i * word + k * bin + c * channel;
  }
};

template <typename T>
T Dot(const T* a, const T* b, int64_t count) {
  constexpr int kLanes = 16;
  T sums[kLanes] = {};
  int64_t l = 0;
  for (; l + kLanes <= count; l += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) sums[lane] += a[l + lane] * b[l + lane];
  }
  T sum = 0;
  for (const T one : sums) sum += one;
  for (; l < count; ++l) sum += a[l] * b[l];
  return sum;
}

template <typename T>
void AddScaled(T weight, const T* from, T* to, int64_t count) {
  for (int64_t l = 0; l < count; ++l) to[l] += weight * from[l];
}

Tensor GatherScores(const Tensor& child_side, const Tensor& head_side, const PairLayout& layout) {
  CKV_CHECK(child_side.is_cpu(), "pair loops run on a CPU");
  const Tensor child = child_side.contiguous(), head = head_side.contiguous();
  const int64_t batch = child.size(0), words = layout.words, rank = child.size(4);
  const int64_t channels = std::max(child.size(3), head.size(3));
  const Tensor scores = at::zeros({batch, channels, words, words}, child.options());
  AT_DISPATCH_FLOATING_TYPES(child.scalar_type(), "pair_scores", [&] {
    const SideView<scalar_t> a(child), v(head);
    auto* out = scores.data_ptr<scalar_t>();
    at::parallel_for(0, batch * words, 4, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t b = row / words, i = row % words;
        for (int64_t j = 0; j < words; ++j) {
          const int32_t k = layout.table[static_cast<size_t>(i * words + j)];
          if (k < 0) continue;
          for (int64_t c = 0; c < channels; ++c) {
            out[((b * channels + c) * words + i) * words + j] =
                Dot(a.At(b, i, k, c), v.At(b, j, k, c), rank);
          }
        }
      }
    });
  });
  return scores;
}

// For each word `own` and pair with it: to[own, bin] += Q * from[other, bin]. `own_is_child` says
// which of the two is the child.
template <typename T>
void Collect(const Tensor& probs, const Tensor& from_side, const Tensor& to_side,
             const PairLayout& layout, bool own_is_child) {
  const SideView<T> from(from_side), to(to_side);
  const int64_t batch = probs.size(0), channels = probs.size(1), words = layout.words;
  const int64_t rank = from_side.size(4);
  const T* q = probs.data_ptr<T>();
  at::parallel_for(0, batch * words, 4, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t b = row / words, own = row % words;
      for (int64_t other = 0; other < words; ++other) {
        const int64_t i = own_is_child ? own : other, j = own_is_child ? other : own;
        const int32_t k = layout.table[static_cast<size_t>(i * words + j)];
        if (k < 0) continue;
        for (int64_t c = 0; c < channels; ++c) {
          const T weight = q[((b * channels + c) * words + i) * words + j];
          if (weight == T(0)) continue;
          AddScaled(weight, from.At(b, other, k, c), to.At(b, own, k, c), rank);
        }
      }
    }
  });
}

std::pair<Tensor, Tensor> GatherSums(const Tensor& head_probs, const Tensor& child_side,
                                     const Tensor& head_side, const PairLayout& layout) {
  CKV_CHECK(head_probs.is_cpu(), "pair loops run on a CPU");
  const Tensor probs = head_probs.contiguous();
  const Tensor child = child_side.contiguous(), head = head_side.contiguous();
  const Tensor to_child = at::zeros(child.sizes(), child.options());
  const Tensor to_head = at::zeros(head.sizes(), head.options());
  AT_DISPATCH_FLOATING_TYPES(child.scalar_type(), "pair_sums", [&] {
    Collect<scalar_t>(probs, head, to_child, layout, /*own_is_child=*/true);
    Collect<scalar_t>(probs, child, to_head, layout, /*own_is_child=*/false);
  });
  return {to_child, to_head};
}

}  // namespace

const PairKernel kGatherPairs = {GatherScores, GatherSums};

}  // namespace ckv
