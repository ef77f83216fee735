// y = x W^T for up to 8 rows of x: bound by reading W once.
//
// W is the first factor of m16n8k16, 16 of its rows at a time, and the rows of x are its 8 columns.
// A warp takes a share of K, 64 at a time, that is whole cache lines of W. They travel to the
// warp's own part of shared memory, kDepth - 1 chunks ahead of their use and across the tiles that
// its block goes through; the first are asked for before the kernel in front has ended. The order
// of k inside a product is free, so that a lane reads 16 bytes at once and then already holds the
// fragments.
//
// Which rows make a tile depends on the epilogue, so that a thread gets what belongs together: gate
// and up of one inner unit, or the two numbers that a rotation mixes.
#include <algorithm>

#include "nn/cuda/common.cuh"

namespace ckv::kernels {
namespace {

constexpr int kProductWarps = 8;
constexpr int kProductThreads = kProductWarps * kWarp;
constexpr int kChunk = 64;  // k of a chunk
constexpr int kHalfChunk = 32;
constexpr int kChunkBytes = 16 * kChunk * 2;  // 16 rows
// Chunks of a warp in shared memory: for few rows of x, which leave room for them, and for many.
constexpr int kDeep = 6;
constexpr int kShallow = 4;
constexpr int kFewRows = 2;
constexpr int64_t kMostShared = 216 * 1024;

// Bytes between rows of x in shared memory: the 8 lanes that read 16 bytes each at once, 4 in each
// of two rows, must meet all banks.
__host__ __device__ constexpr int64_t RowStride(int64_t k) {
  return 2 * k + (k % 64 == 0 ? 64 : 0);
}

// The chunks of K of a warp. The last chunk of K may be half one.
struct Share {
  int begin = 0;
  int end = 0;
};

__device__ Share ShareOf(int k, int warp) {
  const int chunks = (k + kChunk - 1) / kChunk;
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

// Where piece `piece` of row `row` lies in a chunk: the lanes that read at once read 4 pieces of 2
// rows, which must lie in different banks.
__device__ int WeightPlace(int row, int piece) { return (row * 8 + (piece ^ (row & 1) * 4)) * 16; }

// The weights of a warp on their way: goes through its share of tile after tile, a chunk a call.
template <typename T, Epilogue kEpilogue, int kDepth>
struct WeightStream {
  char* ring;  // [kDepth, 16 rows, 8 pieces of 16 bytes]
  Share share;
  int tile, tiles, chunk;
  int slot = 0;

  // Asks for the next chunk, if there is one; always ends a group of copies.
  __device__ void Fetch(const SmallBatchParams& p) {
    if (tile < tiles && share.begin < share.end) {
      const int lane = threadIdx.x % kWarp;
      const int piece = lane % 8;
      const TileRows rows = RowsOfTile<kEpilogue>(p, tile);
      const T* column = static_cast<const T*>(p.weight) + chunk * kChunk + piece * 8;
      const bool there = chunk * kChunk + piece * 8 < p.k;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = lane / 8 + 4 * i;
        // Rows behind the last one are read as the last; nobody stores them.
        const int64_t source = min((i < 2 ? rows.first : rows.second - 8) + row, p.n - 1);
        if (there) {
          CopyAsync(ring + slot * kChunkBytes + WeightPlace(row, piece), column + source * p.k);
        }
      }
      if (++chunk == share.end) {
        chunk = share.begin;
        tile += gridDim.x;
      }
    }
    EndCopyGroup();
    slot = (slot + 1) % kDepth;
  }
};

// sums += 32 of a chunk's k, from piece `piece` on, times x (a lane's 16 bytes of it).
template <typename T>
__device__ void MultiplyHalfChunk(float (&sums)[2][4], const char* chunk, int piece, uint4 x) {
  const int lane = threadIdx.x % kWarp;
  const uint4 low =
      *reinterpret_cast<const uint4*>(chunk + WeightPlace(lane / 4, piece + lane % 4));
  const uint4 high =
      *reinterpret_cast<const uint4*>(chunk + WeightPlace(lane / 4 + 8, piece + lane % 4));
  MultiplyAdd<T>(sums[0], low.x, high.x, low.y, high.y, x.x, x.y);
  MultiplyAdd<T>(sums[1], low.z, high.z, low.w, high.w, x.z, x.w);
}

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

// How the warps share the rows of x: each row has as many as there are for all.
struct InputShare {
  int warps_per_row;
  int row;    // of this warp, or behind the last one
  int first;  // piece of 16 bytes that this thread begins with
  int step;
};

__device__ InputShare ShareInput(int batch) {
  const int warps_per_row = batch == 1 ? 8 : batch == 2 ? 4 : batch <= 4 ? 2 : 1;
  const int warp = threadIdx.x / kWarp;
  return {warps_per_row, warp / warps_per_row,
          static_cast<int>(warp % warps_per_row * kWarp + threadIdx.x % kWarp),
          warps_per_row * kWarp};
}

template <typename T>
__device__ float SumOfSquares(uint4 piece) {
  const uint32_t* words = &piece.x;
  float sum = 0.0f;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const float2 value = Pair<T>::Unpack(words[j]);
    sum += value.x * value.x + value.y * value.y;
  }
  return sum;
}

// Copies the thread's part of x to shared memory, many loads at once; returns its sum of squares.
template <typename T>
__device__ float CopyInput(const uint4* from, uint4* to, const InputShare& share, int pieces) {
  constexpr int kAtOnce = 8;
  float sum = 0.0f;
  for (int i = share.first; i < pieces; i += kAtOnce * share.step) {
    uint4 piece[kAtOnce];
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      if (i + j * share.step < pieces) piece[j] = __ldcg(from + i + j * share.step);
    }
#pragma unroll
    for (int j = 0; j < kAtOnce; ++j) {
      if (i + j * share.step >= pieces) break;
      to[i + j * share.step] = piece[j];
      sum += SumOfSquares<T>(piece[j]);
    }
  }
  return sum;
}

__device__ int NormBytes(const SmallBatchParams& p) {
  return p.norm_weight != nullptr ? 2 * p.k : 0;
}

// Asks for the norm's weights, as a group of copies.
__device__ void StageNorm(const SmallBatchParams& p, char* staged) {
  const uint4* weights = static_cast<const uint4*>(p.norm_weight);
  for (int i = threadIdx.x; i * 16 < NormBytes(p); i += kProductThreads) {
    CopyAsync(staged + 16 * i, weights + i);
  }
  EndCopyGroup();
}

// x to shared memory, normalised if there is a norm, whose weights have arrived for this thread.
template <typename T>
__device__ void StageInput(const SmallBatchParams& p, const char* staged_norm, char* staged) {
  __shared__ float squares[kProductWarps];
  const int pieces = p.k / 8;
  const InputShare share = ShareInput(p.batch);
  const bool has_row = share.row < p.batch;
  uint4* to = reinterpret_cast<uint4*>(staged + share.row * RowStride(p.k));
  if (has_row) {
    const uint4* from = static_cast<const uint4*>(p.x) + static_cast<int64_t>(share.row) * pieces;
    const float sum = WarpSum(CopyInput<T>(from, to, share, pieces));
    if (threadIdx.x % kWarp == 0) squares[threadIdx.x / kWarp] = sum;
  }
  __syncthreads();
  if (p.norm_weight == nullptr) return;
  if (has_row) {
    float sum = 0.0f;
    for (int i = 0; i < share.warps_per_row; ++i) {
      sum += squares[share.row * share.warps_per_row + i];
    }
    const float factor = rsqrtf(sum / static_cast<float>(p.k) + p.epsilon);
    const uint4* weights = reinterpret_cast<const uint4*>(staged_norm);
    for (int i = share.first; i < pieces; i += share.step) {
      to[i] = Normalise<T>(to[i], weights[i], factor);
    }
  }
  __syncthreads();
}

// A thread's place in a tile's results: rows `row` and `row` + 8 of the tile for one row of x, and
// what their epilogue reads, asked for before the sums are there.
template <typename T, Epilogue kEpilogue>
struct ResultPlace {
  int place[2];  // rows of W
  int column;
  float added[2] = {0.0f, 0.0f};  // bias and residual
  Rotation rotation;
  int head;
  int element;

  __device__ ResultPlace(const SmallBatchParams& p, int tile, int row, int x_row) : column(x_row) {
    const TileRows rows = RowsOfTile<kEpilogue>(p, tile);
    place[0] = rows.first + row;
    place[1] = rows.second + row;
    for (int i = 0; i < 2; ++i) {
      if (place[i] >= p.n) continue;
      if (p.bias != nullptr) added[i] = ToFloat(static_cast<const T*>(p.bias)[place[i]]);
      if (kEpilogue == Epilogue::kAdd) added[i] += ToFloat(Out(p)[i == 0 ? 0 : 8]);
    }
    if (kEpilogue == Epilogue::kRotate) {
      head = place[0] / p.rotate.head_dim;
      element = place[0] - head * p.rotate.head_dim;
      rotation = FindRotation(p.rotate, column, head, element);
    }
  }

  // The first of the two results, of kStore and kAdd.
  __device__ T* Out(const SmallBatchParams& p) const {
    return static_cast<T*>(p.out) + static_cast<int64_t>(column) * p.n + place[0];
  }

  __device__ void Store(const SmallBatchParams& p, float first, float second) const {
    first += added[0];
    second += added[1];
    if (kEpilogue == Epilogue::kGate) {
      static_cast<T*>(p.out)[static_cast<int64_t>(column) * (p.n / 2) + place[0]] =
          FromFloat<T>(Activate(first, p.activation) * second);
    } else if (kEpilogue == Epilogue::kRotate) {
      RotateInto<T>(p.rotate, column, head, element, rotation, first, second);
    } else {
      if (place[0] < p.n) Out(p)[0] = FromFloat<T>(first);
      if (place[1] < p.n) Out(p)[8] = FromFloat<T>(second);
    }
  }
};

// The warp's part of a tile's results: adds up its share of K.
template <typename T, Epilogue kEpilogue, int kDepth>
__device__ void SumShare(const SmallBatchParams& p, WeightStream<T, kEpilogue, kDepth>& stream,
                         const char* staged_x, float (&sums)[2][4]) {
  const int lane = threadIdx.x % kWarp;
  const char* x = staged_x + lane / 4 * RowStride(p.k) + lane % 4 * sizeof(uint4);
  const bool has_column = lane / 4 < p.batch;
  for (int chunk = stream.share.begin; chunk < stream.share.end; ++chunk) {
    // The oldest of kDepth - 1 chunks on their way.
    const char* weights = stream.ring + (stream.slot + 1) % kDepth * kChunkBytes;
    WaitForCopies<kDepth - 2>();
    for (int half = 0; half < 2; ++half) {
      const int k = chunk * kChunk + half * kHalfChunk;
      if (k >= p.k) break;
      uint4 b = {0, 0, 0, 0};
      if (has_column) b = *reinterpret_cast<const uint4*>(x + k * sizeof(T));
      MultiplyHalfChunk<T>(sums, weights, 4 * half, b);
    }
    // Into the slot of the chunk before, which every lane has read.
    stream.Fetch(p);
  }
}

template <typename T, Epilogue kEpilogue, int kDepth>
__global__ __launch_bounds__(kProductThreads, 2) void SmallBatchKernel(const SmallBatchParams p) {
  extern __shared__ uint4 shared[];
  __shared__ float partial[2][kProductWarps][16][kMaxSmallBatch];
  LetSuccessorStart();
  const int warp = threadIdx.x / kWarp;
  const int lane = threadIdx.x % kWarp;
  const int tiles = (p.n + 15) / 16;
  const Share share = ShareOf(p.k, warp);
  char* memory = reinterpret_cast<char*>(shared);
  char* staged_norm = memory + kProductWarps * kDepth * kChunkBytes;
  char* staged_x = staged_norm + NormBytes(p);

  StageNorm(p, staged_norm);
  WeightStream<T, kEpilogue, kDepth> stream = {memory + warp * kDepth * kChunkBytes, share,
                                               static_cast<int>(blockIdx.x), tiles, share.begin};
  for (int i = 0; i < kDepth - 1; ++i) stream.Fetch(p);
  WaitForPredecessor();
  // The norm's weights are the oldest group of copies.
  WaitForCopies<kDepth - 1>();
  StageInput<T>(p, staged_norm, staged_x);

  const int row = threadIdx.x / kMaxSmallBatch;
  const int column = threadIdx.x % kMaxSmallBatch;
  const bool stores = row < 8 && column < p.batch;
  int buffer = 0;
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const ResultPlace<T, kEpilogue> place(p, tile, stores ? row : 0, stores ? column : 0);
    float sums[2][4] = {};
    SumShare(p, stream, staged_x, sums);
    // The buffers alternate, so that one barrier a tile is enough.
    float(&mine)[16][kMaxSmallBatch] = partial[buffer][warp];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      mine[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2] = sums[0][i] + sums[1][i];
    }
    __syncthreads();
    if (stores) {
      float result[2] = {0.0f, 0.0f};
#pragma unroll
      for (int other = 0; other < kProductWarps; ++other) {
        result[0] += partial[buffer][other][row][column];
        result[1] += partial[buffer][other][row + 8][column];
      }
      place.Store(p, result[0], result[1]);
    }
    buffer ^= 1;
  }
}

int64_t SharedBytes(int64_t batch, int64_t k, bool norm, int depth) {
  return kProductWarps * depth * kChunkBytes + (norm ? 2 * k : 0) + batch * RowStride(k);
}

template <typename T, Epilogue kEpilogue, int kDepth>
void LaunchDepth(const SmallBatchParams& p, CUstream_st* stream) {
  static const int blocks = 2 * DeviceAttribute(cudaDevAttrMultiProcessorCount);
  const int tiles = (p.n + 15) / 16;
  const int64_t shared = SharedBytes(p.batch, p.k, p.norm_weight != nullptr, kDepth);
  Launch(SmallBatchKernel<T, kEpilogue, kDepth>, p,
         dim3(static_cast<unsigned>(std::min(tiles, blocks))), kProductThreads,
         static_cast<size_t>(shared), stream, "small-batch product");
}

template <typename T, Epilogue kEpilogue>
void LaunchSmallBatch(const SmallBatchParams& p, CUstream_st* stream) {
  if (p.batch <= kFewRows && SharedBytes(p.batch, p.k, true, kDeep) <= kMostShared) {
    return LaunchDepth<T, kEpilogue, kDeep>(p, stream);
  }
  LaunchDepth<T, kEpilogue, kShallow>(p, stream);
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
  return batch <= kMaxSmallBatch && k % kHalfChunk == 0 &&
         SharedBytes(batch, k, true, kShallow) <= kMostShared;
}

void SmallBatchProduct(const SmallBatchParams& params, CUstream_st* stream) {
  if (params.type == HalfType::kBfloat16) return LaunchEpilogue<__nv_bfloat16>(params, stream);
  LaunchEpilogue<__half>(params, stream);
}

}  // namespace ckv::kernels
