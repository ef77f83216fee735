// Keys and values of tokens seen in earlier calls, one store per layer that owns some.
//
// A call goes: Begin(T), then StageKeys/StageValues as layers compute them (again in every pass),
// Keys/Values for each reader, and Commit at the end. What has not been staged yet reads as zeros.
//
// A `differentiable` cache keeps every tensor, so that gradients reach all earlier tokens (training
// token by token); the other writes into preallocated memory in place and carries no gradient.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/TensorOptions.h>

#include "sharing/spec.h"

namespace ckv {

using at::Tensor;

struct KvCacheShape {
  int64_t batch = 1;       // B
  int64_t kv_heads = 1;    // G
  int64_t head_dim = 1;    // D
  int64_t max_tokens = 0;  // capacity of a store
};

class KvCache {
 public:
  KvCache(const KvSharingSpec& spec, const KvCacheShape& shape, const at::TensorOptions& options,
          bool differentiable = false);

  // Opens a call of `num_tokens` new tokens. Throws InternalError beyond the capacity.
  // `key_mask` [B, num_tokens] (true = real token) is kept beside the keys; undefined = no padding.
  void Begin(int64_t num_tokens, const Tensor& key_mask);

  // [B, G, T, D]: this call's keys or values of an owning layer; replaces what was staged before.
  void StageKeys(int layer, const Tensor& keys) { Stage(keys_[Index(layer)], keys); }
  void StageValues(int layer, const Tensor& values) { Stage(values_[Index(layer)], values); }

  // [B, G, P + T, D]: the past and what this call has staged (zeros where nothing was).
  Tensor Keys(int layer) const { return Read(keys_[Index(layer)]); }
  Tensor Values(int layer) const { return Read(values_[Index(layer)]); }

  // [B, P + T] padding of the past and this call; undefined while no token was padding.
  Tensor KeyMask() const { return key_mask_; }

  // Ends the call: its tokens belong to the past.
  void Commit();

  // Rows become copies of the rows named: drops, reorders and duplicates. Not within a call, and
  // not for a differentiable cache.
  void SelectRows(const std::vector<int64_t>& rows);

  int64_t batch() const { return shape_.batch; }  // B
  int64_t length() const { return length_; }      // P
  int64_t max_tokens() const { return shape_.max_tokens; }
  // Memory of all stores.
  int64_t bytes() const;

 private:
  struct Store {
    bool used = false;
    Tensor memory;             // preallocated [B, G, max_tokens, D]
    std::vector<Tensor> past;  // differentiable: one entry a call
    Tensor staged;             // differentiable: this call's
  };

  static size_t Index(int layer) { return static_cast<size_t>(layer); }
  void Stage(Store& store, const Tensor& fresh);
  Tensor Read(const Store& store) const;

  KvCacheShape shape_;
  at::TensorOptions options_;
  bool differentiable_;
  std::vector<Store> keys_;
  std::vector<Store> values_;
  Tensor key_mask_;
  int64_t length_ = 0;
  int64_t call_tokens_ = 0;
};

}  // namespace ckv
