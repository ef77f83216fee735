// A model's weights as one or several safetensors files, written tensor by tensor.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "base/safetensors.h"

namespace ckv {

struct OutputTensor {
  SafetensorsTensor description;
  // Makes the tensor, of that dtype and shape, when its turn comes; nothing is kept afterwards.
  std::function<at::Tensor()> make;
};

struct WrittenWeights {
  int64_t num_files = 0;
  int64_t num_bytes = 0;  // of tensors
};

// Writes `model.safetensors` into an existing folder or, if the tensors take more than
// `max_shard_bytes`, files `model-00001-of-0000N.safetensors` and the index that lists them
// (Hugging Face's layout). A tensor larger than that gets a file of its own. `before_each` is
// called before each tensor and may throw to stop. Throws IoError and what it and `make` throw; the
// caller removes the folder then.
WrittenWeights WriteShards(const std::string& folder, const std::vector<OutputTensor>& tensors,
                           int64_t max_shard_bytes, const std::function<void()>& before_each);

}  // namespace ckv
