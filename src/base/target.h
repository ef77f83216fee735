// The target that carries no loss, in batches and losses alike (as in PyTorch and Hugging Face).
#pragma once

#include <cstdint>

namespace ckv {

constexpr int64_t kIgnoreTarget = -100;

}  // namespace ckv
