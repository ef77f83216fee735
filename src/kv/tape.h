// Keys and values of earlier tokens as graph values: training token by token, with gradients that
// reach every earlier token.
//
// A call stages keys and values, reads past and staged together, and ends with Commit. Reading
// copies the whole past each time, which gradients need; kv/cache.h is for all else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ckv {

using at::Tensor;

class KvTape {
 public:
  explicit KvTape(int num_layers)
      : keys_(static_cast<size_t>(num_layers)), values_(static_cast<size_t>(num_layers)) {}

  // [B, G, T, D] of this call.
  void StageKeys(int layer, const Tensor& keys) { keys_[Index(layer)].staged = keys; }
  void StageValues(int layer, const Tensor& values) { values_[Index(layer)].staged = values; }

  // [B, G, P + T, D]: the past, then what this call has staged, or `unstaged` [B, G, T, D].
  Tensor Keys(int layer, const Tensor& unstaged) const {
    return Read(keys_[Index(layer)], unstaged);
  }
  Tensor Values(int layer, const Tensor& unstaged) const {
    return Read(values_[Index(layer)], unstaged);
  }

  // What was staged belongs to the past.
  void Commit();

 private:
  struct Track {
    std::vector<Tensor> past;  // one entry a call
    Tensor staged;
  };

  static size_t Index(int layer) { return static_cast<size_t>(layer); }
  static Tensor Read(const Track& track, const Tensor& unstaged);

  std::vector<Track> keys_;
  std::vector<Track> values_;
};

}  // namespace ckv
