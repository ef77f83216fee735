// The small kernels between the matrix products of a decode step, for batches whose products are
// LibTorch's.
#include <algorithm>

#include "nn/cuda/common.cuh"

namespace ckv::kernels {
namespace {

constexpr int kOpThreads = 256;
constexpr int kOpWarps = kOpThreads / kWarp;
constexpr int kGreedyThreads = 1024;

// Sum over the block, in every thread. `shared` has room for a number a warp.
__device__ float BlockSum(float x, float* shared) {
  x = WarpSum(x);
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = x;
  __syncthreads();
  float sum = 0.0f;
  for (int i = 0; i < static_cast<int>(blockDim.x) / kWarp; ++i) sum += shared[i];
  return sum;
}

// A block a row.
template <typename T>
__global__ __launch_bounds__(kOpThreads) void RmsNormKernel(const RmsNormParams p) {
  __shared__ float shared[kOpWarps];
  LetSuccessorStart();
  WaitForPredecessor();
  const int words = p.width / 2;
  const uint32_t* x = static_cast<const uint32_t*>(p.x) + static_cast<int64_t>(blockIdx.x) * words;
  const uint32_t* weight = static_cast<const uint32_t*>(p.weight);
  uint32_t* out = static_cast<uint32_t*>(p.out) + static_cast<int64_t>(blockIdx.x) * words;
  float sum = 0.0f;
  for (int i = threadIdx.x; i < words; i += kOpThreads) {
    const float2 value = Pair<T>::Unpack(x[i]);
    sum += value.x * value.x + value.y * value.y;
  }
  const float factor = rsqrtf(BlockSum(sum, shared) / static_cast<float>(p.width) + p.epsilon);
  for (int i = threadIdx.x; i < words; i += kOpThreads) {
    const float2 value = Pair<T>::Unpack(x[i]);
    const float2 scale = Pair<T>::Unpack(weight[i]);
    out[i] = Pair<T>::Pack(value.x * factor * scale.x, value.y * factor * scale.y);
  }
}

// A block a row of the batch and 8 heads, a warp a head.
template <typename T>
__global__ __launch_bounds__(kOpThreads) void RotateAndStoreKernel(const RotateStoreParams p) {
  LetSuccessorStart();
  WaitForPredecessor();
  const RotateParams& r = p.rotate;
  const int all_heads =
      r.heads + (r.keys != nullptr ? r.kv_heads : 0) + (r.values != nullptr ? r.kv_heads : 0);
  const int head = blockIdx.x * kOpWarps + threadIdx.x / kWarp;
  if (head >= all_heads) return;
  const T* from = static_cast<const T*>(p.packed) +
                  (static_cast<int64_t>(blockIdx.y) * all_heads + head) * r.head_dim;
  const int half = r.head_dim / 2;
  for (int i = threadIdx.x % kWarp; i < half; i += kWarp) {
    RotateInto<T>(r, blockIdx.y, head, i, FindRotation(r, blockIdx.y, head, i), ToFloat(from[i]),
                  ToFloat(from[i + half]));
  }
}

template <typename T>
__global__ __launch_bounds__(kOpThreads) void GateKernel(const GateParams p) {
  LetSuccessorStart();
  WaitForPredecessor();
  const int words = p.width / 2;
  const int64_t row = blockIdx.y;
  const int i = blockIdx.x * kOpThreads + threadIdx.x;
  if (i >= words) return;
  const uint32_t* packed = static_cast<const uint32_t*>(p.packed) + row * 2 * words;
  const float2 gate = Pair<T>::Unpack(packed[i]);
  const float2 up = Pair<T>::Unpack(packed[words + i]);
  static_cast<uint32_t*>(p.out)[row * words + i] =
      Pair<T>::Pack(Activate(gate.x, p.activation) * up.x, Activate(gate.y, p.activation) * up.y);
}

// The largest logit with its place, and the sum of exp(logit - largest).
struct Candidate {
  float largest;
  float sum;
  int id;
};

__device__ Candidate Better(const Candidate& a, const Candidate& b) {
  // Of equal ones the first, as argmax does.
  const bool second = b.largest > a.largest || (b.largest == a.largest && b.id < a.id);
  const Candidate& winner = second ? b : a;
  const Candidate& other = second ? a : b;
  // Without this, -inf - -inf; the sum is 0 then, or not a number.
  const float factor = other.largest == -INFINITY ? 1.0f : __expf(other.largest - winner.largest);
  return {winner.largest, winner.sum + other.sum * factor, winner.id};
}

__device__ Candidate BestOfWarp(Candidate best) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    const Candidate other = {__shfl_xor_sync(~0u, best.largest, offset),
                             __shfl_xor_sync(~0u, best.sum, offset),
                             __shfl_xor_sync(~0u, best.id, offset)};
    best = Better(best, other);
  }
  return best;
}

__device__ void Consider(Candidate& best, float logit, int id) {
  if (logit > best.largest) {
    best = {logit, best.sum * __expf(best.largest - logit) + 1.0f, id};
  } else if (logit != -INFINITY) {
    best.sum += __expf(logit - best.largest);
  }
}

// A block a row. Logits that are not numbers make the log-probability none either.
template <typename T>
__global__ __launch_bounds__(kGreedyThreads) void GreedyKernel(const GreedyParams p) {
  __shared__ Candidate best_of_warps[kGreedyThreads / kWarp];
  LetSuccessorStart();
  WaitForPredecessor();
  const T* logits = static_cast<const T*>(p.logits) + static_cast<int64_t>(blockIdx.x) * p.vocab;
  Candidate best = {-INFINITY, 0.0f, 0};
  // 8 at a time, if that keeps all rows aligned.
  const int wide = p.vocab % 8 == 0 ? p.vocab / 8 : 0;
#pragma unroll 4
  for (int i = threadIdx.x; i < wide; i += kGreedyThreads) {
    const uint4 words = reinterpret_cast<const uint4*>(logits)[i];
    const uint32_t each[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float2 pair = Pair<T>::Unpack(each[j]);
      Consider(best, pair.x, 8 * i + 2 * j);
      Consider(best, pair.y, 8 * i + 2 * j + 1);
    }
  }
  for (int i = 8 * wide + threadIdx.x; i < p.vocab; i += kGreedyThreads) {
    Consider(best, ToFloat(logits[i]), i);
  }
  best = BestOfWarp(best);
  if (threadIdx.x % kWarp == 0) best_of_warps[threadIdx.x / kWarp] = best;
  __syncthreads();
  if (threadIdx.x >= kWarp) return;
  best = BestOfWarp(best_of_warps[threadIdx.x]);
  if (threadIdx.x == 0) {
    p.ids[blockIdx.x] = best.id;
    p.log_probs[blockIdx.x] = -logf(best.sum);
  }
}

template <typename Params>
void LaunchEither(const Params& p, void (*bfloat)(Params), void (*half)(Params), dim3 grid,
                  int threads, CUstream_st* stream, const char* what) {
  Launch(p.type == HalfType::kBfloat16 ? bfloat : half, p, grid, threads, 0, stream, what);
}

unsigned Blocks(int items, int per_block) {
  return static_cast<unsigned>((items + per_block - 1) / per_block);
}

}  // namespace

void RmsNorm(const RmsNormParams& params, CUstream_st* stream) {
  LaunchEither(params, RmsNormKernel<__nv_bfloat16>, RmsNormKernel<__half>,
               dim3(static_cast<unsigned>(params.batch)), kOpThreads, stream, "norm");
}

void RotateAndStore(const RotateStoreParams& params, CUstream_st* stream) {
  const RotateParams& r = params.rotate;
  const dim3 grid(Blocks(r.heads + 2 * r.kv_heads, kOpWarps), static_cast<unsigned>(params.batch));
  LaunchEither(params, RotateAndStoreKernel<__nv_bfloat16>, RotateAndStoreKernel<__half>, grid,
               kOpThreads, stream, "rotate and store");
}

void Gate(const GateParams& params, CUstream_st* stream) {
  const dim3 grid(Blocks(params.width / 2, kOpThreads), static_cast<unsigned>(params.batch));
  LaunchEither(params, GateKernel<__nv_bfloat16>, GateKernel<__half>, grid, kOpThreads, stream,
               "gate");
}

void GreedyChoice(const GreedyParams& params, CUstream_st* stream) {
  LaunchEither(params, GreedyKernel<__nv_bfloat16>, GreedyKernel<__half>,
               dim3(static_cast<unsigned>(params.batch)), kGreedyThreads, stream, "greedy choice");
}

}  // namespace ckv::kernels
