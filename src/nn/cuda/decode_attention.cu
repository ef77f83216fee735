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

#include "nn/cuda/common.cuh"

namespace ckv::kernels {
namespace {

constexpr float kLog2E = 1.4426950408889634f;
constexpr int kKeys = 16;  // of a warp at once

constexpr size_t Largest(int a, int b, int c) {
  return static_cast<size_t>(a > b ? (a > c ? a : c) : (b > c ? b : c));
}

// One instance of the kernel: D = kDim, up to kHalves * 8 query heads a block.
template <int kDim, int kHalves>
struct Shape {
  static constexpr int kHeads = kHalves * 8;
  static constexpr int kWarps = kDim == 256 ? 4 : 8;
  static constexpr int kThreads = kWarps * kWarp;
  static constexpr int kPieces = kDim / 8;       // of 16 bytes in a key or value
  static constexpr int kKeyWords = kDim / 8;     // of a key, in one of the 4 lanes that share it
  static constexpr int kValueWords = kDim / 16;  // of a value, in one of its 8 lanes
  static constexpr int kStages = 3;
  static constexpr int kBlocksPerSm = kDim <= 64 ? 2 : 1;
  static constexpr int kTileBytes = kKeys * kDim * 2;  // keys or values of a stage
  static constexpr int kWarpBytes = kStages * 2 * kTileBytes;
  static constexpr int kSumStride = kDim + 1;  // spreads the heads over the banks
  static constexpr int kWarpSums = kHeads * (kSumStride + 2);
  static constexpr int kFactorBytes = kHeads * kMostSplits * 4;
  static constexpr size_t kSharedBytes =
      Largest(kWarps * kWarpBytes, kWarps* kWarpSums * 4, kFactorBytes);
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
  // Splits of equal size, in whole steps of a warp; never more than split_keys, of which those are
  // a multiple.
  const int even = (visible + range.splits - 1) / max(range.splits, 1);
  const int size = (even + kKeys - 1) / kKeys * kKeys;
  range.first = begin + split * size;
  range.count = min(max(end - range.first, 0), size);
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

// Where piece `piece` of row `row` lies in a tile in shared memory: moved such that the lanes that
// read at once meet different banks. Keys are read in two rows of 4 pieces, values in four rows
// (every other one) of 2 pieces.
template <int kPieces>
__device__ int KeyPlace(int row, int piece) {
  const int moved = kPieces % 8 == 0 ? piece ^ (row & 1) * 4 : piece;
  return (row * kPieces + moved) * 16;
}
template <int kPieces>
__device__ int ValuePlace(int row, int piece) {
  const int moved = kPieces % 8 == 0   ? piece ^ (row & 6)
                    : kPieces % 4 == 0 ? piece ^ (row >> 1 & 3)
                                       : piece;
  return (row * kPieces + moved) * 16;
}

// What a warp does with its keys.
template <typename T, int kDim, int kHalves>
struct WarpState {
  using S = Shape<kDim, kHalves>;

  char* memory;  // the warp's part of shared memory
  uint32_t query[kHalves][S::kKeyWords];
  float scores[kKeys / 8][kHalves][2];  // then the weights
  float sums[S::kValueWords][2][kHalves][2];
  float maximum[kHalves];
  float total[kHalves];  // this lane's keys only
  int lane, g, t;

  __device__ void Start(char* own_memory) {
    memory = own_memory;
    lane = threadIdx.x % kWarp;
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

  // The words of a row of D numbers that lane t of 4 holds: 8 numbers in every 32, then 4 in 16.
  // `place(piece)` says where a piece lies.
  template <typename Place>
  __device__ void ReadQuad(uint32_t* to, const Place& place) const {
#pragma unroll
    for (int j = 0; j < kDim / 32; ++j) {
      const uint4 piece = *reinterpret_cast<const uint4*>(place(4 * j + t));
      to[4 * j] = piece.x;
      to[4 * j + 1] = piece.y;
      to[4 * j + 2] = piece.z;
      to[4 * j + 3] = piece.w;
    }
    if constexpr (kDim % 32 == 16) {
      const uint2 rest = reinterpret_cast<const uint2*>(place(kDim / 32 * 4 + t / 2))[t % 2];
      to[kDim / 32 * 4] = rest.x;
      to[kDim / 32 * 4 + 1] = rest.y;
    }
  }

  // The words of a value that lane g of 8 holds: 8 numbers in every 64, then what is left.
  template <typename Place>
  __device__ void ReadOctet(uint32_t* to, const Place& place) const {
    constexpr int kWide = kDim / 64;
#pragma unroll
    for (int j = 0; j < kWide; ++j) {
      const uint4 piece = *reinterpret_cast<const uint4*>(place(8 * j + g));
      to[4 * j] = piece.x;
      to[4 * j + 1] = piece.y;
      to[4 * j + 2] = piece.z;
      to[4 * j + 3] = piece.w;
    }
    if constexpr (kDim % 64 == 32) {
      const uint2 rest = reinterpret_cast<const uint2*>(place(8 * kWide + g / 2))[g % 2];
      to[4 * kWide] = rest.x;
      to[4 * kWide + 1] = rest.y;
    }
    if constexpr (kDim % 64 == 16) {
      to[4 * kWide] = reinterpret_cast<const uint32_t*>(place(8 * kWide + g / 4))[g % 4];
    }
  }

  __device__ void LoadQuery(const T* heads, int num_heads) {
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
#pragma unroll
      for (int word = 0; word < S::kKeyWords; ++word) query[half][word] = 0;
      if (half * 8 + g < num_heads) {
        const T* head = heads + (half * 8 + g) * kDim;
        ReadQuad(query[half], [head](int piece) { return head + piece * 8; });
      }
    }
  }

  // Asks for 16 keys and values from the block's key `first` on, as one group of copies.
  __device__ void Fetch(int stage, const Rows<T, kDim>& keys, const Rows<T, kDim>& values,
                        int first) {
    char* tile = memory + stage * 2 * S::kTileBytes;
#pragma unroll
    for (int i = 0; i < kKeys * S::kPieces / kWarp; ++i) {
      const int row = (lane + i * kWarp) / S::kPieces;
      const int piece = (lane + i * kWarp) % S::kPieces;
      CopyAsync(tile + KeyPlace<S::kPieces>(row, piece), keys.At(first + row) + piece * 8);
    }
#pragma unroll
    for (int i = 0; i < kKeys * S::kPieces / kWarp; ++i) {
      const int row = (lane + i * kWarp) / S::kPieces;
      const int piece = (lane + i * kWarp) % S::kPieces;
      CopyAsync(tile + S::kTileBytes + ValuePlace<S::kPieces>(row, piece),
                values.At(first + row) + piece * 8);
    }
  }

  // Scores of a stage's keys; those from `count` on are hidden.
  __device__ void Score(int stage, int count) {
    const char* tile = memory + stage * 2 * S::kTileBytes;
#pragma unroll
    for (int r = 0; r < kKeys / 8; ++r) {
      uint32_t keys[S::kKeyWords];
      ReadQuad(keys, [&](int piece) { return tile + KeyPlace<S::kPieces>(8 * r + g, piece); });
      float c[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
      for (int i = 0; i < kDim / 16; ++i) {
        MultiplyAdd<T>(c, query[0][2 * i], kHalves == 2 ? query[kHalves - 1][2 * i] : 0,
                       query[0][2 * i + 1], kHalves == 2 ? query[kHalves - 1][2 * i + 1] : 0,
                       keys[2 * i], keys[2 * i + 1]);
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
      for (int r = 0; r < kKeys / 8; ++r) {
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
      for (int r = 0; r < kKeys / 8; ++r) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float weight = exp2f((scores[r][half][i] - largest) * scale);
          scores[r][half][i] = weight;
          total[half] += weight;
        }
      }
    }
  }

  // Adds a stage's values under the weights.
  __device__ void Sum(int stage) {
    const char* tile = memory + (stage * 2 + 1) * S::kTileBytes;
    uint32_t values[4][S::kValueWords];  // rows 2t, 2t + 1, 2t + 8, 2t + 9
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int row = 2 * t + r / 2 * 8 + r % 2;
      ReadOctet(values[r], [&](int piece) { return tile + ValuePlace<S::kPieces>(row, piece); });
    }
    uint32_t weights[4] = {0, 0, 0, 0};  // a0, a1, a2, a3
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      weights[half] = Pair<T>::Pack(scores[0][half][0], scores[0][half][1]);
      weights[half + 2] = Pair<T>::Pack(scores[1][half][0], scores[1][half][1]);
    }
#pragma unroll
    for (int word = 0; word < S::kValueWords; ++word) {
#pragma unroll
      for (int odd = 0; odd < 2; ++odd) {
        const uint32_t pick = odd ? 0x7632 : 0x5410;
        float(&sum)[kHalves][2] = sums[word][odd];
        float c[4] = {sum[0][0], sum[0][1], sum[kHalves - 1][0], sum[kHalves - 1][1]};
        MultiplyAdd<T>(c, weights[0], weights[1], weights[2], weights[3],
                       __byte_perm(values[0][word], values[1][word], pick),
                       __byte_perm(values[2][word], values[3][word], pick));
#pragma unroll
        for (int half = 0; half < kHalves; ++half) {
          sum[half][0] = c[2 * half];
          sum[half][1] = c[2 * half + 1];
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

  // To shared memory: sums [heads, D + 1], then maximum and total of each head.
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
          sums_out[head * S::kSumStride + DimensionOf(word, i / 2, i % 2)] =
              sums[word][i / 2][half][i % 2];
        }
      }
    }
  }
};

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
__device__ void RunWarp(WarpState<T, kDim, kHalves>& state, const Rows<T, kDim>& keys,
                        const Rows<T, kDim>& values, int first, int count, float scale) {
  using S = Shape<kDim, kHalves>;
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
__device__ void StartCopies(WarpState<T, kDim, kHalves>& state, const Rows<T, kDim>& keys,
                            const Rows<T, kDim>& values, int first, int count) {
  using S = Shape<kDim, kHalves>;
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
  using S = Shape<kDim, kHalves>;
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
    (Shape<kDim, kHalves>::kThreads),
    (Shape<kDim, kHalves>::kBlocksPerSm)) void DecodeAttentionKernel(const AttentionParams p) {
  using S = Shape<kDim, kHalves>;
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
  using S = Shape<kDim, kHalves>;
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
