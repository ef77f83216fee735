// Attention of a decode step: one query a row over that row's stored keys and values.
//
// Position t of a row lies in slot t % slots of a store, for keys and values apart: a store with a
// slot for every position never wraps, a store whose readers all have a window may keep the last
// ones only. The query at position a (the row's length) sees
//   starts <= t, a - window < t (with a window), and t <= a, or t < a where it is strict.
// A query that sees nothing gets 0.
//
// On a GPU bf16 and fp16 run in one kernel, split over keys (nn/cuda/decode_attention.cu); all else
// is composed of LibTorch's operations, with the softmax in at least fp32.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>
#include <c10/core/TensorOptions.h>

namespace ckv {

using at::Tensor;

struct DecodeAttentionArgs {
  Tensor q;            // [B, H, D]
  Tensor keys;         // [rows, G, key slots, D] with rows >= B and H % G == 0
  Tensor values;       // [rows, G, value slots, D]
  Tensor lengths;      // [rows] int32: a, the position of each row's token
  Tensor starts;       // [rows] int32: first position that is no padding; undefined = 0
  int64_t window = 0;  // 0 = none
  bool strict = false;
};

// Memory that the kernel needs between its blocks. One is enough for any number of calls in turn.
class DecodeAttentionScratch {
 public:
  // For calls of up to `batch` rows and `max_keys` visible keys. A row's result depends on
  // `split_keys`, the most keys that are summed in one go (a multiple of 16), but not on the other
  // rows.
  DecodeAttentionScratch(int64_t batch, int64_t heads, int64_t head_dim, int64_t max_keys,
                         int64_t split_keys, const at::TensorOptions& options);

  int64_t split_keys() const { return split_keys_; }
  int64_t max_splits() const { return max_splits_; }
  // Undefined where there is no kernel.
  Tensor partial;  // [B, H, splits, D] fp32
  Tensor stats;    // [B, H, splits, 2] fp32
  Tensor tickets;  // [B, H] int32

 private:
  int64_t split_keys_;
  int64_t max_splits_;
};

// Keys that the kernel best sums in one go: as many as leave each multiprocessor of a large GPU
// some work, since joining costs more than it brings beyond that.
int64_t BestSplit(int64_t batch, int64_t kv_heads, int64_t max_keys);

// out [B, H, D] = softmax(q k^T / sqrt(D)) v over the visible positions. Throws InternalError for
// shapes that do not fit.
void DecodeAttention(const DecodeAttentionArgs& args, const DecodeAttentionScratch& scratch,
                     Tensor& out);

// The same as a composition, on any device and in any dtype: what the kernel is tested against.
Tensor ComposedDecodeAttention(const DecodeAttentionArgs& args);

}  // namespace ckv
