// y = x W^T for 9 to 64 rows of x: bound by reading W, which must be read once and by all
// multiprocessors alike, however few rows W has.
//
// A cluster of blocks shares a tile of 128 rows of W, a block a part of K. W is the first factor of
// the tensor cores' product of four warps (wgmma), the rows of x are its columns. Both travel
// through shared memory in chunks of 64 k, kStages - 1 of them ahead of their use; those of W are
// asked for before the kernel in front has ended. At the end each block adds up some columns of all
// blocks' sums (distributed shared memory), always in the same order.
//
// A tile is 64 pairs of rows, so that a thread of the epilogue gets what belongs together: gate and
// up of one inner unit, or the two numbers that a rotation mixes.
#include <cooperative_groups.h>

#include <algorithm>
#include <type_traits>

#include "nn/cuda/common.cuh"

namespace ckv::kernels {
namespace {

namespace cg = cooperative_groups;

constexpr int kMediumThreads = 256;
constexpr int kPairs = 64;  // of a tile
constexpr int kTileRows = 2 * kPairs;
constexpr int kMediumChunk = 64;                            // k of a chunk
constexpr int kMediumPieces = kMediumChunk / 8;             // of 16 bytes in a row of a chunk
constexpr int kWeightBytes = kTileRows * kMediumChunk * 2;  // of a chunk
constexpr int kStages = 4;
constexpr int kMostSplit = 8;              // blocks of a cluster, on every device with clusters
constexpr int kSumStride = kTileRows + 4;  // so that a warp's stores meet all banks

__host__ __device__ constexpr int StageBytes(int columns) {
  return kWeightBytes + columns * kMediumChunk * 2;
}
constexpr int SharedOf(int columns) {
  return std::max(kStages * StageBytes(columns), columns * kSumStride * 4) + 1024;
}

// Rows of W of pair `pair`, counted through all tiles; may lie behind the last row.
template <Epilogue kEpilogue>
__device__ int2 RowsOfPair(const SmallBatchParams& p, int pair) {
  if (kEpilogue == Epilogue::kGate) return make_int2(pair, p.n / 2 + pair);
  if (kEpilogue == Epilogue::kRotate) {
    const int half = p.rotate.head_dim / 2;
    const int first = pair / half * p.rotate.head_dim + pair % half;
    return make_int2(first, first + half);
  }
  const int first = pair / kPairs * kTileRows + pair % kPairs;
  return make_int2(first, first + kPairs);
}

// Where a piece of 16 bytes of a row lies in a chunk: 8 rows of one piece meet all banks.
__device__ int PlaceOfPiece(int row, int piece) {
  return row * (kMediumChunk * 2) + ((piece ^ (row & 7)) * 16);
}

// A tile of 16-bit numbers in shared memory, rows of 128 bytes in the places of PlaceOfPiece, as
// the tensor cores are told of it; 8 rows lie 1024 bytes behind one another.
__device__ uint64_t TileDescriptor(const char* tile) {
  const auto from = static_cast<uint32_t>(__cvta_generic_to_shared(tile));
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  constexpr uint64_t kStride = uint64_t{1024 >> 4} << 32;
  constexpr uint64_t kUnused = uint64_t{1} << 16;
  return kSwizzle128 | kStride | kUnused | ((from & 0x3ffff) >> 4);
}

#define CKV_SUM4(i) "+f"(d[i][0]), "+f"(d[i][1]), "+f"(d[i][2]), "+f"(d[i][3])
#define CKV_SUM16(i) CKV_SUM4(i), CKV_SUM4(i + 1), CKV_SUM4(i + 2), CKV_SUM4(i + 3)

#define CKV_WGMMA_16(type)                                        \
  asm volatile(                                                   \
      "{.reg .pred p; setp.ne.b32 p, 1, 0; "                      \
      "wgmma.mma_async.sync.aligned.m64n16k16.f32." type "." type \
      " {"                                                        \
      "%0, %1, %2, %3, %4, %5, %6, %7"                            \
      "}, %8, %9, p, 1, 1, 0, 0;}"                                \
      : CKV_SUM4(0), CKV_SUM4(1)                                  \
      : "l"(a), "l"(b))
#define CKV_WGMMA_32(type)                                                   \
  asm volatile(                                                              \
      "{.reg .pred p; setp.ne.b32 p, 1, 0; "                                 \
      "wgmma.mma_async.sync.aligned.m64n32k16.f32." type "." type            \
      " {"                                                                   \
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15" \
      "}, %16, %17, p, 1, 1, 0, 0;}"                                         \
      : CKV_SUM16(0)                                                         \
      : "l"(a), "l"(b))
#define CKV_WGMMA_64(type)                                                             \
  asm volatile(                                                                        \
      "{.reg .pred p; setp.ne.b32 p, 1, 0; "                                           \
      "wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type                      \
      " {"                                                                             \
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "         \
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31" \
      "}, %32, %33, p, 1, 1, 0, 0;}"                                                   \
      : CKV_SUM16(0), CKV_SUM16(4)                                                     \
      : "l"(a), "l"(b))

// d [64, kColumns] += 16 k of both tiles; four warps together.
template <typename T, int kColumns>
__device__ void MultiplyTiles(float (&d)[kColumns / 8][4], uint64_t a, uint64_t b) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  constexpr bool kBfloat = std::is_same<T, __nv_bfloat16>::value;
  if constexpr (kColumns == 16) {
    if constexpr (kBfloat) {
      CKV_WGMMA_16("bf16");
    } else {
      CKV_WGMMA_16("f16");
    }
  } else if constexpr (kColumns == 32) {
    if constexpr (kBfloat) {
      CKV_WGMMA_32("bf16");
    } else {
      CKV_WGMMA_32("f16");
    }
  } else {
    static_assert(kColumns == 64, "as many columns as there are instructions for");
    if constexpr (kBfloat) {
      CKV_WGMMA_64("bf16");
    } else {
      CKV_WGMMA_64("f16");
    }
  }
#else
  static_cast<void>(d);
  static_cast<void>(a);
  static_cast<void>(b);
#endif
}

#undef CKV_WGMMA_16
#undef CKV_WGMMA_32
#undef CKV_WGMMA_64
#undef CKV_SUM16
#undef CKV_SUM4

// The block's part of the copies from global memory.
template <typename T, Epilogue kEpilogue, int kColumns>
struct MediumStream {
  static constexpr int kWeightPieces = kTileRows * kMediumPieces / kMediumThreads;  // of a thread
  static constexpr int kInputPieces =
      (kColumns * kMediumPieces + kMediumThreads - 1) / kMediumThreads;

  const char* weights[kWeightPieces];  // of chunk 0
  const char* inputs[kInputPieces];
  int weight_place[kWeightPieces];
  int input_place[kInputPieces];

  __device__ MediumStream(const SmallBatchParams& p, int tile) {
#pragma unroll
    for (int i = 0; i < kWeightPieces; ++i) {
      const int item = i * kMediumThreads + threadIdx.x;
      const int row = item / kMediumPieces;
      const int2 rows = RowsOfPair<kEpilogue>(p, tile * kPairs + row % kPairs);
      // Rows behind the last one are read as the last; nobody stores them.
      const int64_t source = min(row < kPairs ? rows.x : rows.y, p.n - 1);
      weights[i] = static_cast<const char*>(p.weight) +
                   (source * p.k + item % kMediumPieces * 8) * static_cast<int64_t>(sizeof(T));
      weight_place[i] = PlaceOfPiece(row, item % kMediumPieces);
    }
#pragma unroll
    for (int i = 0; i < kInputPieces; ++i) {
      const int item = i * kMediumThreads + threadIdx.x;
      const int row = item / kMediumPieces;
      const int64_t source = min(row, p.batch - 1);
      inputs[i] = static_cast<const char*>(p.x) +
                  (source * p.k + item % kMediumPieces * 8) * static_cast<int64_t>(sizeof(T));
      input_place[i] = row < kColumns ? PlaceOfPiece(row, item % kMediumPieces) : -1;
    }
  }

  __device__ void FetchWeights(char* stage, int chunk) const {
#pragma unroll
    for (int i = 0; i < kWeightPieces; ++i) {
      CopyAsync(stage + weight_place[i], weights[i] + chunk * (kMediumChunk * 2));
    }
  }
  __device__ void FetchInputs(char* stage, int chunk) const {
#pragma unroll
    for (int i = 0; i < kInputPieces; ++i) {
      if (input_place[i] < 0) continue;
      CopyAsync(stage + kWeightBytes + input_place[i], inputs[i] + chunk * (kMediumChunk * 2));
    }
  }
};

// sums += the part of four warps, 64 rows of W, of a chunk. Queues the work; SumsAreThere waits.
template <typename T, int kColumns>
__device__ void MultiplyChunk(const char* stage, float (&sums)[kColumns / 8][4]) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  const uint64_t weights = TileDescriptor(stage + threadIdx.x / 128 * 64 * kMediumChunk * 2);
  const uint64_t inputs = TileDescriptor(stage + kWeightBytes);
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
  for (int k = 0; k < kMediumChunk / 16; ++k) {
    // 16 numbers further in each row, in units of 16 bytes.
    MultiplyTiles<T, kColumns>(sums, weights + 2 * k, inputs + 2 * k);
  }
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#else
  static_cast<void>(stage);
  static_cast<void>(sums);
#endif
}

template <int kBlocks>
__device__ void SumsAreThere(float (&sums)[kBlocks][4]) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
#pragma unroll
  for (int j = 0; j < kBlocks; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) asm volatile("" : "+f"(sums[j][i])::"memory");
  }
#else
  static_cast<void>(sums);
#endif
}

// The block's sums as [columns, kSumStride] in shared memory.
template <int kColumns>
__device__ void StoreSums(float* to, const float (&sums)[kColumns / 8][4]) {
  const int row = threadIdx.x / kWarp * 16 + threadIdx.x % kWarp / 4;
  const int column = threadIdx.x % 4 * 2;
#pragma unroll
  for (int j = 0; j < kColumns / 8; ++j) {
#pragma unroll
    for (int part = 0; part < 4; ++part) {
      to[(column + j * 8 + part % 2) * kSumStride + row + part / 2 * 8] = sums[j][part];
    }
  }
}

// What becomes of the two sums of a pair for one row of x, and what that needs, asked for before
// the sums are there.
template <typename T, Epilogue kEpilogue>
struct PairPlace {
  int2 rows;
  int column;
  bool has_first;
  bool has_second;
  float added[2];  // bias and residual
  Rotation rotation;

  __device__ void Find(const SmallBatchParams& p, int pair, int x_row) {
    column = x_row;
    rows = RowsOfPair<kEpilogue>(p, pair);
    const bool there = column < p.batch;
    has_first = there && rows.x < p.n;
    has_second = there && rows.y < p.n;
    added[0] = added[1] = 0.0f;
    const T* bias = static_cast<const T*>(p.bias);
    if (bias != nullptr) {
      if (has_first) added[0] = ToFloat(bias[rows.x]);
      if (has_second) added[1] = ToFloat(bias[rows.y]);
    }
    if (kEpilogue == Epilogue::kAdd) {
      if (has_first) added[0] += ToFloat(Out(p)[rows.x]);
      if (has_second) added[1] += ToFloat(Out(p)[rows.y]);
    }
    if (kEpilogue == Epilogue::kRotate && has_second) {
      rotation = FindRotation(p.rotate, column, Head(p), rows.x - Head(p) * p.rotate.head_dim);
    }
  }

  __device__ int Head(const SmallBatchParams& p) const { return rows.x / p.rotate.head_dim; }
  __device__ T* Out(const SmallBatchParams& p) const {
    return static_cast<T*>(p.out) +
           static_cast<int64_t>(column) * (kEpilogue == Epilogue::kGate ? p.n / 2 : p.n);
  }

  __device__ void Store(const SmallBatchParams& p, float first, float second) const {
    first += added[0];
    second += added[1];
    if (kEpilogue == Epilogue::kGate) {
      if (has_second) Out(p)[rows.x] = FromFloat<T>(Activate(first, p.activation) * second);
    } else if (kEpilogue == Epilogue::kRotate) {
      if (!has_second) return;
      RotateInto<T>(p.rotate, column, Head(p), rows.x - Head(p) * p.rotate.head_dim, rotation,
                    first, second);
    } else {
      if (has_first) Out(p)[rows.x] = FromFloat<T>(first);
      if (has_second) Out(p)[rows.y] = FromFloat<T>(second);
    }
  }
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// The last part: a block takes every kSplit-th column of a tile, a thread a pair. All loads of a
// batch of pairs are asked for at once.
template <typename T, Epilogue kEpilogue, int kColumns, int kSplit>
__device__ void AddAndStore(const SmallBatchParams& p, float* partial, int tile) {
  constexpr int kItems = (kPairs * kColumns + kSplit - 1) / kSplit;  // of the block
  constexpr int kEach = (kItems + kMediumThreads - 1) / kMediumThreads;
  constexpr int kAtOnce = kEach < 4 ? kEach : 4;
  const cg::cluster_group cluster = cg::this_cluster();
  const int rank = static_cast<int>(cluster.block_rank());
  const float* parts[kSplit];
#pragma unroll
  for (int other = 0; other < kSplit; ++other) {
    parts[other] = cluster.map_shared_rank(partial, other);
  }
  const int pair = threadIdx.x % kPairs;
  // Column of the thread's item; those behind the last are like those behind the batch.
  const auto column = [&](int i) {
    return (i * kMediumThreads + static_cast<int>(threadIdx.x)) / kPairs * kSplit + rank;
  };
  PairPlace<T, kEpilogue> places[kAtOnce];
#pragma unroll
  for (int i = 0; i < kAtOnce; ++i) places[i].Find(p, tile * kPairs + pair, column(i));
  cluster.sync();
  for (int from = 0; from < kEach; from += kAtOnce) {
    float2 sums[kAtOnce][kSplit];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int place = min(column(from + i), kColumns - 1) * kSumStride + pair;
#pragma unroll
      for (int other = 0; other < kSplit; ++other) {
        sums[i][other] = make_float2(parts[other][place], parts[other][place + kPairs]);
      }
    }
    if (from > 0) {
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) places[i].Find(p, tile * kPairs + pair, column(from + i));
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      float2 sum = sums[i][0];
#pragma unroll
      for (int other = 1; other < kSplit; ++other) {
        sum.x += sums[i][other].x;
        sum.y += sums[i][other].y;
      }
      places[i].Store(p, sum.x, sum.y);
    }
  }
  // Others may still read this block's sums.
  cluster.sync();
}

#endif

template <typename T, Epilogue kEpilogue, int kColumns, int kSplit>
__global__ __launch_bounds__(kMediumThreads, 2) void MediumBatchKernel(const SmallBatchParams p) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ uint4 medium_shared[];
  // Tiles begin at multiples of 1024 bytes.
  const auto start = static_cast<uint32_t>(__cvta_generic_to_shared(medium_shared));
  char* memory = reinterpret_cast<char*>(medium_shared) + (1024 - start % 1024) % 1024;
  LetSuccessorStart();
  const int rank = static_cast<int>(cg::this_cluster().block_rank());
  const int tile = blockIdx.x / kSplit;
  const int chunks = p.k / kMediumChunk;
  const int begin = chunks * rank / kSplit;
  const int count = chunks * (rank + 1) / kSplit - begin;
  const MediumStream<T, kEpilogue, kColumns> stream(p, tile);
  const auto stage = [&](int i) { return memory + i % kStages * StageBytes(kColumns); };

  for (int i = 0; i < kStages - 1; ++i) {
    if (i < count) stream.FetchWeights(stage(i), begin + i);
  }
  EndCopyGroup();
  WaitForPredecessor();
  for (int i = 0; i < kStages - 1; ++i) {
    if (i < count) stream.FetchInputs(stage(i), begin + i);
    EndCopyGroup();
  }
  float sums[kColumns / 8][4] = {};
  for (int i = 0; i < count; ++i) {
    WaitForCopies<kStages - 2>();
    // What this thread has copied is the tensor cores' to read.
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    // The chunk has arrived for all threads, and the one before has been multiplied.
    __syncthreads();
    MultiplyChunk<T, kColumns>(stage(i), sums);
    const int next = i + kStages - 1;
    if (next < count) {
      stream.FetchWeights(stage(next), begin + next);
      stream.FetchInputs(stage(next), begin + next);
    }
    EndCopyGroup();
    SumsAreThere(sums);
  }
  __syncthreads();
  float* partial = reinterpret_cast<float*>(memory);
  StoreSums<kColumns>(partial, sums);
  AddAndStore<T, kEpilogue, kColumns, kSplit>(p, partial, tile);
#else
  static_cast<void>(p);
#endif
}

// Pairs that a product has; those behind the last row of W included.
int PairsOf(const SmallBatchParams& p) {
  return p.epilogue == Epilogue::kGate || p.epilogue == Epilogue::kRotate
             ? p.n / 2
             : (p.n + kTileRows - 1) / kTileRows * kPairs;
}

// Blocks that share a tile: as many as give every multiprocessor its work in one go. A power of
// two, of which as many fit into a group of multiprocessors as single blocks do.
int SplitOf(int tiles, int chunks, int blocks_at_once) {
  const int most = std::min({blocks_at_once / tiles, chunks / 2, kMostSplit});
  int split = 1;
  while (2 * split <= most) split *= 2;
  return split;
}

template <typename T, Epilogue kEpilogue, int kColumns, int kSplit>
void LaunchSplit(const SmallBatchParams& p, int tiles, CUstream_st* stream) {
  auto* kernel = MediumBatchKernel<T, kEpilogue, kColumns, kSplit>;
  const int shared = SharedOf(kColumns);
  CheckCuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared),
            "medium-batch product");
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim.x = kSplit;
  attributes[1].val.clusterDim.y = 1;
  attributes[1].val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(tiles * kSplit));
  config.blockDim = dim3(kMediumThreads);
  config.dynamicSmemBytes = static_cast<size_t>(shared);
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = 2;
  CheckCuda(cudaLaunchKernelEx(&config, kernel, p), "medium-batch product");
}

template <typename T, Epilogue kEpilogue, int kColumns>
void LaunchColumns(const SmallBatchParams& p, CUstream_st* stream) {
  static const int processors = DeviceAttribute(cudaDevAttrMultiProcessorCount);
  const int tiles = (PairsOf(p) + kPairs - 1) / kPairs;
  switch (SplitOf(tiles, p.k / kMediumChunk, 2 * processors)) {
    case 8:
      return LaunchSplit<T, kEpilogue, kColumns, 8>(p, tiles, stream);
    case 4:
      return LaunchSplit<T, kEpilogue, kColumns, 4>(p, tiles, stream);
    case 2:
      return LaunchSplit<T, kEpilogue, kColumns, 2>(p, tiles, stream);
    default:
      return LaunchSplit<T, kEpilogue, kColumns, 1>(p, tiles, stream);
  }
}

template <typename T, Epilogue kEpilogue>
void LaunchMedium(const SmallBatchParams& p, CUstream_st* stream) {
  if (p.batch <= 16) return LaunchColumns<T, kEpilogue, 16>(p, stream);
  if (p.batch <= 32) return LaunchColumns<T, kEpilogue, 32>(p, stream);
  LaunchColumns<T, kEpilogue, 64>(p, stream);
}

template <typename T>
void LaunchMediumEpilogue(const SmallBatchParams& p, CUstream_st* stream) {
  switch (p.epilogue) {
    case Epilogue::kStore:
      return LaunchMedium<T, Epilogue::kStore>(p, stream);
    case Epilogue::kAdd:
      return LaunchMedium<T, Epilogue::kAdd>(p, stream);
    case Epilogue::kGate:
      return LaunchMedium<T, Epilogue::kGate>(p, stream);
    case Epilogue::kRotate:
      return LaunchMedium<T, Epilogue::kRotate>(p, stream);
  }
}

}  // namespace

bool FitsMediumBatch(int64_t batch, int64_t k) {
#ifdef CKV_HAVE_WGMMA
  static const bool hopper = DeviceAttribute(cudaDevAttrComputeCapabilityMajor) == 9 &&
                             DeviceAttribute(cudaDevAttrComputeCapabilityMinor) == 0;
  return hopper && batch > kMaxSmallBatch && batch <= kMaxMediumBatch && k % kMediumChunk == 0;
#else
  static_cast<void>(batch);
  static_cast<void>(k);
  return false;
#endif
}

void MediumBatchProduct(const SmallBatchParams& params, CUstream_st* stream) {
  if (params.type == HalfType::kBfloat16) {
    return LaunchMediumEpilogue<__nv_bfloat16>(params, stream);
  }
  LaunchMediumEpilogue<__half>(params, stream);
}

}  // namespace ckv::kernels
