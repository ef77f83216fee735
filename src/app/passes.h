// The passes of the parallel order, as options give them.
#pragma once

#include <cstdint>
#include <string>

namespace ckv {

struct Passes {
  int64_t forward = 0;
  int64_t backward = 1;
};

// "9" passes in all, or "7,2" as in training: running a model treats both alike. Throws
// ConfigError("--passes", ...).
Passes ParsePasses(const std::string& text);

}  // namespace ckv
