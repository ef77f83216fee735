#include "base/hash.h"

#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "base/random.h"

namespace ckv {

uint64_t HashWords(const void* data, size_t num_bytes, uint64_t seed) {
  const auto* bytes = static_cast<const unsigned char*>(data);
  uint64_t hash = seed;
  size_t at = 0;
  for (; at + 8 <= num_bytes; at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes + at, 8);
    hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
    hash ^= hash >> 29;
  }
  uint64_t rest = num_bytes;
  for (; at < num_bytes; ++at) rest = rest * 257 + bytes[at];
  return MixBits(hash ^ rest);
}

std::string HashHex(uint64_t hash) {
  char buffer[17];
  std::snprintf(buffer, sizeof(buffer), "%016" PRIx64, hash);
  return buffer;
}

}  // namespace ckv
