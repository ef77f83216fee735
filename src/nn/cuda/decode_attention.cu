// Attention of one query a row over long stores of keys and values: bound by memory, so that each
// key and value is read once for all query heads of its group, straight from the store to
// registers.
//
// A block takes up to `split_keys` keys of one row and group, its warps `kKeys` at a time. Both
// products run on tensor cores with the heads as the 16 rows of m16n8k16. The order of head
// dimensions and keys inside a product is free as long as both factors agree on it; it is chosen
// such that lanes load 16 bytes of a key or value and already hold the fragments (values after one
// byte permutation). A warp loads its next keys as soon as the scores are done, and its next values
// as soon as the sum is done, so about 8 KB a warp are always on their way.
//
// Splits are counted from the first visible key, whatever the batch: a row's result does not depend
// on its neighbours. The last block of a row and group to end joins the splits, in their order
// (Dao et al. 2023, Flash-Decoding).
#include <algorithm>
#include <cmath>

#include "nn/cuda/common.cuh"

namespace ckv::kernels {
namespace {

constexpr int kWarps = 8;
constexpr float kLog2E = 1.4426950408889634f;

// One instance of the kernel: D = kDim, up to kHalves * 8 query heads a block.
template <typename T, int kDim, int kHalves>
struct Shape {
  static constexpr int kHeads = kHalves * 8;
  static constexpr int kKeys = kDim <= 64 && kHalves == 1 ? 32 : 16;  // of a warp at once
  // Registers do not hold keys and values at once: each is loaded when the other is used up.
  static constexpr bool kInTurn = kDim == 256;
  static constexpr int kKeyWords = kDim / 8;     // of a key, in one of the 4 lanes that share it
  static constexpr int kValueWords = kDim / 16;  // of a value, in one of its 8 lanes
  static constexpr int kBlocksPerSm = kDim * kHalves <= 128 && kDim <= 96 ? 2 : 1;
  static constexpr size_t kSharedBytes =
      sizeof(float) * kWarps * kHeads * (static_cast<size_t>(kDim) + 2);
};

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
  range.first = begin + split * p.split_keys;
  range.count = min(max(end - range.first, 0), p.split_keys);
  return range;
}

// The keys (or values) of one row and group from the block's first on; position t lies in slot
// t % slots.
template <typename T, int kDim>
struct Rows {
  const T* memory;
  int first_slot;
  int slots;
  int last;  // of the block's keys

  // Keys behind the last one read as the last: never memory that nobody wrote.
  __device__ const T* At(int key) const {
    int slot = first_slot + min(key, last);
    if (slot >= slots) slot -= slots;
    return memory + static_cast<int64_t>(slot) * kDim;
  }
};

template <typename T, int kDim>
__device__ Rows<T, kDim> RowsOf(const void* store, int slots, int row_and_group,
                                const KeyRange& range) {
  return {static_cast<const T*>(store) + static_cast<int64_t>(row_and_group) * slots * kDim,
          range.first % slots, slots, range.count - 1};
}

// What a warp does with its keys.
template <typename T, int kDim, int kHalves>
struct WarpState {
  using S = Shape<T, kDim, kHalves>;

  uint32_t query[kHalves][S::kKeyWords];
  uint32_t keys[S::kKeys / 8][S::kKeyWords];
  uint32_t values[S::kKeys / 4][S::kValueWords];
  float scores[S::kKeys / 8][kHalves][2];  // then the weights
  float sums[S::kValueWords][2][kHalves][2];
  float maximum[kHalves];
  float total[kHalves];  // this lane's keys only
  int g, t;

  // The words of a row of D numbers that lane t of 4 holds: 8 numbers in every 32.
  __device__ void LoadQuad(uint32_t* to, const T* row) const {
#pragma unroll
    for (int j = 0; j < kDim / 32; ++j) LoadOnce(to + 4 * j, row + 32 * j + 8 * t, uint4());
    if constexpr (kDim % 32 == 16) {
      LoadOnce(to + kDim / 32 * 4, row + kDim / 32 * 32 + 4 * t, uint2());
    }
  }

  __device__ void Start(int lane) {
    g = lane / 4;
    t = lane % 4;
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      maximum[half] = -INFINITY;
      total[half] = 0.0f;
    }
#pragma unroll
    for (int word = 0; word < S::kValueWords; ++word) {
#pragma unroll
      for (int i = 0; i < 2 * kHalves; ++i) {
        sums[word][i / kHalves][i % kHalves][0] = 0.0f;
        sums[word][i / kHalves][i % kHalves][1] = 0.0f;
      }
    }
  }

  __device__ void LoadQuery(const T* heads, int num_heads) {
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
#pragma unroll
      for (int word = 0; word < S::kKeyWords; ++word) query[half][word] = 0;
      if (half * 8 + g < num_heads) LoadQuad(query[half], heads + (half * 8 + g) * kDim);
    }
  }

  __device__ void LoadKeys(const Rows<T, kDim>& rows, int first) {
#pragma unroll
    for (int r = 0; r < S::kKeys / 8; ++r) LoadQuad(keys[r], rows.At(first + 8 * r + g));
  }

  __device__ void LoadValues(const Rows<T, kDim>& rows, int first) {
    constexpr int kWide = kDim / 64;
#pragma unroll
    for (int r = 0; r < S::kKeys / 4; ++r) {
      const T* row = rows.At(first + r / 4 * 16 + 2 * t + (r % 4) / 2 * 8 + r % 2);
#pragma unroll
      for (int j = 0; j < kWide; ++j) LoadOnce(values[r] + 4 * j, row + 64 * j + 8 * g, uint4());
      if constexpr (kDim % 64 == 32) {
        LoadOnce(values[r] + 4 * kWide, row + 64 * kWide + 4 * g, uint2());
      }
      if constexpr (kDim % 64 == 16) {
        LoadOnce(values[r] + 4 * kWide, row + 64 * kWide + 2 * g, uint32_t());
      }
    }
  }

  // Scores of the loaded keys; those from `count` on are hidden.
  __device__ void Score(int count) {
#pragma unroll
    for (int r = 0; r < S::kKeys / 8; ++r) {
      float c[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
      for (int i = 0; i < kDim / 16; ++i) {
        MultiplyAdd<T>(c, query[0][2 * i], kHalves == 2 ? query[kHalves - 1][2 * i] : 0,
                       query[0][2 * i + 1], kHalves == 2 ? query[kHalves - 1][2 * i + 1] : 0,
                       keys[r][2 * i], keys[r][2 * i + 1]);
      }
#pragma unroll
      for (int half = 0; half < kHalves; ++half) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          scores[r][half][i] = 8 * r + 2 * t + i < count ? c[2 * half + i] : -INFINITY;
        }
      }
    }
  }

  // Scores to weights under the largest so far; sums under an older one are scaled to it.
  __device__ void Weigh(float scale) {
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      float largest = maximum[half];
#pragma unroll
      for (int r = 0; r < S::kKeys / 8; ++r) {
        largest = fmaxf(largest, fmaxf(scores[r][half][0], scores[r][half][1]));
      }
      largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 1));
      largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 2));
      if (__any_sync(~0u, largest > maximum[half])) {
        const float shrink = exp2f((maximum[half] - largest) * scale);
        total[half] *= shrink;
#pragma unroll
        for (int word = 0; word < S::kValueWords; ++word) {
#pragma unroll
          for (int i = 0; i < 4; ++i) sums[word][i / 2][half][i % 2] *= shrink;
        }
        maximum[half] = largest;
      }
#pragma unroll
      for (int r = 0; r < S::kKeys / 8; ++r) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float weight = exp2f((scores[r][half][i] - largest) * scale);
          scores[r][half][i] = weight;
          total[half] += weight;
        }
      }
    }
  }

  __device__ void Sum() {
#pragma unroll
    for (int k = 0; k < S::kKeys / 16; ++k) {
      uint32_t weights[4] = {0, 0, 0, 0};  // a0, a1, a2, a3
#pragma unroll
      for (int half = 0; half < kHalves; ++half) {
        weights[half] = Pair<T>::Pack(scores[2 * k][half][0], scores[2 * k][half][1]);
        weights[half + 2] = Pair<T>::Pack(scores[2 * k + 1][half][0], scores[2 * k + 1][half][1]);
      }
#pragma unroll
      for (int word = 0; word < S::kValueWords; ++word) {
#pragma unroll
        for (int odd = 0; odd < 2; ++odd) {
          const uint32_t pick = odd ? 0x7632 : 0x5410;
          float(&sum)[kHalves][2] = sums[word][odd];
          float c[4] = {sum[0][0], sum[0][1], sum[kHalves - 1][0], sum[kHalves - 1][1]};
          MultiplyAdd<T>(c, weights[0], weights[1], weights[2], weights[3],
                         __byte_perm(values[4 * k][word], values[4 * k + 1][word], pick),
                         __byte_perm(values[4 * k + 2][word], values[4 * k + 3][word], pick));
#pragma unroll
          for (int half = 0; half < kHalves; ++half) {
            sum[half][0] = c[2 * half];
            sum[half][1] = c[2 * half + 1];
          }
        }
      }
    }
  }

  // The head dimension that sums[word][odd][.][column] belongs to.
  __device__ int DimensionOf(int word, int odd, int column) const {
    constexpr int kWide = kDim / 64;
    if (word < 4 * kWide) return word / 4 * 64 + 8 * (2 * t + column) + 2 * (word % 4) + odd;
    return kWide * 64 + kDim % 64 / 8 * (2 * t + column) + 2 * (word - 4 * kWide) + odd;
  }

  // To shared memory: sums [heads, D], then maximum and total of each head.
  __device__ void Leave(float* sums_out, float* stats) {
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      const int head = half * 8 + g;
      float sum = total[half];
      sum += __shfl_xor_sync(~0u, sum, 1);
      sum += __shfl_xor_sync(~0u, sum, 2);
      if (t == 0) {
        stats[2 * head] = maximum[half];
        stats[2 * head + 1] = sum;
      }
#pragma unroll
      for (int word = 0; word < S::kValueWords; ++word) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          sums_out[head * kDim + DimensionOf(word, i / 2, i % 2)] = sums[word][i / 2][half][i % 2];
        }
      }
    }
  }
};

// A weighted sum split in parts: their sums [parts] apart by `stride`, and their stats [parts, 2].
struct Joined {
  float sum = 0.0f;
  float maximum = -INFINITY;
  float total = 0.0f;
};

__device__ Joined Join(const float* sums, int stride, const float* stats, int stats_stride,
                       int parts, float scale) {
  Joined joined;
  for (int part = 0; part < parts; ++part) {
    joined.maximum = fmaxf(joined.maximum, __ldcg(stats + part * stats_stride));
  }
  for (int part = 0; part < parts; ++part) {
    const float maximum = __ldcg(stats + part * stats_stride);
    if (maximum == -INFINITY) continue;  // a warp without keys
    const float factor = exp2f((maximum - joined.maximum) * scale);
    joined.sum += factor * __ldcg(sums + static_cast<int64_t>(part) * stride);
    joined.total += factor * __ldcg(stats + part * stats_stride + 1);
  }
  return joined;
}

// As Join, from shared memory.
__device__ Joined JoinWarps(const float* sums, int stride, const float* stats, int stats_stride,
                            float scale) {
  Joined joined;
#pragma unroll
  for (int warp = 0; warp < kWarps; ++warp) {
    joined.maximum = fmaxf(joined.maximum, stats[warp * stats_stride]);
  }
#pragma unroll
  for (int warp = 0; warp < kWarps; ++warp) {
    const float maximum = stats[warp * stats_stride];
    if (maximum == -INFINITY) continue;
    const float factor = exp2f((maximum - joined.maximum) * scale);
    joined.sum += factor * sums[warp * stride];
    joined.total += factor * stats[warp * stats_stride + 1];
  }
  return joined;
}

// The last of the row's blocks joins what all of them left in global memory.
template <typename T, int kDim>
__device__ void JoinSplits(const AttentionParams& p, int64_t first_row, int num_heads, int splits,
                           int* ticket, float scale) {
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicAdd(ticket, 1) == splits - 1;
  __syncthreads();
  if (!last) return;
  if (threadIdx.x == 0) *ticket = 0;
  __threadfence();
  for (int i = threadIdx.x; i < num_heads * kDim; i += kWarps * kWarp) {
    const int64_t head = first_row + i / kDim;
    const Joined joined = Join(p.partial + head * p.max_splits * kDim + i % kDim, kDim,
                               p.stats + head * p.max_splits * 2, 2, splits, scale);
    static_cast<T*>(p.out)[head * kDim + i % kDim] = FromFloat<T>(joined.sum / joined.total);
  }
}

template <typename T, int kDim, int kHalves>
__device__ void RunWarp(WarpState<T, kDim, kHalves>& state, const Rows<T, kDim>& keys,
                        const Rows<T, kDim>& values, int first, int count, float scale) {
  using S = Shape<T, kDim, kHalves>;
  constexpr int kStep = kWarps * S::kKeys;
  for (; first < count; first += kStep) {
    const bool more = first + kStep < count;
    state.Score(count - first);
    if (S::kInTurn) state.LoadValues(values, first);
    if (!S::kInTurn && more) state.LoadKeys(keys, first + kStep);
    state.Weigh(scale);
    state.Sum();
    if (S::kInTurn && more) state.LoadKeys(keys, first + kStep);
    if (!S::kInTurn && more) state.LoadValues(values, first + kStep);
  }
}

template <typename T, int kDim, int kHalves>
__global__ __launch_bounds__(
    kWarps* kWarp,
    (Shape<T, kDim, kHalves>::kBlocksPerSm)) void DecodeAttentionKernel(const AttentionParams p) {
  using S = Shape<T, kDim, kHalves>;
  extern __shared__ float shared[];
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
  const int first = warp * S::kKeys;
  // Only the own position may have been written by the kernel before.
  const bool early = range.first + min(first + S::kKeys, range.count) <= range.own;

  WarpState<T, kDim, kHalves> state;
  state.Start(threadIdx.x % kWarp);
  if (early && first < range.count) {
    state.LoadKeys(keys, first);
    if (!S::kInTurn) state.LoadValues(values, first);
  }
  WaitForPredecessor();
  if (range.count == 0) {
    if (split == 0) {  // nothing is visible
      for (int i = threadIdx.x; i < num_heads * kDim; i += kWarps * kWarp) {
        static_cast<T*>(p.out)[first_row * kDim + i] = FromFloat<T>(0.0f);
      }
    }
    return;
  }
  if (!early && first < range.count) {
    state.LoadKeys(keys, first);
    if (!S::kInTurn) state.LoadValues(values, first);
  }
  state.LoadQuery(static_cast<const T*>(p.q) + first_row * kDim, num_heads);
  const float scale = p.scale * kLog2E;
  RunWarp<T, kDim, kHalves>(state, keys, values, first, range.count, scale);

  constexpr int kSums = S::kHeads * kDim;
  float* stats = shared + kWarps * kSums;
  state.Leave(shared + warp * kSums, stats + warp * S::kHeads * 2);
  __syncthreads();
  for (int i = threadIdx.x; i < num_heads * kDim; i += kWarps * kWarp) {
    const Joined joined = JoinWarps(shared + i, kSums, stats + i / kDim * 2, S::kHeads * 2, scale);
    const int64_t head = first_row + i / kDim;
    if (range.splits == 1) {
      static_cast<T*>(p.out)[head * kDim + i % kDim] = FromFloat<T>(joined.sum / joined.total);
    } else {
      const int64_t part = head * p.max_splits + split;
      __stcg(p.partial + part * kDim + i % kDim, joined.sum);
      if (i % kDim == 0) {
        __stcg(p.stats + part * 2, joined.maximum);
        __stcg(p.stats + part * 2 + 1, joined.total);
      }
    }
  }
  if (range.splits > 1) {
    JoinSplits<T, kDim>(p, first_row, num_heads, range.splits,
                        p.tickets + static_cast<int64_t>(row) * p.heads + first_head, scale);
  }
}

template <typename T, int kDim, int kHalves>
void LaunchShape(const AttentionParams& p, CUstream_st* stream) {
  using S = Shape<T, kDim, kHalves>;
  const int heads_per_group = p.heads / p.kv_heads;
  const int chunks = (heads_per_group + S::kHeads - 1) / S::kHeads;
  const dim3 grid(static_cast<unsigned>(p.kv_heads * chunks), static_cast<unsigned>(p.batch),
                  static_cast<unsigned>(p.max_splits));
  Launch(DecodeAttentionKernel<T, kDim, kHalves>, p, grid, kWarps * kWarp, S::kSharedBytes, stream,
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
