// Random numbers that are the same on every machine and compiler (std:: distributions are not).
#pragma once

#include <cstdint>

#include "base/error.h"

namespace ckv {

// One round of SplitMix64's mixing function (Steele, Lea and Flood 2014): a good hash of `x`.
constexpr uint64_t MixBits(uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// SplitMix64 as a generator; its whole state is one number.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    const uint64_t result = MixBits(state_);
    state_ += 0x9e3779b97f4a7c15ULL;
    return result;
  }

  // Uniform in [0, bound), without bias. Requires bound > 0.
  uint64_t Below(uint64_t bound) {
    CKV_CHECK(bound > 0, "a draw needs a range");
    const uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
    uint64_t draw = Next();
    while (draw >= limit) draw = Next();
    return draw % bound;
  }

  // Uniform in [0, 1), 53 bits.
  double Uniform() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }

  uint64_t state() const { return state_; }

 private:
  uint64_t state_;
};

}  // namespace ckv
