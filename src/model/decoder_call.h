// What one call of a decoder works with; private to the decoder's own files.
#pragma once

#include <map>
#include <utility>
#include <vector>

#include "model/decoder.h"
#include "nn/fp8.h"

namespace ckv {

// What is to be done: real tokens from column 0 on, and what they continue.
struct DecoderImpl::Work {
  Tensor tokens;                // [B, T]
  Tensor key_mask;              // [B, T]; only without cache
  Tensor segments;              // [B, T]
  Tensor key_segments;          // [B, P + T]
  std::vector<int64_t> counts;  // tokens of each row; empty = all have T
  Tensor last_columns;          // [B] columns of the last tokens; undefined = the last column
  WantedOutput wanted = WantedOutput::kAllPositions;
  KvCache* cache = nullptr;  // one of the two, or none
  KvTape* tape = nullptr;
  int64_t tape_tokens = 0;  // P of the tape

  int64_t num_tokens() const { return tokens.size(1); }
};

// What the layers of one call share. Built once, read only.
struct DecoderImpl::Call {
  explicit Call(const KvSharingSpec& spec) : slots(spec.num_layers()) {}

  bool step() const { return cache != nullptr && num_tokens == 1; }

  // Keys or values of a source layer: the past, if there is one, and this call's, or zeros.
  Tensor Keys(int source, const Slots& values) const;
  Tensor Values(int source, const Slots& values) const;
  // Gives a layer's keys or values to what outlives the pass.
  void StageKeys(int layer, const Tensor& keys, bool last_pass) const;
  void StageValues(int layer, const Tensor& values, bool last_pass) const;

  // Where a layer's keys or values of the last pass go: the cache's own memory, if it can take
  // them; else memory of their own. [B, G, T, D]
  Tensor KeyTarget(int layer, bool last_pass) const;
  Tensor ValueTarget(int layer, bool last_pass) const;

  // Fills in who sees whom. The cache's call has begun.
  void SetScopes(const Work& work);

  // Who sees whom among the keys of a source; `last`: for the last position alone.
  const Visibility& Sees(int source, bool strict, std::optional<int64_t> window, bool last) const;
  // [B, T, C] -> [B, 1, C], each row's last position.
  Tensor Last(const Tensor& x) const;
  // What a slot holds without its last position, made once for all readers.
  const Tensor& WithoutLast(size_t slot, const Tensor& x) const;
  // Weights in FP8, made once a call. Without gradient.
  const Fp8Rows& InFp8(const std::vector<Tensor>& weights) const;

  SlotMap slots;
  int64_t num_tokens = 0;  // T
  KvCache* cache = nullptr;
  KvTape* tape = nullptr;
  bool reads_cache = false;  // the cache holds a past
  bool fused = false;        // layers run in few operations
  bool in_place = false;     // hidden states are changed in place, by nn/prefill_ops.h
  RopeTable rope;
  RopeTable last_rope;  // of the last position; undefined if nobody asks
  Tensor last_columns;  // as in Work
  Tensor column_mask;   // [B, 1, T, 1] bool, true = real token; undefined = all are
  // One a policy of the cache, or one in all.
  mutable std::vector<VisibilitySet> all_positions;
  mutable std::vector<VisibilitySet> last_position;
  std::vector<int64_t> kv_shape;  // [B, G, T, D] of this call's keys and values
  at::TensorOptions options;

 private:
  struct Shortened {
    Tensor from;
    Tensor to;
  };
  mutable std::map<size_t, Shortened> without_last_;  // by slot
  mutable std::map<std::pair<const void*, int64_t>, Fp8Rows>
      fp8_weights_;  // by the first, and rows

  Tensor Zeros() const;
  bool StagesInCache(bool last_pass) const {
    return cache != nullptr && (reads_cache || last_pass);
  }
};

}  // namespace ckv
