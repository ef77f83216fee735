#include "nn/prefill_ops.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "nn/cuda/prefill_kernels.h"
#include "nn/decode_params.h"
#include "nn/joined.h"
#include "nn/kernel_call.h"

namespace ckv {
namespace {

// Rotates by LibTorch's operations; x [B, T, heads, D].
Tensor Rotated(const Tensor& x, const RopeTable& table) {
  return ApplyRope(x.transpose(1, 2), table);  // [B, heads, T, D]
}

#ifdef CKV_HAVE_CUDA
kernels::HeadPlaces PlacesOf(const Tensor& heads) {
  if (!heads.defined()) return {nullptr, 0, 0, 0};
  return {heads.data_ptr(), heads.stride(0), heads.stride(1), heads.stride(2)};
}

// Kernels move 16 bytes at once.
bool IsAligned(const Tensor& heads) {
  return !heads.defined() ||
         (heads.stride(3) == 1 && heads.stride(0) % 8 == 0 && heads.stride(1) % 8 == 0 &&
          heads.stride(2) % 8 == 0 && reinterpret_cast<uintptr_t>(heads.data_ptr()) % 16 == 0);
}
#endif

}  // namespace

bool HasPrefillKernels(const Tensor& weight, int64_t width, int64_t inner, int64_t head_dim) {
  return HasKernels(weight) && width % 8 == 0 && width <= kernels::kMostPrefillWidth &&
         inner % 8 == 0 && head_dim % 16 == 0;
}

Tensor PrefillNorm(const Tensor& x, const Tensor& weight, double epsilon) {
  const int64_t width = weight.numel();
  CKV_CHECK(x.size(-1) == width, "norm of ", x.sizes(), " with ", width, " weights");
#ifdef CKV_HAVE_CUDA
  if (HasKernels(x) && width % 8 == 0 && width <= kernels::kMostPrefillWidth) {
    const Tensor input = x.contiguous();
    const Tensor out = at::empty_like(input);
    kernels::PrefillNormParams params = {};
    params.type = HalfTypeOf(x);
    params.x = input.data_ptr();
    params.weight = weight.data_ptr();
    params.out = out.data_ptr();
    params.epsilon = static_cast<float>(epsilon);
    params.rows = input.numel() / width;
    params.width = static_cast<int>(width);
    kernels::PrefillNorm(params, CurrentStream());
    return out;
  }
#endif
  return at::rms_norm(x, {width}, weight, epsilon);
}

void PrefillRotate(Tensor& packed, const RopeTable& table, int64_t head_dim, PackedHeads& to) {
  const int64_t rows = packed.size(0);
  const int64_t columns = packed.size(1);
  const int64_t own = (to.keys.defined() ? 1 : 0) + (to.values.defined() ? 1 : 0);
  CKV_CHECK(packed.is_contiguous() && packed.size(2) == (to.heads + own * to.kv_heads) * head_dim,
            "packed heads ", packed.sizes());
  for (const Tensor* heads : {&to.keys, &to.values}) {
    const std::vector<int64_t> sizes = {rows, to.kv_heads, columns, head_dim};
    CKV_CHECK(!heads->defined() || heads->sizes() == sizes, "heads ", heads->sizes());
  }
#ifdef CKV_HAVE_CUDA
  if (HasKernels(packed) && head_dim % 16 == 0 && IsAligned(to.keys) && IsAligned(to.values)) {
    const Tensor cos = table.cos.contiguous();
    const Tensor sin = table.sin.contiguous();
    kernels::PrefillRotateParams params = {};
    params.type = HalfTypeOf(packed);
    params.packed = packed.data_ptr();
    params.cos = cos.data_ptr<float>();
    params.sin = sin.data_ptr<float>();
    params.rows_differ = cos.numel() == columns * head_dim / 2 ? 0 : 1;
    CKV_CHECK(cos.numel() == (params.rows_differ != 0 ? rows : 1) * columns * head_dim / 2,
              "rotation ", cos.sizes(), " of ", packed.sizes());
    params.keys = PlacesOf(to.keys);
    params.values = PlacesOf(to.values);
    params.rows = rows;
    params.columns = columns;
    params.heads = static_cast<int>(to.heads);
    params.kv_heads = static_cast<int>(to.kv_heads);
    params.head_dim = static_cast<int>(head_dim);
    kernels::PrefillRotate(params, CurrentStream());
    return;
  }
#endif
  const Tensor heads = packed.view({rows, columns, -1, head_dim});
  const Tensor queries = heads.narrow(2, 0, to.heads);
  if (to.heads > 0) queries.copy_(Rotated(queries, table).transpose(1, 2));
  int64_t next = to.heads;
  if (to.keys.defined()) {
    to.keys.copy_(Rotated(heads.narrow(2, next, to.kv_heads), table));
    next += to.kv_heads;
  }
  if (to.values.defined()) to.values.copy_(heads.narrow(2, next, to.kv_heads).transpose(1, 2));
}

void PrefillGate(const Tensor& packed, const std::string& activation, Tensor& out) {
  const int64_t width = out.size(1);
  CKV_CHECK(packed.dim() == 2 && packed.size(0) == out.size(0) && packed.size(1) == 2 * width &&
                packed.is_contiguous() && out.is_contiguous(),
            "gate of ", packed.sizes(), " into ", out.sizes());
#ifdef CKV_HAVE_CUDA
  if (HasKernels(packed) && width % 8 == 0) {
    kernels::PrefillGateParams params = {};
    params.type = HalfTypeOf(packed);
    params.packed = packed.data_ptr();
    params.out = out.data_ptr();
    params.rows = out.size(0);
    params.width = static_cast<int>(width);
    params.activation = ActivationOf(activation);
    kernels::PrefillGate(params, CurrentStream());
    return;
  }
#endif
  const Tensor gate = packed.narrow(1, 0, width);
  const Tensor up = packed.narrow(1, width, width);
  out.copy_((activation == "silu" ? at::silu(gate)
                                  : at::gelu(gate, activation == "gelu" ? "none" : "tanh")) *
            up);
}

Tensor PackedProduct(const Tensor& x, const std::vector<Tensor>& weights,
                     const std::vector<Tensor>& biases) {
  CKV_CHECK(x.dim() == 2 && !weights.empty() && weights.size() == biases.size(), "product of ",
            x.sizes(), " with ", weights.size(), " matrices");
  int64_t outputs = 0;
  for (const Tensor& weight : weights) outputs += weight.size(0);
  Tensor product = at::empty({x.size(0), outputs}, x.options());
  const Tensor joined = JoinedView(weights);
  if (joined.defined()) at::mm_out(product, x, joined.t());
  int64_t column = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    const int64_t count = weights[i].size(0);
    Tensor part = product.narrow(1, column, count);
    if (!joined.defined()) at::mm_out(part, x, weights[i].detach().t());
    if (biases[i].defined()) part.add_(biases[i].detach());
    column += count;
  }
  return product;
}

}  // namespace ckv
