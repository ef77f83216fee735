#include "model/probtrans_distance.h"

#include "base/error.h"

namespace ckv {

DistanceBins DistanceBins::FromCuts(const std::vector<int64_t>& cuts) {
  DistanceBins result;
  for (const int sign : {1, -1}) {
    int64_t near = 1;
    for (const int64_t cut : cuts) {
      CKV_CHECK(cut > near, "distance cuts must rise from 2");
      result.bins_.push_back({sign, near, cut - 1});
      near = cut;
    }
    result.bins_.push_back({sign, near, kNoEnd});
  }
  return result;
}

DistanceBins DistanceBins::None() {
  DistanceBins result;
  result.bins_.push_back({});
  return result;
}

DistanceBins DistanceBins::Clipped(int64_t limit) {
  DistanceBins result;
  for (int64_t distance = 1; distance <= limit; ++distance) {
    result.bins_.push_back({-1, distance, distance == limit ? kNoEnd : distance});
  }
  for (int64_t distance = limit; distance >= 1; --distance) {
    result.bins_.push_back({1, distance, distance == limit ? kNoEnd : distance});
  }
  return result;
}

int64_t DistanceBins::Find(int64_t offset) const {
  CKV_CHECK(offset != 0, "a word is never its own head");
  const int64_t distance = offset > 0 ? offset : -offset;
  for (int64_t k = 0; k < size(); ++k) {
    const Bin& one = bin(k);
    const bool side = one.sign == 0 || (one.sign > 0) == (offset > 0);
    if (side && distance >= one.near && distance <= one.far) return k;
  }
  throw InternalError(Str("no bin for the offset ", offset));
}

std::vector<int64_t> DistanceBins::Present(int64_t words) const {
  std::vector<int64_t> present;
  for (int64_t k = 0; k < size(); ++k) {
    if (bin(k).near < words || size() == 1) present.push_back(k);
  }
  return present;
}

}  // namespace ckv
