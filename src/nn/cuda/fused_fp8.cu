// Rows of 16-bit numbers as 8-bit ones with a scale a row: nn/fp8.h.
#include <cuda_fp8.h>

#include "nn/cuda/fused_common.cuh"

namespace ckv::kernels {
namespace {

constexpr int kQuantizeThreads = 128;
constexpr float kLargest = 448.0f;

__device__ inline float BlockMax(float x) {
  __shared__ float shared[kQuantizeThreads / kWarp];
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    x = fmaxf(x, __shfl_xor_sync(~0u, x, offset));
  }
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = x;
  __syncthreads();
  for (const float other : shared) x = fmaxf(x, other);
  return x;
}

__device__ inline uint8_t ToFp8(float x) {
  return __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3);
}

// A block a row; the second reading comes from the cache.
template <typename T, int kVec>
__global__ void QuantizeRowsKernel(QuantizeParams p) {
  const int64_t row = blockIdx.x;
  const T* x = static_cast<const T*>(p.x) + row * p.width;
  auto* out = static_cast<uint8_t*>(p.values) + row * p.width;
  float largest = 0.0f;
  for (int i = static_cast<int>(threadIdx.x) * kVec; i < p.width; i += kQuantizeThreads * kVec) {
    const auto v = Vec<T, kVec>::Load(x + i);
#pragma unroll
    for (int j = 0; j < kVec; ++j) largest = fmaxf(largest, fabsf(v.at[j]));
  }
  largest = BlockMax(largest);
  const float scale = largest == 0.0f ? 1.0f : largest / kLargest;
  if (threadIdx.x == 0) p.scales[row] = scale;
  for (int i = static_cast<int>(threadIdx.x) * kVec; i < p.width; i += kQuantizeThreads * kVec) {
    const auto v = Vec<T, kVec>::Load(x + i);
    uint8_t bytes[kVec];
#pragma unroll
    for (int j = 0; j < kVec; ++j) bytes[j] = ToFp8(v.at[j] / scale);
    if constexpr (kVec == 8) {
      uint2 words;
      memcpy(&words, bytes, sizeof(words));
      *reinterpret_cast<uint2*>(out + i) = words;
    } else {
      out[i] = bytes[0];
    }
  }
}

template <typename T>
void LaunchQuantize(const QuantizeParams& p, CUstream_st* stream) {
  const bool vectors = p.width % 8 == 0 && Aligned16(p.x) && Aligned16(p.values);
  auto* kernel = vectors ? QuantizeRowsKernel<T, 8> : QuantizeRowsKernel<T, 1>;
  kernel<<<static_cast<unsigned>(p.rows), kQuantizeThreads, 0, stream>>>(p);
  CheckCuda(cudaGetLastError(), "quantisation");
}

}  // namespace

void QuantizeRows(const QuantizeParams& params, CUstream_st* stream) {
  if (params.rows == 0) return;
  params.type == HalfType::kBfloat16 ? LaunchQuantize<__nv_bfloat16>(params, stream)
                                     : LaunchQuantize<__half>(params, stream);
}

}  // namespace ckv::kernels
