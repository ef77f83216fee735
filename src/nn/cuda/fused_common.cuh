// Device code shared by the kernels of training: vectors of 16-bit numbers as floats, and sums over
// a block.
#pragma once

#include "nn/cuda/common.cuh"
#include "nn/cuda/fused_kernels.h"

namespace ckv::kernels {

// kCount numbers at an address that is a multiple of their size.
template <typename T, int kCount>
struct Vec {
  float at[kCount];

  __device__ static Vec Load(const T* from) {
    Vec v;
    if constexpr (kCount == 8) {
      const uint4 words = *reinterpret_cast<const uint4*>(from);
      const uint32_t word[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float2 pair = Pair<T>::Unpack(word[i]);
        v.at[2 * i] = pair.x;
        v.at[2 * i + 1] = pair.y;
      }
    } else {
#pragma unroll
      for (int i = 0; i < kCount; ++i) v.at[i] = ToFloat(from[i]);
    }
    return v;
  }

  __device__ void Store(T* to) const {
    if constexpr (kCount == 8) {
      uint4 words;
      words.x = Pair<T>::Pack(at[0], at[1]);
      words.y = Pair<T>::Pack(at[2], at[3]);
      words.z = Pair<T>::Pack(at[4], at[5]);
      words.w = Pair<T>::Pack(at[6], at[7]);
      *reinterpret_cast<uint4*>(to) = words;
    } else {
#pragma unroll
      for (int i = 0; i < kCount; ++i) to[i] = FromFloat<T>(at[i]);
    }
  }
};

// The number as it is once stored.
template <typename T>
__device__ inline float Rounded(float x) {
  return ToFloat(FromFloat<T>(x));
}

// Sum over the threads of a block, in every thread. `shared`: 33 floats of its own for each call
// that may follow without a barrier between; whole warps only.
__device__ inline float BlockSum(float x, float* shared) {
  x = WarpSum(x);
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  if (warps == 1) return x;
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  if (lane == 0) shared[threadIdx.x / kWarp] = x;
  __syncthreads();
  return WarpSum(lane < warps ? shared[lane] : 0.0f);
}

inline int NumMultiprocessors() {
  static const int count = DeviceAttribute(cudaDevAttrMultiProcessorCount);
  return count;
}

inline bool Aligned16(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0;
}

inline unsigned BlocksFor(int64_t items, int threads) {
  return static_cast<unsigned>((items + threads - 1) / threads);
}

}  // namespace ckv::kernels
