// A pseudo-random order of 0..n-1 that needs no memory: where index `i` goes is computed.
//
// A Feistel network over the smallest even number of bits that holds n, walked until the value is
// below n again (Black and Rogaway 2002, "Ciphers with arbitrary finite domains").
#pragma once

#include <cstdint>

namespace ckv {

// A bijection of [0, n) for each `key`. Requires index < n.
uint64_t PermuteIndex(uint64_t index, uint64_t n, uint64_t key);

}  // namespace ckv
