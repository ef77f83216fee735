// Residual sum and RMS norm of nn/fused_norm.h.
//
// A block owns whole rows and a thread the same columns of each, so that the weight, and in the
// backward step the weight's gradient, stay in registers.
#include <algorithm>

#include "nn/cuda/fused_common.cuh"

namespace ckv::kernels {
namespace {

constexpr int kMostThreads = 1024;

int NormVector(int64_t width) { return width % 8 == 0 ? 8 : 1; }

int NormThreads(int64_t width) {
  const int64_t used = width / NormVector(width);
  return static_cast<int>((used + kWarp - 1) / kWarp * kWarp);
}

int NormBlocks(int64_t rows, int width, int waves) {
  const int resident = std::max(1, 2048 / NormThreads(width));
  return static_cast<int>(
      std::min<int64_t>(rows, static_cast<int64_t>(NumMultiprocessors()) * resident * waves));
}

template <typename T, int kVec>
__global__ void AddNormKernel(AddNormParams p) {
  __shared__ float sums[2][33];
  const int column = static_cast<int>(threadIdx.x) * kVec;
  const bool active = column < p.width;
  Vec<T, kVec> weight = {};
  if (active) weight = Vec<T, kVec>::Load(static_cast<const T*>(p.weight) + column);
  int turn = 0;
  for (int64_t row = blockIdx.x; row < p.rows; row += gridDim.x, turn ^= 1) {
    const int64_t at = row * p.width + column;
    Vec<T, kVec> x = {};
    float squares = 0.0f;
    if (active) {
      x = Vec<T, kVec>::Load(static_cast<const T*>(p.x) + at);
      if (p.delta != nullptr) {
        const auto delta = Vec<T, kVec>::Load(static_cast<const T*>(p.delta) + at);
#pragma unroll
        for (int i = 0; i < kVec; ++i) x.at[i] = Rounded<T>(x.at[i] + delta.at[i]);
        x.Store(static_cast<T*>(p.sum) + at);
      }
#pragma unroll
      for (int i = 0; i < kVec; ++i) squares += x.at[i] * x.at[i];
    }
    squares = BlockSum(squares, sums[turn]);
    const float rstd = rsqrtf(squares / static_cast<float>(p.width) + p.epsilon);
    if (!active) continue;
#pragma unroll
    for (int i = 0; i < kVec; ++i) x.at[i] *= rstd * weight.at[i];
    x.Store(static_cast<T*>(p.normed) + at);
    if (p.rstd != nullptr && threadIdx.x == 0) p.rstd[row] = rstd;
  }
}

// With y = w x r: dx = r w dy - x r^3 mean(w dy x) + dsum, dw = sum over rows of dy x r.
template <typename T, int kVec>
__global__ void AddNormGradKernel(AddNormGradParams p) {
  __shared__ float sums[2][33];
  const int column = static_cast<int>(threadIdx.x) * kVec;
  const bool active = column < p.width;
  Vec<T, kVec> weight = {};
  if (active) weight = Vec<T, kVec>::Load(static_cast<const T*>(p.weight) + column);
  float grad_weight[kVec] = {};
  int turn = 0;
  for (int64_t row = blockIdx.x; row < p.rows; row += gridDim.x, turn ^= 1) {
    const int64_t at = row * p.width + column;
    Vec<T, kVec> x = {};
    Vec<T, kVec> grad = {};
    Vec<T, kVec> grad_sum = {};
    const float rstd = p.rstd[row];
    float product = 0.0f;
    if (active) {
      x = Vec<T, kVec>::Load(static_cast<const T*>(p.sum) + at);
      grad = Vec<T, kVec>::Load(static_cast<const T*>(p.grad_normed) + at);
      if (p.grad_sum != nullptr) {
        grad_sum = Vec<T, kVec>::Load(static_cast<const T*>(p.grad_sum) + at);
      }
#pragma unroll
      for (int i = 0; i < kVec; ++i) {
        x.at[i] *= rstd;
        grad_weight[i] += grad.at[i] * x.at[i];
        grad.at[i] *= weight.at[i];
        product += grad.at[i] * x.at[i];
      }
    }
    const float mean = BlockSum(product, sums[turn]) / static_cast<float>(p.width);
    if (!active) continue;
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      grad.at[i] = rstd * (grad.at[i] - x.at[i] * mean) + grad_sum.at[i];
    }
    grad.Store(static_cast<T*>(p.grad_x) + at);
  }
  if (!active) return;
#pragma unroll
  for (int i = 0; i < kVec; ++i) {
    p.grad_weight[static_cast<int64_t>(blockIdx.x) * p.width + column + i] = grad_weight[i];
  }
}

template <typename T>
void LaunchAddNorm(const AddNormParams& p, CUstream_st* stream) {
  const int blocks = NormBlocks(p.rows, p.width, 4);
  const bool aligned = Aligned16(p.x) && Aligned16(p.delta) && Aligned16(p.weight) &&
                       Aligned16(p.sum) && Aligned16(p.normed);
  CKV_CHECK(aligned || NormVector(p.width) == 1, "norm of unaligned numbers");
  auto* kernel = NormVector(p.width) == 8 ? AddNormKernel<T, 8> : AddNormKernel<T, 1>;
  kernel<<<blocks, NormThreads(p.width), 0, stream>>>(p);
  CheckCuda(cudaGetLastError(), "norm");
}

template <typename T>
void LaunchAddNormGrad(const AddNormGradParams& p, CUstream_st* stream) {
  auto* kernel = NormVector(p.width) == 8 ? AddNormGradKernel<T, 8> : AddNormGradKernel<T, 1>;
  kernel<<<NormGradBlocks(p.rows, p.width), NormThreads(p.width), 0, stream>>>(p);
  CheckCuda(cudaGetLastError(), "norm gradient");
}

}  // namespace

bool HasAddNorm(int64_t width) { return width / NormVector(width) <= kMostThreads; }

int NormGradBlocks(int64_t rows, int width) { return NormBlocks(rows, width, 1); }

void AddNorm(const AddNormParams& params, CUstream_st* stream) {
  if (params.rows == 0) return;
  params.type == HalfType::kBfloat16 ? LaunchAddNorm<__nv_bfloat16>(params, stream)
                                     : LaunchAddNorm<__half>(params, stream);
}

void AddNormGrad(const AddNormGradParams& params, CUstream_st* stream) {
  if (params.rows == 0) return;
  params.type == HalfType::kBfloat16 ? LaunchAddNormGrad<__nv_bfloat16>(params, stream)
                                     : LaunchAddNormGrad<__half>(params, stream);
}

}  // namespace ckv::kernels
