// The small kernels between the matrix products of a prompt: bound by memory, 16 bytes a thread and
// access, every number read once.
#include <algorithm>

#include "nn/cuda/common.cuh"
#include "nn/cuda/prefill_kernels.h"

namespace ckv::kernels {
namespace {

constexpr int kPrefillThreads = 256;
constexpr int kPrefillWarps = kPrefillThreads / kWarp;

// 8 numbers of 16 bits.
template <typename T>
struct Eight {
  float at[8];

  __device__ static Eight Load(const void* from) {
    const uint4 words = *static_cast<const uint4*>(from);
    const uint32_t each[4] = {words.x, words.y, words.z, words.w};
    Eight eight;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 pair = Pair<T>::Unpack(each[i]);
      eight.at[2 * i] = pair.x;
      eight.at[2 * i + 1] = pair.y;
    }
    return eight;
  }
  __device__ void Store(void* to) const {
    uint32_t each[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) each[i] = Pair<T>::Pack(at[2 * i], at[2 * i + 1]);
    *static_cast<uint4*>(to) = make_uint4(each[0], each[1], each[2], each[3]);
  }
};

// A block a row; a thread keeps up to kPieces pieces of it.
template <typename T, int kPieces>
__global__ __launch_bounds__(kPrefillThreads) void PrefillNormKernel(const PrefillNormParams p) {
  __shared__ float squares[kPrefillWarps];
  LetSuccessorStart();
  WaitForPredecessor();
  const int pieces = p.width / 8;
  const T* x = static_cast<const T*>(p.x) + static_cast<int64_t>(blockIdx.x) * p.width;
  T* out = static_cast<T*>(p.out) + static_cast<int64_t>(blockIdx.x) * p.width;
  const T* weight = static_cast<const T*>(p.weight);
  Eight<T> kept[kPieces];
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kPieces; ++i) {
    const int piece = i * kPrefillThreads + threadIdx.x;
    if (piece >= pieces) continue;
    kept[i] = Eight<T>::Load(x + 8 * piece);
#pragma unroll
    for (int j = 0; j < 8; ++j) sum += kept[i].at[j] * kept[i].at[j];
  }
  sum = WarpSum(sum);
  if (threadIdx.x % kWarp == 0) squares[threadIdx.x / kWarp] = sum;
  __syncthreads();
  float total = 0.0f;
#pragma unroll
  for (int i = 0; i < kPrefillWarps; ++i) total += squares[i];
  const float factor = rsqrtf(total / static_cast<float>(p.width) + p.epsilon);
#pragma unroll
  for (int i = 0; i < kPieces; ++i) {
    const int piece = i * kPrefillThreads + threadIdx.x;
    if (piece >= pieces) continue;
    const Eight<T> scale = Eight<T>::Load(weight + 8 * piece);
#pragma unroll
    for (int j = 0; j < 8; ++j) kept[i].at[j] *= factor * scale.at[j];
    kept[i].Store(out + 8 * piece);
  }
}

// A thread turns 8 pairs of elements, or copies 16 elements of a value.
template <typename T>
__global__ __launch_bounds__(kPrefillThreads) void PrefillRotateKernel(
    const PrefillRotateParams p) {
  LetSuccessorStart();
  WaitForPredecessor();
  const int half = p.head_dim / 2;
  const int parts = half / 8;
  const int key_heads = p.keys.place != nullptr ? p.kv_heads : 0;
  const int all_heads = p.heads + key_heads + (p.values.place != nullptr ? p.kv_heads : 0);
  const int64_t items = p.rows * p.columns * all_heads * parts;
  const int64_t item = static_cast<int64_t>(blockIdx.x) * kPrefillThreads + threadIdx.x;
  if (item >= items) return;
  const int part = static_cast<int>(item % parts);
  const int64_t head_item = item / parts;
  const int head = static_cast<int>(head_item % all_heads);
  const int64_t token = head_item / all_heads;
  const int64_t row = token / p.columns;
  const int64_t column = token - row * p.columns;
  T* from = static_cast<T*>(p.packed) + head_item * p.head_dim + 8 * part;
  Eight<T> first = Eight<T>::Load(from);
  Eight<T> second = Eight<T>::Load(from + half);
  T* to = from;
  if (head >= p.heads + key_heads) {
    to = static_cast<T*>(p.values.place) + row * p.values.row +
         (head - p.heads - key_heads) * p.values.head + column * p.values.column + 8 * part;
  } else {
    const int64_t place = ((p.rows_differ ? row * p.columns : 0) + column) * half + 8 * part;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const float cos = p.cos[place + j];
      const float sin = p.sin[place + j];
      const float a = first.at[j];
      const float b = second.at[j];
      first.at[j] = a * cos - b * sin;
      second.at[j] = b * cos + a * sin;
    }
    if (head >= p.heads) {
      to = static_cast<T*>(p.keys.place) + row * p.keys.row + (head - p.heads) * p.keys.head +
           column * p.keys.column + 8 * part;
    }
  }
  first.Store(to);
  second.Store(to + half);
}

template <typename T>
__global__ __launch_bounds__(kPrefillThreads) void PrefillGateKernel(const PrefillGateParams p) {
  LetSuccessorStart();
  WaitForPredecessor();
  const int pieces = p.width / 8;
  const int64_t item = static_cast<int64_t>(blockIdx.x) * kPrefillThreads + threadIdx.x;
  if (item >= p.rows * pieces) return;
  const int64_t row = item / pieces;
  const int64_t place = 8 * (item - row * pieces);
  const T* packed = static_cast<const T*>(p.packed) + row * 2 * p.width + place;
  Eight<T> gate = Eight<T>::Load(packed);
  const Eight<T> up = Eight<T>::Load(packed + p.width);
#pragma unroll
  for (int j = 0; j < 8; ++j) gate.at[j] = Activate(gate.at[j], p.activation) * up.at[j];
  gate.Store(static_cast<T*>(p.out) + row * p.width + place);
}

dim3 BlocksFor(int64_t items) {
  return dim3(static_cast<unsigned>((items + kPrefillThreads - 1) / kPrefillThreads));
}

template <typename Params>
void LaunchPrefill(const Params& p, void (*bfloat)(Params), void (*half)(Params), dim3 grid,
                   CUstream_st* stream, const char* what) {
  Launch(p.type == HalfType::kBfloat16 ? bfloat : half, p, grid, kPrefillThreads, 0, stream, what);
}

template <int kPieces>
void LaunchNorm(const PrefillNormParams& p, CUstream_st* stream) {
  LaunchPrefill(p, PrefillNormKernel<__nv_bfloat16, kPieces>, PrefillNormKernel<__half, kPieces>,
                dim3(static_cast<unsigned>(p.rows)), stream, "norm of a prompt");
}

}  // namespace

void PrefillNorm(const PrefillNormParams& params, CUstream_st* stream) {
  const int pieces = (params.width / 8 + kPrefillThreads - 1) / kPrefillThreads;
  if (pieces <= 1) return LaunchNorm<1>(params, stream);
  if (pieces <= 2) return LaunchNorm<2>(params, stream);
  LaunchNorm<4>(params, stream);
}

void PrefillRotate(const PrefillRotateParams& params, CUstream_st* stream) {
  const int own = (params.keys.place != nullptr ? 1 : 0) + (params.values.place != nullptr ? 1 : 0);
  const int64_t items = params.rows * params.columns * (params.heads + own * params.kv_heads) *
                        (params.head_dim / 16);
  LaunchPrefill(params, PrefillRotateKernel<__nv_bfloat16>, PrefillRotateKernel<__half>,
                BlocksFor(items), stream, "rotation of a prompt");
}

void PrefillGate(const PrefillGateParams& params, CUstream_st* stream) {
  LaunchPrefill(params, PrefillGateKernel<__nv_bfloat16>, PrefillGateKernel<__half>,
                BlocksFor(params.rows * (params.width / 8)), stream, "gate of a prompt");
}

}  // namespace ckv::kernels
