#include "data/permutation.h"

#include "base/error.h"
#include "base/random.h"

namespace ckv {
namespace {

constexpr int kFeistelRounds = 8;

}  // namespace

uint64_t PermuteIndex(uint64_t index, uint64_t n, uint64_t key) {
  CKV_CHECK(index < n, index, " is not below ", n);
  int half_bits = 1;
  while (half_bits < 32 && (uint64_t{1} << (2 * half_bits)) < n) ++half_bits;
  const uint64_t mask = (uint64_t{1} << half_bits) - 1;

  // The domain is less than four times n, so few steps lead back into [0, n).
  uint64_t value = index;
  do {
    uint64_t left = value >> half_bits;
    uint64_t right = value & mask;
    for (uint64_t round = 0; round < kFeistelRounds; ++round) {
      const uint64_t mixed = left ^ (MixBits(MixBits(key + round) ^ right) & mask);
      left = right;
      right = mixed;
    }
    value = (left << half_bits) | right;
  } while (value >= n);
  return value;
}

}  // namespace ckv
