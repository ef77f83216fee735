// Pair terms of short sentences: each pair meets the vectors of its own distance bin and no others,
// which with many bins is a small share of the work of one product a bin; and it is one launch.
#include <cuda_runtime.h>

#include "base/error.h"
#include "nn/cuda/pair_kernels.h"

namespace ckv::kernels {
namespace {

constexpr int kPairThreads = 256;
constexpr int kGroupLanes = 8;  // that share a pair
constexpr int kGroupsOfWarp = 32 / kGroupLanes;

__device__ inline const float* VectorOf(const PairSideView& side, int b, int i, int k, int c) {
  return side.data + b * side.batch + i * side.word + k * side.bin + c * side.channel;
}

// A block for the pairs of one child.
__global__ __launch_bounds__(kPairThreads) void PairScoresKernel(const PairScoresParams p) {
  const int b = blockIdx.x / p.words, i = blockIdx.x % p.words;
  const int lane = threadIdx.x % kGroupLanes;
  const int group = threadIdx.x % 32 / kGroupLanes;
  const int pairs = p.channels * p.words;
  constexpr int kStride = kPairThreads / kGroupLanes;
  // All lanes of a warp go round equally often, for they exchange their sums.
  for (int first = threadIdx.x / 32 * kGroupsOfWarp; first < pairs; first += kStride) {
    const int pair = first + group;
    const int c = pair / p.words, j = pair % p.words;
    const int k = pair < pairs ? p.bin_of[j - i + p.words - 1] : -1;
    float sum = 0.0f;
    if (k >= 0) {
      const float* child = VectorOf(p.child, b, i, k, c);
      const float* head = VectorOf(p.head, b, j, k, c);
      for (int l = lane; l < p.rank; l += kGroupLanes) sum += child[l] * head[l];
    }
    for (int offset = kGroupLanes / 2; offset > 0; offset /= 2) {
      sum += __shfl_xor_sync(~0u, sum, offset);
    }
    if (pair < pairs && lane == 0) {
      p.out[((static_cast<int64_t>(b) * p.channels + c) * p.words + i) * p.words + j] = sum;
    }
  }
}

// A block for what one word collects; a thread has a number of it at a time.
__global__ __launch_bounds__(kPairThreads) void PairSumsKernel(const PairSumsParams p) {
  const int b = blockIdx.x / p.words, own = blockIdx.x % p.words;
  const int numbers = p.out_bins * p.out_channels * p.rank;
  float* out = p.out + static_cast<int64_t>(blockIdx.x) * numbers;
  const bool all_bins = p.out_bins < p.bins, all_channels = p.out_channels < p.channels;
  for (int number = threadIdx.x; number < numbers; number += kPairThreads) {
    const int l = number % p.rank;
    const int c_out = number / p.rank % p.out_channels;
    const int k_out = number / p.rank / p.out_channels;
    const int k_begin = all_bins ? 0 : k_out, k_end = all_bins ? p.bins : k_out + 1;
    const int c_begin = all_channels ? 0 : c_out, c_end = all_channels ? p.channels : c_out + 1;
    float sum = 0.0f;
    for (int k = k_begin; k < k_end; ++k) {
      const int near = p.ranges[2 * k], far = p.ranges[2 * k + 1];
      const int begin = max(0, p.own_is_child ? own + near : own - far);
      const int end = min(p.words - 1, p.own_is_child ? own + far : own - near);
      for (int c = c_begin; c < c_end; ++c) {
        const float* probs =
            p.probs + (static_cast<int64_t>(b) * p.channels + c) * p.words * p.words;
        for (int other = begin; other <= end; ++other) {
          if (other == own) continue;
          const float weight =
              p.own_is_child ? probs[own * p.words + other] : probs[other * p.words + own];
          sum += weight * VectorOf(p.from, b, other, k, c)[l];
        }
      }
    }
    out[number] = sum;
  }
}

void CheckPairLaunch(const char* what) {
  const cudaError_t error = cudaGetLastError();
  CKV_CHECK(error == cudaSuccess, what, ": ", cudaGetErrorString(error));
}

}  // namespace

void PairScores(const PairScoresParams& params, CUstream_st* stream) {
  PairScoresKernel<<<params.batch * params.words, kPairThreads, 0, stream>>>(params);
  CheckPairLaunch("scores of pairs");
}

void PairSums(const PairSumsParams& params, CUstream_st* stream) {
  PairSumsKernel<<<params.batch * params.words, kPairThreads, 0, stream>>>(params);
  CheckPairLaunch("sums over pairs");
}

}  // namespace ckv::kernels
