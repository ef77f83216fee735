// The part of one warp in decode attention: its keys and values on their way through shared memory,
// scores, weights and sums. decode_attention.cu has the idea and the rest.
#pragma once

#include <cmath>

#include "nn/cuda/common.cuh"

namespace ckv::kernels {

constexpr int kKeys = 16;  // of a warp at once

constexpr size_t Largest(int a, int b, int c) {
  return static_cast<size_t>(a > b ? (a > c ? a : c) : (b > c ? b : c));
}

// One instance of the kernel: D = kDim, up to kHalves * 8 query heads a block.
template <int kDim, int kHalves>
struct AttentionShape {
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

// The keys (or values) of one row and group from the block's first on; position t lies in slot
// t % slots.
template <typename T, int kDim>
struct KeyRows {
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

// Where piece `piece` of row `row` lies in a tile in shared memory: moved such that the lanes that
// read at once meet different banks. Keys are read in two rows of 4 pieces, values in four rows
// (every other one) of 2 pieces.
template <int kPieces>
__device__ inline int KeyPlace(int row, int piece) {
  const int moved = kPieces % 8 == 0 ? piece ^ (row & 1) * 4 : piece;
  return (row * kPieces + moved) * 16;
}
template <int kPieces>
__device__ inline int ValuePlace(int row, int piece) {
  const int moved = kPieces % 8 == 0   ? piece ^ (row & 6)
                    : kPieces % 4 == 0 ? piece ^ (row >> 1 & 3)
                                       : piece;
  return (row * kPieces + moved) * 16;
}

// What a warp does with its keys.
template <typename T, int kDim, int kHalves>
struct WarpState {
  using S = AttentionShape<kDim, kHalves>;

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
  __device__ void Fetch(int stage, const KeyRows<T, kDim>& keys, const KeyRows<T, kDim>& values,
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

}  // namespace ckv::kernels
