// What the CUDA kernels of training are given: plain pointers and sizes, so that neither the
// kernels include LibTorch nor their callers CUDA. nn/fused_*.h say what each operation means; its
// file beside this one computes it on the device and is called through these functions only.
//
// Functions queue work on `stream` and throw InternalError if the device refuses it. Numbers are
// bf16 or fp16, sums fp32. Where a vectorised kernel cannot run (widths or addresses that are no
// multiple of 16 bytes) a scalar one does.
#pragma once

#include <cstdint>

#include "nn/cuda/kernels.h"

namespace ckv::kernels {

// nn/fused_norm.h. A block owns all columns of a row, so that width has a limit.
struct AddNormParams {
  HalfType type;
  const void* x;       // [rows, width]
  const void* delta;   // [rows, width]; nullptr = zeros
  const void* weight;  // [width]
  void* sum;           // [rows, width]: x + delta; nullptr without delta
  void* normed;        // [rows, width]
  float* rstd;         // [rows]; nullptr = not wanted
  float epsilon;
  int64_t rows;
  int width;
};
void AddNorm(const AddNormParams& params, CUstream_st* stream);

struct AddNormGradParams {
  HalfType type;
  const void* sum;          // [rows, width]: what was normalised
  const void* weight;       // [width]
  const float* rstd;        // [rows]
  const void* grad_normed;  // [rows, width]
  const void* grad_sum;     // [rows, width]; nullptr = zeros
  void* grad_x;             // [rows, width]
  float* grad_weight;       // [NormGradBlocks(rows, width), width]: parts, to be added up
  int64_t rows;
  int width;
};
int NormGradBlocks(int64_t rows, int width);
void AddNormGrad(const AddNormGradParams& params, CUstream_st* stream);
bool HasAddNorm(int64_t width);

// nn/fused_linear.h: heads in a packed projection, rotated in place or put back together.
constexpr int kMostParts = 3;
struct RotatePart {
  const void* grad;  // [B, heads, T - skip, D] with these strides, D dense; nullptr = zeros
  int64_t batch_stride, head_stride, token_stride;
  int heads;
  int skip;  // tokens at the front whose gradient is zeros
  bool rotates;
};
struct RotateHeadsParams {
  HalfType type;
  void* packed;      // [B T, sum of heads D]
  const float* cos;  // [T, D / 2], or [B, T, D / 2]
  const float* sin;
  bool table_per_row;
  RotatePart parts[kMostParts];
  int num_parts;
  int64_t batch, tokens;
  int head_dim;
};
// Rotates those parts of `packed` that rotate.
void RotateHeads(const RotateHeadsParams& params, CUstream_st* stream);
// packed = the gradients, rotated back.
void PackHeadGrads(const RotateHeadsParams& params, CUstream_st* stream);

// nn/fused_linear.h.
struct GatedUnitParams {
  HalfType type;
  const void* packed;  // [rows, 2 width]: gate, up
  void* out;           // [rows, width]
  const void* grad;    // [rows, width]; backward only
  void* grad_packed;   // [rows, 2 width]; backward only
  int64_t rows;
  int width;
  Activation activation;
};
void GatedUnit(const GatedUnitParams& params, CUstream_st* stream);
void GatedUnitGrad(const GatedUnitParams& params, CUstream_st* stream);

// nn/loss.h: the loss of each row of logits, which become their own gradient.
struct SoftmaxLossParams {
  HalfType type;
  void* logits;            // [rows, vocab]; with `with_grad` overwritten by the gradient
  const int64_t* targets;  // [rows]; negative = ignored
  float* losses;           // [rows]
  int64_t rows;
  int vocab;
  float label_smoothing;
  float z_loss;
  bool with_grad;
};
void SoftmaxLoss(const SoftmaxLossParams& params, CUstream_st* stream);

// nn/fp8.h.
struct QuantizeParams {
  HalfType type;
  const void* x;  // [rows, width]
  void* values;   // [rows, width] e4m3
  float* scales;  // [rows]
  int64_t rows;
  int width;
};
void QuantizeRows(const QuantizeParams& params, CUstream_st* stream);

// nn/fused_adamw.h.
struct AdamWTensor {
  float* master;
  float* first;
  float* second;
  void* working;  // in 16 bits
  int64_t size;
  float decay;
};
// Numbers of a step that stay on the device.
struct AdamWState {
  float norm;          // of the gradients, before clipping
  float scale;         // factor of the gradients
  float skipped;       // 1 = norm or loss is not finite: nothing is to change
  float first_factor;  // 1 / (1 - beta1^t)
  float second_root;   // sqrt(1 - beta2^t)
};
struct AdamWParams {
  HalfType type;
  const AdamWTensor* tensors;   // on the device
  const void* const* grads;     // on the device, one a tensor; nullptr = zeros
  const int32_t* chunk_tensor;  // on the device: whose chunk, and which of its chunks
  const int32_t* chunk_index;
  int num_chunks;
  bool grads_in_fp32;    // else in 16 bits
  float* chunk_squares;  // [num_chunks]
  const float* squares;  // [num_squares]: their sum is that of all gradients, of other ranks too
  int num_squares;
  const double* loss;  // scalar
  float* updates;      // scalar: updates done
  AdamWState* state;
  float clip_norm;  // 0 = none
  float lr, beta1, beta2, eps;
};
constexpr int kAdamWChunk = 16384;
// chunk_squares.
void AdamWSquares(const AdamWParams& params, CUstream_st* stream);
// From squares: norm, scale, skipped, updates and factors.
void AdamWPrepare(const AdamWParams& params, CUstream_st* stream);
// The update itself, and the working weights.
void AdamWUpdate(const AdamWParams& params, CUstream_st* stream);

}  // namespace ckv::kernels
