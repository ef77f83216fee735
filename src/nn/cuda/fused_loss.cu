// Cross-entropy of rows of logits, which become their own gradient: two readings of a row, the
// second one from the cache, and one writing.
#include <algorithm>

#include "nn/cuda/fused_common.cuh"

namespace ckv::kernels {
namespace {

constexpr int kLossThreads = 512;

// Largest number, sum of exp(x - largest), sum of x.
struct RowStats {
  float largest;
  float sum;
  float plain_sum;
};

__device__ inline RowStats Join(const RowStats& a, const RowStats& b) {
  const float largest = fmaxf(a.largest, b.largest);
  // Both may be -inf, whose difference is not a number.
  const float scale_a = a.largest == largest ? 1.0f : __expf(a.largest - largest);
  const float scale_b = b.largest == largest ? 1.0f : __expf(b.largest - largest);
  return {largest, a.sum * scale_a + b.sum * scale_b, a.plain_sum + b.plain_sum};
}

__device__ inline RowStats WarpJoin(RowStats x) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    const RowStats other = {__shfl_xor_sync(~0u, x.largest, offset),
                            __shfl_xor_sync(~0u, x.sum, offset),
                            __shfl_xor_sync(~0u, x.plain_sum, offset)};
    x = Join(x, other);
  }
  return x;
}

// In every thread. One call a block.
__device__ inline RowStats BlockJoin(RowStats x) {
  __shared__ RowStats shared[kLossThreads / kWarp];
  x = WarpJoin(x);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  if (lane == 0) shared[threadIdx.x / kWarp] = x;
  __syncthreads();
  const RowStats none = {-INFINITY, 0.0f, 0.0f};
  return WarpJoin(lane < kLossThreads / kWarp ? shared[lane] : none);
}

template <typename T, int kVec>
__global__ void SoftmaxLossKernel(SoftmaxLossParams p) {
  const int64_t row = blockIdx.x;
  T* logits = static_cast<T*>(p.logits) + row * p.vocab;
  const int64_t target = p.targets[row];
  const int first = static_cast<int>(threadIdx.x) * kVec;
  constexpr int kStep = kLossThreads * kVec;
  if (target < 0) {
    if (threadIdx.x == 0) p.losses[row] = 0.0f;
    if (!p.with_grad) return;
    const Vec<T, kVec> zeros = {};
    for (int i = first; i < p.vocab; i += kStep) zeros.Store(logits + i);
    return;
  }
  // Read before anyone overwrites it.
  const float target_logit = ToFloat(logits[target]);
  RowStats stats = {-INFINITY, 0.0f, 0.0f};
  for (int i = first; i < p.vocab; i += kStep) {
    const auto x = Vec<T, kVec>::Load(logits + i);
    RowStats part = {x.at[0], 0.0f, 0.0f};
#pragma unroll
    for (int j = 1; j < kVec; ++j) part.largest = fmaxf(part.largest, x.at[j]);
    const float base = part.largest == -INFINITY ? 0.0f : part.largest;
#pragma unroll
    for (int j = 0; j < kVec; ++j) {
      part.sum += __expf(x.at[j] - base);
      part.plain_sum += x.at[j];
    }
    stats = Join(stats, part);
  }
  stats = BlockJoin(stats);
  const float log_z = stats.largest + logf(stats.sum);
  const float smooth = p.label_smoothing;
  if (threadIdx.x == 0) {
    float loss = (1.0f - smooth) * (log_z - target_logit);
    if (smooth > 0.0f) {
      loss += smooth * (log_z - stats.plain_sum / static_cast<float>(p.vocab));
    }
    p.losses[row] = loss + p.z_loss * log_z * log_z;
  }
  if (!p.with_grad) return;
  // softmax (1 + 2 z log Z) - (1 - s) onehot - s / V
  const float factor = 1.0f + 2.0f * p.z_loss * log_z;
  const float spread = smooth / static_cast<float>(p.vocab);
  for (int i = first; i < p.vocab; i += kStep) {
    auto x = Vec<T, kVec>::Load(logits + i);
#pragma unroll
    for (int j = 0; j < kVec; ++j) {
      x.at[j] = __expf(x.at[j] - log_z) * factor - spread;
      if (i + j == target) x.at[j] -= 1.0f - smooth;
    }
    x.Store(logits + i);
  }
}

template <typename T>
void LaunchLoss(const SoftmaxLossParams& p, CUstream_st* stream) {
  const bool vectors = p.vocab % 8 == 0 && Aligned16(p.logits);
  auto* kernel = vectors ? SoftmaxLossKernel<T, 8> : SoftmaxLossKernel<T, 1>;
  kernel<<<static_cast<unsigned>(p.rows), kLossThreads, 0, stream>>>(p);
  CheckCuda(cudaGetLastError(), "loss");
}

}  // namespace

void SoftmaxLoss(const SoftmaxLossParams& params, CUstream_st* stream) {
  if (params.rows == 0) return;
  params.type == HalfType::kBfloat16 ? LaunchLoss<__nv_bfloat16>(params, stream)
                                     : LaunchLoss<__half>(params, stream);
}

}  // namespace ckv::kernels
