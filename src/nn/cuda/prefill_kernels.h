// What the CUDA kernels of a prompt are given; as nn/cuda/kernels.h. nn/prefill_ops.h says what
// each operation means.
#pragma once

#include <cstdint>

#include "nn/cuda/kernels.h"

namespace ckv::kernels {

struct PrefillNormParams {
  HalfType type;
  const void* x;       // [rows, width]
  const void* weight;  // [width]
  void* out;           // [rows, width]
  float epsilon;
  int64_t rows;
  int width;  // a multiple of 8, up to kMostPrefillWidth
};
constexpr int kMostPrefillWidth = 8192;
void PrefillNorm(const PrefillNormParams& params, CUstream_st* stream);

// Where the numbers of a head of row b at column t begin: place + b * row + t * column + head.
struct HeadPlaces {
  void* place;  // nullptr = not there
  int64_t row, head, column;
};

struct PrefillRotateParams {
  HalfType type;
  void* packed;      // [B, T, H + own heads, D]; queries are rotated in place
  const float* cos;  // [T, D / 2], or [B, T, D / 2]
  const float* sin;
  HeadPlaces keys;    // [B, G, T, D]
  HeadPlaces values;  // [B, G, T, D]
  int64_t rows, columns;
  int heads, kv_heads, head_dim;  // head_dim a multiple of 16
  int rows_differ;                // cos and sin have a row for each row
};
void PrefillRotate(const PrefillRotateParams& params, CUstream_st* stream);

struct PrefillGateParams {
  HalfType type;
  const void* packed;  // [rows, 2 width]: gate, up
  void* out;           // [rows, width]
  int64_t rows;
  int width;  // a multiple of 8
  Activation activation;
};
void PrefillGate(const PrefillGateParams& params, CUstream_st* stream);

}  // namespace ckv::kernels
