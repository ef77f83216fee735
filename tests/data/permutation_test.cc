#include "data/permutation.h"

#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace ckv {
namespace {

TEST(PermuteIndex, IsABijectionForEverySmallSize) {
  for (uint64_t n = 1; n <= 2000; ++n) {
    std::vector<bool> seen(n, false);
    for (uint64_t i = 0; i < n; ++i) {
      const uint64_t value = PermuteIndex(i, n, /*key=*/n * 7);
      ASSERT_LT(value, n);
      ASSERT_FALSE(seen[value]) << i << " of " << n;
      seen[value] = true;
    }
  }
}

TEST(PermuteIndex, StaysInRangeWithoutRepeatsForHugeSizes) {
  for (const uint64_t n :
       {(uint64_t{1} << 40) + 1, (uint64_t{1} << 62) + 12345, uint64_t{1} << 63, UINT64_MAX}) {
    std::set<uint64_t> seen;
    for (uint64_t i = 0; i < 2000; ++i) {
      const uint64_t index = i < 1000 ? i : n - 1 - i;
      const uint64_t value = PermuteIndex(index, n, /*key=*/3);
      ASSERT_LT(value, n);
      ASSERT_TRUE(seen.insert(value).second);
    }
  }
}

// Over many keys each place gets each index about equally often: chi-square of 8 x 8 cells, 49
// degrees of freedom, whose 0.9999 quantile is 94.
TEST(PermuteIndex, SpreadsIndicesEvenly) {
  constexpr uint64_t kSize = 8;
  constexpr int kKeys = 40000;
  std::vector<int> counts(kSize * kSize, 0);
  for (uint64_t key = 0; key < kKeys; ++key) {
    for (uint64_t i = 0; i < kSize; ++i) ++counts[i * kSize + PermuteIndex(i, kSize, key)];
  }
  constexpr double kExpected = double{kKeys} / kSize;
  double chi_square = 0;
  for (const int count : counts)
    chi_square += (count - kExpected) * (count - kExpected) / kExpected;
  EXPECT_LT(chi_square, 94);
}

// The order of an epoch must not change: runs that resume rely on it.
TEST(PermuteIndex, KeepsItsValues) {
  std::vector<uint64_t> values;
  for (uint64_t i = 0; i < 8; ++i) values.push_back(PermuteIndex(i, 1000, 42));
  EXPECT_EQ(values, (std::vector<uint64_t>{882, 372, 291, 874, 486, 700, 858, 67}));
}

}  // namespace
}  // namespace ckv
