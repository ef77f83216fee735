// The gated unit activation(gate) * up and its gradient, one thread for eight numbers.
#include "nn/cuda/fused_common.cuh"

namespace ckv::kernels {
namespace {

constexpr int kGateThreads = 256;

// Value and derivative of the activation.
template <Activation kActivation>
__device__ inline float2 ActivateWithSlope(float x) {
  if constexpr (kActivation == Activation::kSilu) {
    const float sigmoid = 1.0f / (1.0f + __expf(-x));
    return {x * sigmoid, sigmoid * (1.0f + x * (1.0f - sigmoid))};
  } else if constexpr (kActivation == Activation::kGelu) {
    const float phi = 0.5f * (1.0f + erff(x * 0.70710678118654752f));
    const float density = 0.39894228040143268f * __expf(-0.5f * x * x);
    return {x * phi, phi + x * density};
  } else {
    const float inner = 0.79788456080286536f * (x + 0.044715f * x * x * x);
    const float tanh = tanhf(inner);
    const float slope = 0.79788456080286536f * (1.0f + 3.0f * 0.044715f * x * x);
    return {0.5f * x * (1.0f + tanh),
            0.5f * (1.0f + tanh) + 0.5f * x * (1.0f - tanh * tanh) * slope};
  }
}

template <typename T, int kVec, Activation kActivation, bool kGrad>
__global__ void GatedUnitKernel(GatedUnitParams p) {
  const int per_row = p.width / kVec;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kGateThreads + threadIdx.x;
  if (index >= p.rows * per_row) return;
  const int64_t row = index / per_row;
  const int column = static_cast<int>(index % per_row) * kVec;
  const T* gate_at = static_cast<const T*>(p.packed) + row * 2 * p.width + column;
  auto gate = Vec<T, kVec>::Load(gate_at);
  auto up = Vec<T, kVec>::Load(gate_at + p.width);
  if constexpr (kGrad) {
    const auto grad = Vec<T, kVec>::Load(static_cast<const T*>(p.grad) + row * p.width + column);
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      const float2 active = ActivateWithSlope<kActivation>(gate.at[i]);
      gate.at[i] = grad.at[i] * up.at[i] * active.y;
      up.at[i] = grad.at[i] * active.x;
    }
    T* to = static_cast<T*>(p.grad_packed) + row * 2 * p.width + column;
    gate.Store(to);
    up.Store(to + p.width);
  } else {
#pragma unroll
    for (int i = 0; i < kVec; ++i) up.at[i] *= ActivateWithSlope<kActivation>(gate.at[i]).x;
    up.Store(static_cast<T*>(p.out) + row * p.width + column);
  }
}

template <typename T, int kVec, bool kGrad>
void LaunchGate(const GatedUnitParams& p, CUstream_st* stream) {
  const int64_t items = p.rows * (p.width / kVec);
  if (items == 0) return;
  auto* kernel =
      p.activation == Activation::kSilu   ? GatedUnitKernel<T, kVec, Activation::kSilu, kGrad>
      : p.activation == Activation::kGelu ? GatedUnitKernel<T, kVec, Activation::kGelu, kGrad>
                                          : GatedUnitKernel<T, kVec, Activation::kGeluTanh, kGrad>;
  kernel<<<BlocksFor(items, kGateThreads), kGateThreads, 0, stream>>>(p);
  CheckCuda(cudaGetLastError(), "gated unit");
}

template <bool kGrad>
void DispatchGate(const GatedUnitParams& p, CUstream_st* stream) {
  const bool bf16 = p.type == HalfType::kBfloat16;
  const bool vectors = p.width % 8 == 0 && Aligned16(p.packed) && Aligned16(p.out) &&
                       Aligned16(p.grad) && Aligned16(p.grad_packed);
  if (vectors) {
    bf16 ? LaunchGate<__nv_bfloat16, 8, kGrad>(p, stream) : LaunchGate<__half, 8, kGrad>(p, stream);
  } else {
    bf16 ? LaunchGate<__nv_bfloat16, 1, kGrad>(p, stream) : LaunchGate<__half, 1, kGrad>(p, stream);
  }
}

}  // namespace

void GatedUnit(const GatedUnitParams& params, CUstream_st* stream) {
  DispatchGate<false>(params, stream);
}

void GatedUnitGrad(const GatedUnitParams& params, CUstream_st* stream) {
  DispatchGate<true>(params, stream);
}

}  // namespace ckv::kernels
