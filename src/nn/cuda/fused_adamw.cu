// AdamW over all parameters in one kernel, with clipping and without the host: nn/fused_adamw.h.
#include "nn/cuda/fused_common.cuh"

namespace ckv::kernels {
namespace {

constexpr int kAdamThreads = 512;
constexpr int kSumThreads = 1024;

// Four numbers of a gradient.
template <typename G>
__device__ inline void LoadFour(const G* from, float (&to)[4]) {
  if constexpr (sizeof(G) == 4) {
    const float4 words = *reinterpret_cast<const float4*>(from);
    to[0] = words.x;
    to[1] = words.y;
    to[2] = words.z;
    to[3] = words.w;
  } else {
    const uint2 words = *reinterpret_cast<const uint2*>(from);
    const float2 low = Pair<G>::Unpack(words.x);
    const float2 high = Pair<G>::Unpack(words.y);
    to[0] = low.x;
    to[1] = low.y;
    to[2] = high.x;
    to[3] = high.y;
  }
}

__device__ inline float AsFloat(float x) { return x; }
__device__ inline float AsFloat(__nv_bfloat16 x) { return ToFloat(x); }
__device__ inline float AsFloat(__half x) { return ToFloat(x); }

template <typename G>
__device__ inline bool FourAligned(const G* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % (4 * sizeof(G)) == 0;
}

struct Span {
  int64_t begin;
  int64_t end;
};

__device__ inline Span ChunkSpan(const AdamWParams& p, int64_t size) {
  const int64_t begin = static_cast<int64_t>(p.chunk_index[blockIdx.x]) * kAdamWChunk;
  return {begin, min(begin + kAdamWChunk, size)};
}

template <typename G>
__global__ void SquaresKernel(AdamWParams p) {
  __shared__ float shared[33];
  const int tensor = p.chunk_tensor[blockIdx.x];
  const G* grad = static_cast<const G*>(p.grads[tensor]);
  float sum = 0.0f;
  if (grad != nullptr) {
    const Span span = ChunkSpan(p, p.tensors[tensor].size);
    int64_t i = span.begin + threadIdx.x * 4;
    if (FourAligned(grad)) {
      for (; i + 4 <= span.end; i += kAdamThreads * 4) {
        float g[4];
        LoadFour(grad + i, g);
        sum += g[0] * g[0] + g[1] * g[1] + g[2] * g[2] + g[3] * g[3];
      }
      for (; i < span.end; ++i) sum += AsFloat(grad[i]) * AsFloat(grad[i]);
    } else {
      for (i = span.begin + threadIdx.x; i < span.end; i += kAdamThreads) {
        sum += AsFloat(grad[i]) * AsFloat(grad[i]);
      }
    }
  }
  sum = BlockSum(sum, shared);
  if (threadIdx.x == 0) p.chunk_squares[blockIdx.x] = sum;
}

__global__ void StateKernel(AdamWParams p) {
  __shared__ double sums[kSumThreads];
  double sum = 0.0;
  for (int i = static_cast<int>(threadIdx.x); i < p.num_squares; i += kSumThreads) {
    sum += p.squares[i];
  }
  sums[threadIdx.x] = sum;
  for (int half = kSumThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }
  if (threadIdx.x != 0) return;
  AdamWState state;
  const double norm = sqrt(sums[0]);
  state.norm = static_cast<float>(norm);
  const bool finite = isfinite(state.norm) && isfinite(*p.loss);
  state.skipped = finite ? 0.0f : 1.0f;
  const bool clips = p.clip_norm > 0.0f && norm > p.clip_norm;
  state.scale = clips ? static_cast<float>(p.clip_norm / norm) : 1.0f;
  const float updates = *p.updates + 1.0f - state.skipped;
  *p.updates = updates;
  const double count = fmax(static_cast<double>(updates), 1.0);
  state.first_factor = static_cast<float>(1.0 / (1.0 - pow(static_cast<double>(p.beta1), count)));
  state.second_root = static_cast<float>(sqrt(1.0 - pow(static_cast<double>(p.beta2), count)));
  *p.state = state;
}

// One weight: decay, moments, update.
__device__ inline float UpdateOne(const AdamWParams& p, const AdamWState& state, float decay,
                                  float grad, float weight, float* first, float* second) {
  grad *= state.scale;
  *first = p.beta1 * *first + (1.0f - p.beta1) * grad;
  *second = p.beta2 * *second + (1.0f - p.beta2) * grad * grad;
  const float root = sqrtf(*second) / state.second_root + p.eps;
  return weight * (1.0f - p.lr * decay) - p.lr * state.first_factor * *first / root;
}

template <typename T, typename G>
__global__ void UpdateKernel(AdamWParams p) {
  const AdamWState state = *p.state;
  if (state.skipped != 0.0f) return;
  const int index = p.chunk_tensor[blockIdx.x];
  const AdamWTensor tensor = p.tensors[index];
  const G* grad = static_cast<const G*>(p.grads[index]);
  T* working = static_cast<T*>(tensor.working);
  const Span span = ChunkSpan(p, tensor.size);
  const bool fours = (grad == nullptr || FourAligned(grad)) && FourAligned(working) &&
                     FourAligned(tensor.master) && FourAligned(tensor.first) &&
                     FourAligned(tensor.second);
  int64_t i = span.begin + threadIdx.x * 4;
  if (fours) {
    for (; i + 4 <= span.end; i += kAdamThreads * 4) {
      float g[4] = {};
      float w[4];
      float m[4];
      float v[4];
      if (grad != nullptr) LoadFour(grad + i, g);
      LoadFour(tensor.master + i, w);
      LoadFour(tensor.first + i, m);
      LoadFour(tensor.second + i, v);
#pragma unroll
      for (int j = 0; j < 4; ++j)
        w[j] = UpdateOne(p, state, tensor.decay, g[j], w[j], &m[j], &v[j]);
      *reinterpret_cast<float4*>(tensor.master + i) = make_float4(w[0], w[1], w[2], w[3]);
      *reinterpret_cast<float4*>(tensor.first + i) = make_float4(m[0], m[1], m[2], m[3]);
      *reinterpret_cast<float4*>(tensor.second + i) = make_float4(v[0], v[1], v[2], v[3]);
      *reinterpret_cast<uint2*>(working + i) =
          make_uint2(Pair<T>::Pack(w[0], w[1]), Pair<T>::Pack(w[2], w[3]));
    }
  }
  // The rest: the end of a tensor, or all of one at an odd address.
  const int64_t step = fours ? 1 : kAdamThreads;
  if (!fours) i = span.begin + threadIdx.x;
  for (; i < span.end; i += step) {
    const float g = grad == nullptr ? 0.0f : AsFloat(grad[i]);
    const float w =
        UpdateOne(p, state, tensor.decay, g, tensor.master[i], &tensor.first[i], &tensor.second[i]);
    tensor.master[i] = w;
    working[i] = FromFloat<T>(w);
  }
}

template <typename T>
void LaunchSquares(const AdamWParams& p, CUstream_st* stream) {
  const auto blocks = static_cast<unsigned>(p.num_chunks);
  p.grads_in_fp32 ? SquaresKernel<float><<<blocks, kAdamThreads, 0, stream>>>(p)
                  : SquaresKernel<T><<<blocks, kAdamThreads, 0, stream>>>(p);
  CheckCuda(cudaGetLastError(), "gradient norm");
}

template <typename T>
void LaunchUpdate(const AdamWParams& p, CUstream_st* stream) {
  const auto blocks = static_cast<unsigned>(p.num_chunks);
  p.grads_in_fp32 ? UpdateKernel<T, float><<<blocks, kAdamThreads, 0, stream>>>(p)
                  : UpdateKernel<T, T><<<blocks, kAdamThreads, 0, stream>>>(p);
  CheckCuda(cudaGetLastError(), "AdamW");
}

}  // namespace

void AdamWSquares(const AdamWParams& params, CUstream_st* stream) {
  params.type == HalfType::kBfloat16 ? LaunchSquares<__nv_bfloat16>(params, stream)
                                     : LaunchSquares<__half>(params, stream);
}

void AdamWPrepare(const AdamWParams& params, CUstream_st* stream) {
  StateKernel<<<1, kSumThreads, 0, stream>>>(params);
  CheckCuda(cudaGetLastError(), "AdamW state");
}

void AdamWUpdate(const AdamWParams& params, CUstream_st* stream) {
  params.type == HalfType::kBfloat16 ? LaunchUpdate<__nv_bfloat16>(params, stream)
                                     : LaunchUpdate<__half>(params, stream);
}

}  // namespace ckv::kernels
