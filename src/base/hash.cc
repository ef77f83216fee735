#include "base/hash.h"

#include <cinttypes>
#include <cstdio>

namespace ckv {

std::string HashHex(uint64_t hash) {
  char buffer[17];
  std::snprintf(buffer, sizeof(buffer), "%016" PRIx64, hash);
  return buffer;
}

}  // namespace ckv
