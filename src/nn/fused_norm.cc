#include "nn/fused_norm.h"

#include <optional>

#include <torch/torch.h>

#include "base/error.h"
#include "nn/kernel_call.h"

#ifdef CKV_HAVE_CUDA
#include "nn/cuda/fused_kernels.h"
#endif

namespace ckv {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::ScalarType NormMaths(const Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

bool NormHasKernel(const Tensor& x) {
#ifdef CKV_HAVE_CUDA
  return HasKernels(x) && kernels::HasAddNorm(x.size(-1));
#else
  static_cast<void>(x);
  return false;
#endif
}

struct NormForward {
  Tensor sum;
  Tensor normed;
  Tensor rstd;  // [rows]
};

NormForward ComposedForward(const Tensor& x, const Tensor& delta, const Tensor& weight,
                            double epsilon) {
  NormForward result;
  result.sum = delta.defined() ? x + delta : x;
  const Tensor wide = result.sum.to(NormMaths(x));
  const Tensor rstd = at::rsqrt(wide.square().mean(-1, true) + epsilon);
  result.normed = (wide * rstd * weight).to(x.scalar_type());
  result.rstd = rstd.flatten();
  return result;
}

struct NormBackward {
  Tensor grad_x;
  Tensor grad_weight;
};

NormBackward ComposedBackward(const Tensor& sum, const Tensor& weight, const Tensor& rstd,
                              const Tensor& grad_normed, const Tensor& grad_sum) {
  const at::ScalarType maths = NormMaths(sum);
  std::vector<int64_t> column = sum.sizes().vec();
  column.back() = 1;
  const Tensor factor = rstd.view(column);
  const Tensor scaled = sum.to(maths) * factor;
  const Tensor grad = grad_normed.to(maths);
  const Tensor weighted = grad * weight.to(maths);
  NormBackward result;
  result.grad_weight = (grad * scaled).flatten(0, -2).sum(0).to(weight.scalar_type());
  Tensor grad_x = factor * (weighted - scaled * (weighted * scaled).mean(-1, true));
  if (grad_sum.defined()) grad_x = grad_x + grad_sum;
  result.grad_x = grad_x.to(sum.scalar_type());
  return result;
}

#ifdef CKV_HAVE_CUDA
NormForward KernelForward(const Tensor& x, const Tensor& delta, const Tensor& weight,
                          double epsilon, bool wants_rstd) {
  NormForward result;
  const Tensor from = x.contiguous();
  const Tensor add = delta.defined() ? delta.contiguous() : delta;
  result.sum = delta.defined() ? at::empty_like(from) : from;
  result.normed = at::empty_like(from);
  const int64_t rows = from.numel() / from.size(-1);
  if (wants_rstd) result.rstd = at::empty({rows}, from.options().dtype(at::kFloat));
  const Tensor scale = weight.contiguous();
  kernels::AddNormParams params = {};
  params.type = HalfTypeOf(from);
  params.x = from.data_ptr();
  params.delta = add.defined() ? add.data_ptr() : nullptr;
  params.weight = scale.data_ptr();
  params.sum = add.defined() ? result.sum.data_ptr() : nullptr;
  params.normed = result.normed.data_ptr();
  params.rstd = wants_rstd ? result.rstd.data_ptr<float>() : nullptr;
  params.epsilon = static_cast<float>(epsilon);
  params.rows = rows;
  params.width = static_cast<int>(from.size(-1));
  kernels::AddNorm(params, CurrentStream());
  return result;
}

NormBackward KernelBackward(const Tensor& sum, const Tensor& weight, const Tensor& rstd,
                            const Tensor& grad_normed, const Tensor& grad_sum) {
  const int64_t rows = rstd.size(0);
  const int width = static_cast<int>(sum.size(-1));
  const Tensor grad = grad_normed.contiguous();
  const Tensor residual = grad_sum.defined() ? grad_sum.contiguous() : grad_sum;
  const Tensor scale = weight.contiguous();
  const Tensor parts = at::empty({kernels::NormGradBlocks(rows, width), width},
                                 sum.options().dtype(at::kFloat).requires_grad(false));
  NormBackward result;
  result.grad_x = at::empty_like(sum);
  kernels::AddNormGradParams params = {};
  params.type = HalfTypeOf(sum);
  params.sum = sum.data_ptr();
  params.weight = scale.data_ptr();
  params.rstd = rstd.data_ptr<float>();
  params.grad_normed = grad.data_ptr();
  params.grad_sum = residual.defined() ? residual.data_ptr() : nullptr;
  params.grad_x = result.grad_x.data_ptr();
  params.grad_weight = parts.data_ptr<float>();
  params.rows = rows;
  params.width = width;
  kernels::AddNormGrad(params, CurrentStream());
  result.grad_weight = parts.sum(0).to(weight.scalar_type());
  return result;
}
#endif

NormForward Forward(const Tensor& x, const Tensor& delta, const Tensor& weight, double epsilon,
                    bool wants_rstd) {
#ifdef CKV_HAVE_CUDA
  if (NormHasKernel(x)) return KernelForward(x, delta, weight, epsilon, wants_rstd);
#else
  static_cast<void>(wants_rstd);
#endif
  return ComposedForward(x, delta, weight, epsilon);
}

class AddRmsNormFunction : public torch::autograd::Function<AddRmsNormFunction> {
 public:
  // Without delta the sum is no output.
  static variable_list forward(AutogradContext* context, const Tensor& x,
                               const std::optional<Tensor>& given, const Tensor& weight,
                               double epsilon) {
    const Tensor delta = given.value_or(Tensor());
    context->set_materialize_grads(false);
    const NormForward result = Forward(x, delta, weight, epsilon, /*wants_rstd=*/true);
    context->save_for_backward({result.sum, weight, result.rstd});
    if (!delta.defined()) return {result.normed};
    return {result.normed, result.sum};
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list saved = context->get_saved_variables();
    const bool has_delta = grads.size() == 2;
    const Tensor grad_sum = has_delta ? grads[1] : Tensor();
    if (!grads[0].defined()) {
      return {grad_sum, has_delta ? grad_sum : Tensor(), Tensor(), Tensor()};
    }
    NormBackward result;
#ifdef CKV_HAVE_CUDA
    if (NormHasKernel(saved[0])) {
      result = KernelBackward(saved[0], saved[1], saved[2], grads[0], grad_sum);
    } else
#endif
    {
      result = ComposedBackward(saved[0], saved[1], saved[2], grads[0], grad_sum);
    }
    return {result.grad_x, has_delta ? result.grad_x : Tensor(), result.grad_weight, Tensor()};
  }
};

}  // namespace

NormedSum AddRmsNorm(const Tensor& x, const Tensor& delta, const Tensor& weight, double epsilon) {
  CKV_CHECK(weight.dim() == 1 && x.size(-1) == weight.size(0) &&
                (!delta.defined() || delta.sizes() == x.sizes()),
            "norm of ", x.sizes(), " with weights ", weight.sizes());
  if (!at::GradMode::is_enabled()) {
    NormForward result = Forward(x, delta, weight, epsilon, /*wants_rstd=*/false);
    return {result.sum, result.normed};
  }
  const std::optional<Tensor> given = delta.defined() ? std::optional<Tensor>(delta) : std::nullopt;
  const variable_list results = AddRmsNormFunction::apply(x, given, weight, epsilon);
  return {delta.defined() ? results[1] : x, results[0]};
}

}  // namespace ckv
