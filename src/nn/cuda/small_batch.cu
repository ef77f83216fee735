// y = x W^T for up to 8 rows of x: bound by reading W once.
//
// W is the first factor of m16n8k16, 16 of its rows at a time, and the rows of x are its 8 columns.
// A warp takes a share of K; lanes read 16 bytes of W at once, the order of k inside a product
// being free. Each warp has kDepth * 1 KB of W on their way all the time, across the tiles that its
// block goes through, and asks for the first of them before the kernel in front has ended.
//
// Which rows make a tile depends on the epilogue, so that a lane pair holds what belongs together:
// gate and up of one inner unit, or the two numbers that a rotation mixes.
#include <algorithm>

#include "nn/cuda/common.cuh"

namespace ckv::kernels {
namespace {

constexpr int kProductWarps = 8;
constexpr int kProductThreads = kProductWarps * kWarp;
constexpr int kDepth = 8;   // chunks of W that a warp has on their way
constexpr int kChunk = 32;  // k of a chunk
constexpr size_t kMostShared = 200 * 1024;

// Bytes between rows of x in shared memory: the 8 lanes that read 16 bytes each at once, 4 in each
// of two rows, must meet all banks.
__host__ __device__ constexpr int64_t RowStride(int64_t k) {
  return 2 * k + (k % 64 == 0 ? 64 : 0);
}

// The chunks of K of a warp.
struct Share {
  int begin = 0;
  int end = 0;
};

__device__ Share ShareOf(int k, int warp) {
  const int chunks = k / kChunk;
  return {chunks * warp / kProductWarps, chunks * (warp + 1) / kProductWarps};
}

struct TileRows {
  int first = 0;   // of the tile's rows 0..7
  int second = 0;  // of rows 8..15
};

template <Epilogue kEpilogue>
__device__ TileRows RowsOfTile(const SmallBatchParams& p, int tile) {
  if (kEpilogue == Epilogue::kGate) return {8 * tile, p.n / 2 + 8 * tile};
  if (kEpilogue == Epilogue::kRotate) {
    const int half = p.rotate.head_dim / 2;
    const int first = tile / (half / 8) * p.rotate.head_dim + tile % (half / 8) * 8;
    return {first, first + half};
  }
  return {16 * tile, 16 * tile + 8};
}

// The part of W that a warp is about to use.
template <typename T, Epilogue kEpilogue>
struct WeightRing {
  uint32_t words[kDepth][2][4];

  // Asks for chunk `chunk` of a tile, if the tile and the chunk are there.
  __device__ void Load(int slot, const SmallBatchParams& p, int tile, int tiles, int chunk,
                       int end) {
    if (tile >= tiles || chunk >= end) return;
    const int lane = threadIdx.x % kWarp;
    const TileRows rows = RowsOfTile<kEpilogue>(p, tile);
    // Rows behind the last one are read as the last; nobody stores them.
    const int64_t first = min(rows.first + lane / 4, p.n - 1);
    const int64_t second = min(rows.second + lane / 4, p.n - 1);
    const T* column = static_cast<const T*>(p.weight) + chunk * kChunk + lane % 4 * 8;
    LoadOnce(words[slot][0], column + first * p.k, uint4());
    LoadOnce(words[slot][1], column + second * p.k, uint4());
  }
};

// Multiplies 8 numbers of x by the norm's factor and weights.
template <typename T>
__device__ uint4 Normalise(uint4 x, uint4 weight, float factor) {
  uint32_t* words = &x.x;
  const uint32_t* weights = &weight.x;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 value = Pair<T>::Unpack(words[i]);
    const float2 scale = Pair<T>::Unpack(weights[i]);
    words[i] = Pair<T>::Pack(value.x * factor * scale.x, value.y * factor * scale.y);
  }
  return x;
}

// x to shared memory, normalised if there is a norm.
template <typename T>
__device__ void StageInput(const SmallBatchParams& p, char* staged) {
  __shared__ float squares[kMaxSmallBatch][kProductWarps];
  const int warp = threadIdx.x / kWarp;
  const int pieces = p.k / 8;
  for (int row = 0; row < p.batch; ++row) {
    const uint4* from = static_cast<const uint4*>(p.x) + static_cast<int64_t>(row) * pieces;
    uint4* to = reinterpret_cast<uint4*>(staged + row * RowStride(p.k));
    float sum = 0.0f;
    for (int i = threadIdx.x; i < pieces; i += kProductThreads) {
      const uint4 piece = __ldcg(from + i);
      to[i] = piece;
      const uint32_t* words = &piece.x;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float2 value = Pair<T>::Unpack(words[j]);
        sum += value.x * value.x + value.y * value.y;
      }
    }
    if (p.norm_weight == nullptr) continue;
    sum = WarpSum(sum);
    if (threadIdx.x % kWarp == 0) squares[row][warp] = sum;
  }
  __syncthreads();
  if (p.norm_weight == nullptr) return;
  const uint4* weights = static_cast<const uint4*>(p.norm_weight);
  for (int row = 0; row < p.batch; ++row) {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kProductWarps; ++i) sum += squares[row][i];
    const float factor = rsqrtf(sum / static_cast<float>(p.k) + p.epsilon);
    uint4* to = reinterpret_cast<uint4*>(staged + row * RowStride(p.k));
    for (int i = threadIdx.x; i < pieces; i += kProductThreads) {
      to[i] = Normalise<T>(to[i], weights[i], factor);
    }
  }
  __syncthreads();
}

// Results of the tile's rows `row` and `row` + 8 for one row of x to where they belong.
template <typename T, Epilogue kEpilogue>
__device__ void StoreResults(const SmallBatchParams& p, int tile, int row, int column, float first,
                             float second) {
  const TileRows rows = RowsOfTile<kEpilogue>(p, tile);
  const int place[2] = {rows.first + row, rows.second + row};
  float result[2] = {first, second};
  if (p.bias != nullptr) {
    for (int i = 0; i < 2; ++i) {
      if (place[i] < p.n) result[i] += ToFloat(static_cast<const T*>(p.bias)[place[i]]);
    }
  }
  T* out = static_cast<T*>(p.out);
  if (kEpilogue == Epilogue::kGate) {
    out[static_cast<int64_t>(column) * (p.n / 2) + place[0]] =
        FromFloat<T>(Activate(result[0], p.activation) * result[1]);
  } else if (kEpilogue == Epilogue::kRotate) {
    const int head = place[0] / p.rotate.head_dim;
    RotateInto<T>(p.rotate, column, head, place[0] - head * p.rotate.head_dim, result[0],
                  result[1]);
  } else {
    for (int i = 0; i < 2; ++i) {
      if (place[i] >= p.n) continue;
      T* to = out + static_cast<int64_t>(column) * p.n + place[i];
      *to = FromFloat<T>(kEpilogue == Epilogue::kAdd ? ToFloat(*to) + result[i] : result[i]);
    }
  }
}

template <typename T, Epilogue kEpilogue>
__global__ __launch_bounds__(kProductThreads, 2) void SmallBatchKernel(const SmallBatchParams p) {
  extern __shared__ uint4 staged_x[];
  __shared__ float partial[2][kProductWarps][16][kMaxSmallBatch];
  LetSuccessorStart();
  const int warp = threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;
  const int tiles = (p.n + 15) / 16;
  const Share share = ShareOf(p.k, warp);
  const int rounds = (p.k / kChunk + kProductWarps * kDepth - 1) / (kProductWarps * kDepth);

  WeightRing<T, kEpilogue> ring;
#pragma unroll
  for (int i = 0; i < kDepth; ++i) {
    ring.Load(i, p, blockIdx.x, tiles, share.begin + i, share.end);
  }
  WaitForPredecessor();
  StageInput<T>(p, reinterpret_cast<char*>(staged_x));

  const char* x = reinterpret_cast<const char*>(staged_x) + lane / 4 * RowStride(p.k) +
                  lane % 4 * sizeof(uint4);
  const bool has_column = lane / 4 < p.batch;
  int buffer = 0;
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    float sums[2][4] = {};
    for (int round = 0; round < rounds; ++round) {
      const int begin = share.begin + round * kDepth;
      const bool last = round + 1 == rounds;
      const int next_tile = last ? tile + static_cast<int>(gridDim.x) : tile;
      const int next_begin = last ? share.begin : begin + kDepth;
#pragma unroll
      for (int i = 0; i < kDepth; ++i) {
        if (begin + i < share.end) {
          uint4 b = {0, 0, 0, 0};
          if (has_column) {
            b = *reinterpret_cast<const uint4*>(x + (begin + i) * kChunk * sizeof(T));
          }
          const uint32_t* low = ring.words[i][0];
          const uint32_t* high = ring.words[i][1];
          MultiplyAdd<T>(sums[0], low[0], high[0], low[1], high[1], b.x, b.y);
          MultiplyAdd<T>(sums[1], low[2], high[2], low[3], high[3], b.z, b.w);
        }
        ring.Load(i, p, next_tile, tiles, next_begin + i, share.end);
      }
    }
    // The buffers alternate, so that one barrier a tile is enough.
    float(&mine)[16][kMaxSmallBatch] = partial[buffer][warp];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      mine[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2] = sums[0][i] + sums[1][i];
    }
    __syncthreads();
    const int row = threadIdx.x / kMaxSmallBatch;
    const int column = threadIdx.x % kMaxSmallBatch;
    if (row < 8 && column < p.batch) {
      float result[2] = {0.0f, 0.0f};
#pragma unroll
      for (int other = 0; other < kProductWarps; ++other) {
        result[0] += partial[buffer][other][row][column];
        result[1] += partial[buffer][other][row + 8][column];
      }
      StoreResults<T, kEpilogue>(p, tile, row, column, result[0], result[1]);
    }
    buffer ^= 1;
  }
}

template <typename T, Epilogue kEpilogue>
void LaunchSmallBatch(const SmallBatchParams& p, CUstream_st* stream) {
  static const int blocks = 2 * DeviceAttribute(cudaDevAttrMultiProcessorCount);
  const int tiles = (p.n + 15) / 16;
  Launch(SmallBatchKernel<T, kEpilogue>, p, dim3(static_cast<unsigned>(std::min(tiles, blocks))),
         kProductThreads, static_cast<size_t>(p.batch * RowStride(p.k)), stream,
         "small-batch product");
}

template <typename T>
void LaunchEpilogue(const SmallBatchParams& p, CUstream_st* stream) {
  switch (p.epilogue) {
    case Epilogue::kStore:
      return LaunchSmallBatch<T, Epilogue::kStore>(p, stream);
    case Epilogue::kAdd:
      return LaunchSmallBatch<T, Epilogue::kAdd>(p, stream);
    case Epilogue::kGate:
      return LaunchSmallBatch<T, Epilogue::kGate>(p, stream);
    case Epilogue::kRotate:
      return LaunchSmallBatch<T, Epilogue::kRotate>(p, stream);
  }
}

}  // namespace

bool FitsSmallBatch(int64_t batch, int64_t k) {
  return batch <= kMaxSmallBatch && k % kChunk == 0 &&
         batch * RowStride(k) <= static_cast<int64_t>(kMostShared);
}

void SmallBatchProduct(const SmallBatchParams& params, CUstream_st* stream) {
  if (params.type == HalfType::kBfloat16) return LaunchEpilogue<__nv_bfloat16>(params, stream);
  LaunchEpilogue<__half>(params, stream);
}

}  // namespace ckv::kernels
