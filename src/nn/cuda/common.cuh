// Device code shared by the kernels of a decode step: 16-bit numbers, matrix products of a warp,
// loads that leave the cache alone, and launches that overlap their predecessor.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "base/error.h"
#include "nn/cuda/kernels.h"

namespace ckv::kernels {

constexpr int kWarp = 32;

// Lets the next kernel of the stream start its part that needs nothing of this one.
__device__ inline void LetSuccessorStart() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Returns when the kernels before have ended and their writes can be seen. Every block calls it,
// also one that has nothing to do: the end of a kernel must imply the end of all before it.
__device__ inline void WaitForPredecessor() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Two 16-bit numbers in a word, the first in the low half.
template <typename T>
struct Pair;

template <>
struct Pair<__nv_bfloat16> {
  __device__ static uint32_t Pack(float low, float high) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  }
  __device__ static float2 Unpack(uint32_t word) {
    return __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&word));
  }
};

template <>
struct Pair<__half> {
  __device__ static uint32_t Pack(float low, float high) {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
  }
  __device__ static float2 Unpack(uint32_t word) {
    return __half22float2(*reinterpret_cast<const __half2*>(&word));
  }
};

__device__ inline float ToFloat(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline float ToFloat(__half x) { return __half2float(x); }

template <typename T>
__device__ inline T FromFloat(float x);
template <>
__device__ inline __nv_bfloat16 FromFloat<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ inline __half FromFloat<__half>(float x) {
  return __float2half_rn(x);
}

// c [16, 8] += a [16, 16] b [16, 8]. With g = lane / 4 and t = lane % 4 a lane holds
//   a0, a1: rows g, g + 8 at columns 2t, 2t + 1;  a2, a3: the same rows at columns 2t + 8, 2t + 9;
//   b0, b1: column g at rows 2t, 2t + 1 and 2t + 8, 2t + 9;
//   c[0], c[1]: row g at columns 2t, 2t + 1;  c[2], c[3]: row g + 8.
template <typename T>
__device__ inline void MultiplyAdd(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2,
                                   uint32_t a3, uint32_t b0, uint32_t b1);
template <>
__device__ inline void MultiplyAdd<__nv_bfloat16>(float (&c)[4], uint32_t a0, uint32_t a1,
                                                  uint32_t a2, uint32_t a3, uint32_t b0,
                                                  uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
template <>
__device__ inline void MultiplyAdd<__half>(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2,
                                           uint32_t a3, uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// Copies of 16 bytes from global to shared memory that run beside the program (cp.async). Registers
// as the place of arrival would be simpler, but the compiler has a warp wait for all of its loads
// at once. A group is what was asked for since the last EndCopyGroup.
__device__ inline void CopyAsync(void* shared, const void* global) {
  const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(to), "l"(global)
               : "memory");
}
__device__ inline void EndCopyGroup() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most the youngest kLeft groups of this thread are on their way, for all lanes.
template <int kLeft>
__device__ inline void WaitForCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
  __syncwarp();
}

__device__ inline float Activate(float x, Activation activation) {
  if (activation == Activation::kSilu) return x / (1.0f + __expf(-x));
  if (activation == Activation::kGelu) return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
  return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
}

// Sum over the lanes of a warp, in every lane.
__device__ inline float WarpSum(float x) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(~0u, x, offset);
  return x;
}

// What a rotation needs to know of a token before its numbers are there.
struct Rotation {
  int position;
  float cos;  // 1 and 0 where nothing is rotated
  float sin;
};

// Of elements i and i + D / 2 of head `head`, counted through queries, keys and values.
__device__ inline Rotation FindRotation(const RotateParams& p, int row, int head, int i) {
  Rotation rotation = {p.lengths[row], 1.0f, 0.0f};
  if (head < p.heads + (p.keys != nullptr ? p.kv_heads : 0)) {
    const int64_t place = static_cast<int64_t>(rotation.position) * (p.head_dim / 2) + i;
    rotation.cos = p.cos[place];
    rotation.sin = p.sin[place];
  }
  return rotation;
}

// Where head `head` of the token lies: in q, or in its slot of the keys or values.
template <typename T>
__device__ inline T* PlaceOfHead(const RotateParams& p, int row, int head, int position) {
  if (head < p.heads) {
    return static_cast<T*>(p.q) + (static_cast<int64_t>(row) * p.heads + head) * p.head_dim;
  }
  const bool is_key = p.keys != nullptr && head < p.heads + p.kv_heads;
  const int slots = is_key ? p.key_slots : p.value_slots;
  const int group = head - p.heads - (is_key || p.keys == nullptr ? 0 : p.kv_heads);
  return static_cast<T*>(is_key ? p.keys : p.values) +
         ((static_cast<int64_t>(row) * p.kv_heads + group) * slots + position % slots) * p.head_dim;
}

// Writes elements i and i + D / 2, rotated, to where they belong.
template <typename T>
__device__ inline void RotateInto(const RotateParams& p, int row, int head, int i,
                                  const Rotation& rotation, float first, float second) {
  T* to = PlaceOfHead<T>(p, row, head, rotation.position);
  to[i] = FromFloat<T>(first * rotation.cos - second * rotation.sin);
  to[i + p.head_dim / 2] = FromFloat<T>(second * rotation.cos + first * rotation.sin);
}

inline void CheckCuda(cudaError_t error, const char* what) {
  if (error != cudaSuccess) {
    throw InternalError(Str("CUDA kernel ", what, ": ", cudaGetErrorString(error)));
  }
}

inline int CurrentDevice() {
  int device = 0;
  CheckCuda(cudaGetDevice(&device), "device");
  return device;
}

inline int DeviceAttribute(cudaDeviceAttr attribute) {
  int value = 0;
  CheckCuda(cudaDeviceGetAttribute(&value, attribute, CurrentDevice()), "attribute");
  return value;
}

// Queues a kernel that may start before its predecessor has ended (capability 9.x; else after).
template <typename Params>
void Launch(void (*kernel)(Params), const Params& params, dim3 grid, int threads,
            size_t shared_bytes, CUstream_st* stream, const char* what) {
  // Below 48 KB, less what a kernel declares itself, it is granted unasked.
  if (shared_bytes > 32 * 1024) {
    CheckCuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   static_cast<int>(shared_bytes)),
              what);
  }
  static const bool overlaps = DeviceAttribute(cudaDevAttrComputeCapabilityMajor) == 9;
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = overlaps ? 1 : 0;
  CheckCuda(cudaLaunchKernelEx(&config, kernel, params), what);
}

}  // namespace ckv::kernels
