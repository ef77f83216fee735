// Which score tensor belongs to a pair of words: by direction and distance of the head as seen from
// the child.
#pragma once

#include <cstdint>
#include <vector>

namespace ckv {

class DistanceBins {
 public:
  // One bin: heads to the right (sign 1), to the left (-1) or both (0) of the child, from `near` to
  // `far` words away.
  struct Bin {
    int sign = 0;
    int64_t near = 1;
    int64_t far = kNoEnd;
  };
  static constexpr int64_t kNoEnd = INT64_MAX;

  // Cut points, rising, from 2: bins to the right at growing distance, then to the left likewise.
  // [2, 3, 4] gives 1, 2, 3, 4.. in each direction; none gives one bin a direction.
  static DistanceBins FromCuts(const std::vector<int64_t>& cuts);
  // One bin for all pairs.
  static DistanceBins None();
  // Single distances up to `limit`, beyond which they count as `limit`: to the left from 1 to
  // `limit`, then to the right from `limit` to 1 (the rows of the learned mixtures).
  static DistanceBins Clipped(int64_t limit);

  int64_t size() const { return static_cast<int64_t>(bins_.size()); }
  const Bin& bin(int64_t k) const { return bins_[static_cast<size_t>(k)]; }

  // The bin of a head `offset` words to the right (negative: left) of the child. Requires
  // offset != 0.
  int64_t Find(int64_t offset) const;

  // The bins that a sentence of `words` words can have, ascending.
  std::vector<int64_t> Present(int64_t words) const;

 private:
  std::vector<Bin> bins_;
};

}  // namespace ckv
