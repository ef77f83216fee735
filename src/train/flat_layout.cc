#include "train/flat_layout.h"

#include <algorithm>

#include "base/error.h"

namespace ckv {
namespace {

// Elements: kernels and matrix products want rows that begin at multiples of 16 bytes.
constexpr int64_t kAlignment = 16;

int64_t RoundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

std::vector<FlatBucket> LayOut(const std::vector<int64_t>& sizes,
                               const FlatLayoutOptions& options) {
  CKV_CHECK(!options.by_unit || options.units.size() == sizes.size(), "a parameter has no unit");
  std::vector<size_t> order(sizes.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = sizes.size() - 1 - i;
  if (options.by_unit) {
    // Higher units first; within one the order stays.
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return options.units[a] > options.units[b]; });
  }
  std::vector<FlatBucket> buckets;
  for (const size_t i : order) {
    bool opens = buckets.empty();
    if (!opens && options.by_unit) {
      opens = options.units[buckets.back().pieces.back().parameter] != options.units[i];
    } else if (!opens) {
      opens = buckets.back().size + sizes[i] > options.bucket_elements;
    }
    if (opens) buckets.emplace_back();
    FlatBucket& bucket = buckets.back();
    bucket.pieces.push_back({i, 0, sizes[i]});
    bucket.size = RoundUp(bucket.size + sizes[i], kAlignment);
  }
  for (FlatBucket& bucket : buckets) {
    std::sort(bucket.pieces.begin(), bucket.pieces.end(),
              [](const FlatPiece& a, const FlatPiece& b) { return a.parameter < b.parameter; });
    int64_t begin = 0;
    for (FlatPiece& piece : bucket.pieces) {
      piece.begin = begin;
      begin = RoundUp(begin + piece.size, kAlignment);
    }
    bucket.size = RoundUp(bucket.size, options.world);
  }
  return buckets;
}

std::vector<OwnedSlice> SlicesOf(const std::vector<FlatBucket>& buckets, int rank, int world) {
  std::vector<OwnedSlice> slices;
  for (size_t b = 0; b < buckets.size(); ++b) {
    const int64_t begin = buckets[b].part_size(world) * rank;
    const int64_t end = begin + buckets[b].part_size(world);
    for (const FlatPiece& piece : buckets[b].pieces) {
      const int64_t from = std::max(begin, piece.begin);
      const int64_t to = std::min(end, piece.begin + piece.size);
      if (from >= to) continue;
      slices.push_back({piece.parameter, b, from - piece.begin, from - begin, to - from});
    }
  }
  return slices;
}

}  // namespace ckv
