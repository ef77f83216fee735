// FNV-1a (64 bit): short fingerprints of configs, tokenizers and files. Not for security.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ckv {

// Feed a stream by passing the last result as `seed`.
constexpr uint64_t Fnv1a64(std::string_view bytes, uint64_t seed = 0xcbf29ce484222325ULL) {
  for (const char c : bytes) {
    seed ^= static_cast<unsigned char>(c);
    seed *= 0x100000001b3ULL;
  }
  return seed;
}

// Another hash, of eight bytes at a time, for what is large.
uint64_t HashWords(const void* data, size_t num_bytes, uint64_t seed);

// 16 lower-case hexadecimal digits.
std::string HashHex(uint64_t hash);

}  // namespace ckv
