// What the CUDA kernels of a decode step are given: plain pointers and sizes, so that neither the
// kernels include LibTorch nor their callers CUDA. nn/decode_*.h say what each operation means; its
// file beside this one computes it on the device and is called through these functions only.
//
// All pointers are device pointers, 16-byte aligned. Functions queue work on `stream` and throw
// InternalError if the device refuses it. Kernels of one stream may overlap at their edges
// (programmatic dependent launch): each reads what the one before wrote only after it has ended;
// weights, lengths, and keys and values of earlier tokens are read before, so those must not be
// written by the kernel directly in front.
#pragma once

#include <cstdint>

struct CUstream_st;

namespace ckv::kernels {

enum class HalfType { kBfloat16, kFloat16 };

// nn/decode_attention.h.
struct AttentionParams {
  HalfType type;
  const void* q;           // [B, H, D]
  const void* keys;        // [rows, G, key_slots, D]
  const void* values;      // [rows, G, value_slots, D]
  const int32_t* lengths;  // [B]
  const int32_t* starts;   // [B]; nullptr = zeros
  void* out;               // [B, H, D]
  float* partial;          // [B, H, max_splits, D]
  float* stats;            // [B, H, max_splits, 2]: maximum and sum
  int32_t* tickets;        // [B, H], zeros before and after
  int batch, heads, kv_heads, head_dim;
  int key_slots, value_slots;
  int window;      // 0 = none
  int strict;      // 1 = the own position is hidden
  int split_keys;  // most keys of a block; a multiple of 16
  int max_splits;  // of any row; up to kMostSplits
  float scale;
};
constexpr int kMostSplits = 512;
void DecodeAttention(const AttentionParams& params, CUstream_st* stream);
// Head widths that have a kernel.
bool HasDecodeAttention(int64_t head_dim);

// Where rotated queries and fresh keys and values go; shared by two kernels.
struct RotateParams {
  const float* cos;  // [positions, D / 2]
  const float* sin;
  const int32_t* lengths;  // [B]: the position of each row's token
  void* q;                 // [B, H, D]
  void* keys;              // [rows, G, key_slots, D]; nullptr = the layer owns no keys
  void* values;            // [rows, G, value_slots, D]; nullptr = no values
  int heads, kv_heads, head_dim;
  int key_slots, value_slots;
};

enum class Activation { kSilu, kGelu, kGeluTanh };

// nn/decode_linear.h: products of up to kMaxSmallBatch rows.
enum class Epilogue { kStore, kAdd, kGate, kRotate };
constexpr int kMaxSmallBatch = 8;
struct SmallBatchParams {
  HalfType type;
  Epilogue epilogue;
  const void* x;            // [B, K]
  const void* norm_weight;  // [K]; nullptr = x is taken as it is
  float epsilon;
  const void* weight;  // [N, K]
  const void* bias;    // [N]; nullptr = none
  void* out;           // kStore [B, N]; kAdd [B, N], added to; kGate [B, N / 2]; kRotate unused
  int batch, n, k;
  Activation activation;  // kGate
  RotateParams rotate;    // kRotate
};
void SmallBatchProduct(const SmallBatchParams& params, CUstream_st* stream);
// Shared memory that a product of these sizes needs is there.
bool FitsSmallBatch(int64_t batch, int64_t k);

// The same for more rows, up to kMaxMediumBatch, without a norm.
constexpr int kMaxMediumBatch = 64;
void MediumBatchProduct(const SmallBatchParams& params, CUstream_st* stream);
// The device is a Hopper, and there is a kernel for these sizes. (Beyond 64 rows cuBLAS is faster.)
bool FitsMediumBatch(int64_t batch, int64_t k);

// nn/decode_ops.h.
struct RmsNormParams {
  HalfType type;
  const void* x;       // [B, width]
  const void* weight;  // [width]
  void* out;           // [B, width]
  float epsilon;
  int batch, width;
};
void RmsNorm(const RmsNormParams& params, CUstream_st* stream);

struct RotateStoreParams {
  HalfType type;
  const void* packed;  // [B, (H + G + G) D], without the parts the layer does not own
  int batch;
  RotateParams rotate;
};
void RotateAndStore(const RotateStoreParams& params, CUstream_st* stream);

struct GateParams {
  HalfType type;
  const void* packed;  // [B, 2 width]: gate, up
  void* out;           // [B, width]
  int batch, width;
  Activation activation;
};
void Gate(const GateParams& params, CUstream_st* stream);

struct GreedyParams {
  HalfType type;
  const void* logits;  // [B, V]
  int64_t* ids;        // [B]
  float* log_probs;    // [B]
  int batch, vocab;
};
void GreedyChoice(const GreedyParams& params, CUstream_st* stream);

}  // namespace ckv::kernels
