// Attention of one query a row over long stores of keys and values: bound by memory, so that each
// key and value is read once for all query heads of its group.
//
// A block takes up to `split_keys` keys of one row and group, each of its warps 16 at a time. Whole
// rows travel to the warp's own part of shared memory, several groups of 16 ahead of their use; no
// warp waits for another before the end. Both products run on tensor cores with the heads as the 16
// rows of m16n8k16. The order of head dimensions and keys inside a product is free as long as both
// factors agree on it; it is chosen such that a lane reads 16 bytes of a key or value at once and
// then already holds the fragments (values after one byte permutation).
//
// Splits are counted from the first visible key, whatever the batch: a row's result does not depend
// on its neighbours. The last block of a row and group to end joins the splits, in their order
// (Dao et al. 2023, Flash-Decoding).
#include <algorithm>
#include <cmath>

#include "nn/cuda/attention_warp.cuh"
#include "nn/cuda/common.cuh"

namespace ckv::kernels {
namespace {

constexpr float kLog2E = 1.4426950408889634f;

// The visible keys of a block and where they lie.
struct KeyRange {
  int first = 0;  // position of the block's first key
  int count = 0;
  int splits = 0;  // of the row
  int own = 0;     // position of the row's token
};

__device__ KeyRange FindRange(const AttentionParams& p, int row, int split) {
  KeyRange range;
  range.own = p.lengths[row];
  const int end = range.own + (p.strict ? 0 : 1);
  int begin = p.starts != nullptr ? p.starts[row] : 0;
  if (p.window > 0) begin = max(begin, range.own - p.window + 1);
  const int visible = max(end - begin, 0);
  range.splits = (visible + p.split_keys - 1) / p.split_keys;
  // Splits of equal size, in whole steps of a warp; never more than split_keys, of which those are
  // a multiple.
  const int even = (visible + range.splits - 1) / max(range.splits, 1);
  const int size = (even + kKeys - 1) / kKeys * kKeys;
  range.first = begin + split * size;
  range.count = min(max(end - range.first, 0), size);
  return range;
}

template <typename T, int kDim>
__device__ KeyRows<T, kDim> RowsOf(const void* store, int slots, int row_and_group,
                                   const KeyRange& range) {
  return {static_cast<const T*>(store) + static_cast<int64_t>(row_and_group) * slots * kDim,
          range.first % slots, slots, range.count - 1};
}

// A weighted sum of several parts.
struct Joined {
  float sum = 0.0f;
  float maximum = -INFINITY;
  float total = 0.0f;
};

// What the warps left in shared memory.
template <int kWarps>
__device__ Joined JoinWarps(const float* sums, const float* stats, int stride, float scale) {
  Joined joined;
#pragma unroll
  for (int warp = 0; warp < kWarps; ++warp) {
    joined.maximum = fmaxf(joined.maximum, stats[warp * stride]);
  }
#pragma unroll
  for (int warp = 0; warp < kWarps; ++warp) {
    const float maximum = stats[warp * stride];
    if (maximum == -INFINITY) continue;  // without keys
    const float factor = exp2f((maximum - joined.maximum) * scale);
    joined.sum += factor * sums[warp * stride];
    joined.total += factor * stats[warp * stride + 1];
  }
  return joined;
}

// The share of each split in the row's result: factors [heads, splits] in shared memory, a warp a
// head.
__device__ void FindFactors(const float* stats, int max_splits, int num_heads, int splits,
                            float scale, float* factors) {
  const int lane = threadIdx.x % kWarp;
  for (int head = threadIdx.x / kWarp; head < num_heads; head += blockDim.x / kWarp) {
    const float2* of_head = reinterpret_cast<const float2*>(stats) + head * max_splits;
    float maximum = -INFINITY;
    for (int i = lane; i < splits; i += kWarp) maximum = fmaxf(maximum, __ldcg(of_head + i).x);
    for (int offset = kWarp / 2; offset > 0; offset /= 2) {
      maximum = fmaxf(maximum, __shfl_xor_sync(~0u, maximum, offset));
    }
    float total = 0.0f;
    for (int i = lane; i < splits; i += kWarp) {
      const float2 stat = __ldcg(of_head + i);
      const float factor = exp2f((stat.x - maximum) * scale);
      factors[head * splits + i] = factor;
      total += factor * stat.y;
    }
    total = WarpSum(total);
    for (int i = lane; i < splits; i += kWarp) factors[head * splits + i] /= total;
  }
}

// The last of the row's blocks joins what all of them left in global memory.
template <typename T, int kDim>
__device__ void JoinSplits(const AttentionParams& p, int64_t first_row, int num_heads, int splits,
                           int* ticket, float scale, float* factors) {
  constexpr int kAtOnce = 8;  // loads on their way
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicAdd(ticket, 1) == splits - 1;
  __syncthreads();
  if (!last) return;
  if (threadIdx.x == 0) *ticket = 0;
  __threadfence();
  FindFactors(p.stats + first_row * p.max_splits * 2, p.max_splits, num_heads, splits, scale,
              factors);
  __syncthreads();
  for (int i = threadIdx.x; i < num_heads * kDim / 4; i += blockDim.x) {
    const int head = i / (kDim / 4);
    const float4* sums = reinterpret_cast<const float4*>(p.partial) +
                         (first_row + head) * p.max_splits * (kDim / 4) + i % (kDim / 4);
    float4 result = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int first = 0; first < splits; first += kAtOnce) {
      float4 sum[kAtOnce];
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
        if (first + j < splits) sum[j] = __ldcg(sums + (first + j) * (kDim / 4));
      }
#pragma unroll
      for (int j = 0; j < kAtOnce; ++j) {
        if (first + j >= splits) break;
        const float factor = factors[head * splits + first + j];
        result.x += factor * sum[j].x;
        result.y += factor * sum[j].y;
        result.z += factor * sum[j].z;
        result.w += factor * sum[j].w;
      }
    }
    reinterpret_cast<uint2*>(p.out)[first_row * (kDim / 4) + i] = {
        Pair<T>::Pack(result.x, result.y), Pair<T>::Pack(result.z, result.w)};
  }
}

// The block's keys `first`, `first` + a round of all warps, ... Their first kStages - 1 groups of
// copies have been asked for.
template <typename T, int kDim, int kHalves>
__device__ void RunWarp(WarpState<T, kDim, kHalves>& state, const KeyRows<T, kDim>& keys,
                        const KeyRows<T, kDim>& values, int first, int count, float scale) {
  using S = AttentionShape<kDim, kHalves>;
  constexpr int kStep = S::kWarps * kKeys;
  int stage = 0;
  for (; first < count; first += kStep) {
    // The stage that was used last is free: every lane has passed the wait after its reads.
    __syncwarp();
    const int ahead = first + (S::kStages - 1) * kStep;
    if (ahead < count) state.Fetch((stage + S::kStages - 1) % S::kStages, keys, values, ahead);
    EndCopyGroup();
    WaitForCopies<S::kStages - 1>();
    state.Score(stage, count - first);
    state.Weigh(scale);
    state.Sum(stage);
    stage = (stage + 1) % S::kStages;
  }
}

template <typename T, int kDim, int kHalves>
__device__ void StartCopies(WarpState<T, kDim, kHalves>& state, const KeyRows<T, kDim>& keys,
                            const KeyRows<T, kDim>& values, int first, int count) {
  using S = AttentionShape<kDim, kHalves>;
#pragma unroll
  for (int stage = 0; stage < S::kStages - 1; ++stage) {
    const int key = first + stage * S::kWarps * kKeys;
    if (key < count) state.Fetch(stage, keys, values, key);
    EndCopyGroup();
  }
}

// The sum over the block's keys, to the output or, if the row has more splits, to global memory.
template <typename T, int kDim, int kHalves>
__device__ void StoreSums(const AttentionParams& p, const float* sums, int64_t first_row,
                          int num_heads, int split, int splits, float scale) {
  using S = AttentionShape<kDim, kHalves>;
  const float* stats = sums + S::kHeads * S::kSumStride;
  for (int i = threadIdx.x; i < num_heads * kDim; i += blockDim.x) {
    const int head = i / kDim;
    const int dimension = i % kDim;
    const Joined joined = JoinWarps<S::kWarps>(sums + head * S::kSumStride + dimension,
                                               stats + head * 2, S::kWarpSums, scale);
    const int64_t row = first_row + head;
    if (splits == 1) {
      static_cast<T*>(p.out)[row * kDim + dimension] = FromFloat<T>(joined.sum / joined.total);
      continue;
    }
    const int64_t part = row * p.max_splits + split;
    __stcg(p.partial + part * kDim + dimension, joined.sum);
    if (dimension == 0) {
      __stcg(p.stats + part * 2, joined.maximum);
      __stcg(p.stats + part * 2 + 1, joined.total);
    }
  }
}

template <typename T, int kDim, int kHalves>
__global__ __launch_bounds__(
    (AttentionShape<kDim, kHalves>::kThreads),
    (AttentionShape<kDim, kHalves>::kBlocksPerSm)) void DecodeAttentionKernel(const AttentionParams
                                                                                  p) {
  using S = AttentionShape<kDim, kHalves>;
  extern __shared__ uint4 shared[];
  LetSuccessorStart();
  const int heads_per_group = p.heads / p.kv_heads;
  const int chunks = (heads_per_group + S::kHeads - 1) / S::kHeads;
  const int group = blockIdx.x / chunks;
  const int first_head = group * heads_per_group + blockIdx.x % chunks * S::kHeads;
  const int num_heads = min(S::kHeads, (group + 1) * heads_per_group - first_head);
  const int row = blockIdx.y;
  const int split = blockIdx.z;
  const int warp = threadIdx.x / kWarp;
  const int64_t first_row = static_cast<int64_t>(row) * p.heads + first_head;  // of q and out

  const KeyRange range = FindRange(p, row, split);
  const auto keys = RowsOf<T, kDim>(p.keys, p.key_slots, row * p.kv_heads + group, range);
  const auto values = RowsOf<T, kDim>(p.values, p.value_slots, row * p.kv_heads + group, range);
  const int first = warp * kKeys;
  // Only the own position may have been written by the kernel before.
  const bool early = range.first + range.count <= range.own;

  WarpState<T, kDim, kHalves> state;
  state.Start(reinterpret_cast<char*>(shared) + warp * S::kWarpBytes);
  if (early) StartCopies(state, keys, values, first, range.count);
  WaitForPredecessor();
  if (range.count == 0) {
    if (split == 0) {  // nothing is visible
      for (int i = threadIdx.x; i < num_heads * kDim; i += blockDim.x) {
        static_cast<T*>(p.out)[first_row * kDim + i] = FromFloat<T>(0.0f);
      }
    }
    return;
  }
  if (!early) StartCopies(state, keys, values, first, range.count);
  state.LoadQuery(static_cast<const T*>(p.q) + first_row * kDim, num_heads);
  const float scale = p.scale * kLog2E;
  RunWarp(state, keys, values, first, range.count, scale);

  // The sums take the place of the tiles.
  WaitForCopies<0>();
  __syncthreads();
  float* sums = reinterpret_cast<float*>(shared);
  float* own = sums + warp * S::kWarpSums;
  state.Leave(own, own + S::kHeads * S::kSumStride);
  __syncthreads();
  StoreSums<T, kDim, kHalves>(p, sums, first_row, num_heads, split, range.splits, scale);
  if (range.splits > 1) {
    JoinSplits<T, kDim>(p, first_row, num_heads, range.splits, p.tickets + first_row, scale, sums);
  }
}

template <typename T, int kDim, int kHalves>
void LaunchShape(const AttentionParams& p, CUstream_st* stream) {
  using S = AttentionShape<kDim, kHalves>;
  const int heads_per_group = p.heads / p.kv_heads;
  const int chunks = (heads_per_group + S::kHeads - 1) / S::kHeads;
  const dim3 grid(static_cast<unsigned>(p.kv_heads * chunks), static_cast<unsigned>(p.batch),
                  static_cast<unsigned>(p.max_splits));
  Launch(DecodeAttentionKernel<T, kDim, kHalves>, p, grid, S::kThreads, S::kSharedBytes, stream,
         "decode attention");
}

template <typename T, int kDim>
void LaunchDim(const AttentionParams& p, CUstream_st* stream) {
  // Twice the heads of width 256 do not fit into the registers.
  if constexpr (kDim < 256) {
    if (p.heads / p.kv_heads > 8) return LaunchShape<T, kDim, 2>(p, stream);
  }
  LaunchShape<T, kDim, 1>(p, stream);
}

template <typename T>
void LaunchType(const AttentionParams& p, CUstream_st* stream) {
  switch (p.head_dim) {
    case 32:
      return LaunchDim<T, 32>(p, stream);
    case 64:
      return LaunchDim<T, 64>(p, stream);
    case 80:
      return LaunchDim<T, 80>(p, stream);
    case 96:
      return LaunchDim<T, 96>(p, stream);
    case 128:
      return LaunchDim<T, 128>(p, stream);
    case 256:
      return LaunchDim<T, 256>(p, stream);
    default:
      throw InternalError(Str("no decode attention for heads of width ", p.head_dim));
  }
}

}  // namespace

bool HasDecodeAttention(int64_t head_dim) {
  return head_dim == 32 || head_dim == 64 || head_dim == 80 || head_dim == 96 || head_dim == 128 ||
         head_dim == 256;
}

void DecodeAttention(const AttentionParams& params, CUstream_st* stream) {
  if (params.type == HalfType::kBfloat16) return LaunchType<__nv_bfloat16>(params, stream);
  LaunchType<__half>(params, stream);
}

}  // namespace ckv::kernels
