#include "nn/fp8.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "base/error.h"
#include "nn/kernel_call.h"

#ifdef CKV_HAVE_CUDA
#include <ATen/cuda/CUDAContext.h>

#include "nn/cuda/fused_kernels.h"
#endif

namespace ckv {
namespace {

constexpr double kLargestFp8 = 448.0;

}  // namespace

bool HasFp8Products(const Tensor& x, const Tensor& weight) {
#ifdef CKV_HAVE_CUDA
  return HasKernels(x) && x.scalar_type() == at::kBFloat16 && weight.size(0) % 16 == 0 &&
         weight.size(1) % 16 == 0 && at::cuda::getCurrentDeviceProperties()->major >= 9;
#else
  static_cast<void>(x);
  static_cast<void>(weight);
  return false;
#endif
}

Fp8Rows QuantizeRows(const Tensor& x) {
  CKV_CHECK(x.dim() == 2, "rows of ", x.sizes());
  at::NoGradGuard no_grad;
  Fp8Rows rows;
#ifdef CKV_HAVE_CUDA
  if (HasKernels(x)) {
    const Tensor from = x.contiguous();
    rows.values = at::empty(from.sizes(), from.options().dtype(at::kFloat8_e4m3fn));
    rows.scales = at::empty({from.size(0), 1}, from.options().dtype(at::kFloat));
    kernels::QuantizeParams params = {};
    params.type = HalfTypeOf(from);
    params.x = from.data_ptr();
    params.values = rows.values.data_ptr();
    params.scales = rows.scales.data_ptr<float>();
    params.rows = from.size(0);
    params.width = static_cast<int>(from.size(1));
    kernels::QuantizeRows(params, CurrentStream());
    return rows;
  }
#endif
  const Tensor wide = x.to(at::kFloat);
  const Tensor largest = wide.abs().amax(1, /*keepdim=*/true);
  rows.scales = at::where(largest.eq(0.0), at::ones_like(largest), largest / kLargestFp8);
  rows.values = (wide / rows.scales).clamp(-kLargestFp8, kLargestFp8).to(at::kFloat8_e4m3fn);
  return rows;
}

Tensor ScaledProduct(const Fp8Rows& x, const Fp8Rows& weight, at::ScalarType dtype) {
  CKV_CHECK(x.values.size(1) == weight.values.size(1), "product of ", x.values.sizes(),
            " with weights ", weight.values.sizes());
  at::NoGradGuard no_grad;
  if (dtype == at::kBFloat16 && x.values.is_cuda()) {
    return at::_scaled_mm(x.values, weight.values.t(), x.scales, weight.scales.t(), std::nullopt,
                          std::nullopt, dtype, /*use_fast_accum=*/true);
  }
  const Tensor left = x.values.to(at::kFloat) * x.scales;
  const Tensor right = weight.values.to(at::kFloat) * weight.scales;
  return at::mm(left, right.t()).to(dtype);
}

}  // namespace ckv
