// Heads of a packed projection: rotated in place, and their gradients rotated back and packed.
#include "nn/cuda/fused_common.cuh"

namespace ckv::kernels {
namespace {

constexpr int kThreads = 256;

// One item: kVec numbers of a head's first half and the kVec opposite them in its second half.
struct Item {
  int64_t row;  // of B T
  int head;     // of the packed heads
  int column;   // in the first half
};

template <int kVec>
__device__ inline bool FindItem(const RotateHeadsParams& p, int heads, Item* item) {
  const int per_head = p.head_dim / (2 * kVec);
  const int64_t index = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= p.batch * p.tokens * heads * per_head) return false;
  item->column = static_cast<int>(index % per_head) * kVec;
  const int64_t rest = index / per_head;
  item->head = static_cast<int>(rest % heads);
  item->row = rest / heads;
  return true;
}

template <int kVec>
__device__ inline void LoadTable(const RotateHeadsParams& p, const Item& item, float* cos,
                                 float* sin) {
  const int64_t row = p.table_per_row ? item.row : item.row % p.tokens;
  const int64_t at = row * (p.head_dim / 2) + item.column;
#pragma unroll
  for (int i = 0; i < kVec; ++i) {
    cos[i] = p.cos[at + i];
    sin[i] = p.sin[at + i];
  }
}

// Heads are numbered through all parts; those that do not rotate are passed over.
template <typename T, int kVec>
__global__ void RotateHeadsKernel(RotateHeadsParams p, int packed_heads) {
  Item item;
  if (!FindItem<kVec>(p, packed_heads, &item)) return;
  int head = item.head;
  int part = 0;
  while (head >= p.parts[part].heads) head -= p.parts[part++].heads;
  if (!p.parts[part].rotates) return;
  T* at =
      static_cast<T*>(p.packed) + (item.row * packed_heads + item.head) * p.head_dim + item.column;
  auto first = Vec<T, kVec>::Load(at);
  auto second = Vec<T, kVec>::Load(at + p.head_dim / 2);
  float cos[kVec];
  float sin[kVec];
  LoadTable<kVec>(p, item, cos, sin);
#pragma unroll
  for (int i = 0; i < kVec; ++i) {
    const float a = first.at[i];
    const float b = second.at[i];
    first.at[i] = a * cos[i] - b * sin[i];
    second.at[i] = b * cos[i] + a * sin[i];
  }
  first.Store(at);
  second.Store(at + p.head_dim / 2);
}

template <typename T, int kVec>
__global__ void PackHeadGradsKernel(RotateHeadsParams p, int packed_heads) {
  Item item;
  if (!FindItem<kVec>(p, packed_heads, &item)) return;
  int head = item.head;
  int part = 0;
  while (head >= p.parts[part].heads) head -= p.parts[part++].heads;
  const RotatePart& of = p.parts[part];
  Vec<T, kVec> first = {};
  Vec<T, kVec> second = {};
  const int64_t token = item.row % p.tokens - of.skip;
  if (of.grad != nullptr && token >= 0) {
    const T* from = static_cast<const T*>(of.grad) + (item.row / p.tokens) * of.batch_stride +
                    head * of.head_stride + token * of.token_stride + item.column;
    first = Vec<T, kVec>::Load(from);
    second = Vec<T, kVec>::Load(from + p.head_dim / 2);
  }
  if (of.rotates) {
    float cos[kVec];
    float sin[kVec];
    LoadTable<kVec>(p, item, cos, sin);
#pragma unroll
    for (int i = 0; i < kVec; ++i) {
      const float a = first.at[i];
      const float b = second.at[i];
      first.at[i] = a * cos[i] + b * sin[i];
      second.at[i] = b * cos[i] - a * sin[i];
    }
  }
  T* to =
      static_cast<T*>(p.packed) + (item.row * packed_heads + item.head) * p.head_dim + item.column;
  first.Store(to);
  second.Store(to + p.head_dim / 2);
}

bool Vectorises(const RotateHeadsParams& p) {
  bool fits = p.head_dim % 16 == 0 && Aligned16(p.packed);
  for (int i = 0; i < p.num_parts; ++i) {
    const RotatePart& part = p.parts[i];
    fits = fits && Aligned16(part.grad) && part.batch_stride % 8 == 0 &&
           part.head_stride % 8 == 0 && part.token_stride % 8 == 0;
  }
  return fits;
}

template <typename T, int kVec>
void LaunchHeads(const RotateHeadsParams& p, bool pack, CUstream_st* stream) {
  int heads = 0;
  for (int part = 0; part < p.num_parts; ++part) heads += p.parts[part].heads;
  const int64_t items = p.batch * p.tokens * heads * (p.head_dim / (2 * kVec));
  if (items == 0) return;
  auto* kernel = pack ? PackHeadGradsKernel<T, kVec> : RotateHeadsKernel<T, kVec>;
  kernel<<<BlocksFor(items, kThreads), kThreads, 0, stream>>>(p, heads);
  CheckCuda(cudaGetLastError(), "rotation");
}

void Dispatch(const RotateHeadsParams& p, bool pack, CUstream_st* stream) {
  const bool bf16 = p.type == HalfType::kBfloat16;
  if (Vectorises(p)) {
    bf16 ? LaunchHeads<__nv_bfloat16, 8>(p, pack, stream) : LaunchHeads<__half, 8>(p, pack, stream);
  } else {
    bf16 ? LaunchHeads<__nv_bfloat16, 1>(p, pack, stream) : LaunchHeads<__half, 1>(p, pack, stream);
  }
}

}  // namespace

void RotateHeads(const RotateHeadsParams& params, CUstream_st* stream) {
  Dispatch(params, /*pack=*/false, stream);
}

void PackHeadGrads(const RotateHeadsParams& params, CUstream_st* stream) {
  Dispatch(params, /*pack=*/true, stream);
}

}  // namespace ckv::kernels
