#include "nn/decode_linear.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "nn/decode_params.h"
#include "nn/kernel_call.h"

namespace ckv {
namespace {

void CheckLinear(const Tensor& x, const DecodeLinear& linear) {
  CKV_CHECK(x.dim() == 2 && x.is_contiguous() && linear.weight.is_contiguous() &&
                linear.weight.size(1) == x.size(1) &&
                linear.weight.scalar_type() == x.scalar_type(),
            "product of ", x.sizes(), " with weights ", linear.weight.sizes());
}

#ifdef CKV_HAVE_CUDA
bool IsSmallBatch(const Tensor& x) {
  return HasKernels(x) && kernels::FitsSmallBatch(x.size(0), x.size(1));
}

bool IsMediumBatch(const Tensor& x) {
  return HasKernels(x) && kernels::FitsMediumBatch(x.size(0), x.size(1));
}

kernels::SmallBatchParams SmallBatchParamsOf(const Tensor& x, const DecodeLinear& linear,
                                             kernels::Epilogue epilogue) {
  kernels::SmallBatchParams params = {};
  params.type = HalfTypeOf(x);
  params.epilogue = epilogue;
  params.x = x.data_ptr();
  params.norm_weight = linear.norm_weight.defined() ? linear.norm_weight.data_ptr() : nullptr;
  params.epsilon = static_cast<float>(linear.epsilon);
  params.weight = linear.weight.data_ptr();
  params.bias = linear.bias.defined() ? linear.bias.data_ptr() : nullptr;
  params.batch = static_cast<int>(x.size(0));
  params.n = static_cast<int>(linear.weight.size(0));
  params.k = static_cast<int>(linear.weight.size(1));
  return params;
}

// The product of a medium batch, its norm in front of it.
void MediumProduct(const Tensor& x, kernels::SmallBatchParams params, const DecodeLinear& linear,
                   DecodeLinearScratch* scratch) {
  if (linear.norm_weight.defined()) {
    Tensor normed = scratch->Normed(x.size(0));
    RmsNormInto(x, linear.norm_weight, linear.epsilon, normed);
    params.x = normed.data_ptr();
    params.norm_weight = nullptr;
  }
  kernels::MediumBatchProduct(params, CurrentStream());
}
#endif

// out = norm(x) W^T + b by LibTorch's product.
void ComposedProject(const Tensor& x, const DecodeLinear& linear, DecodeLinearScratch& scratch,
                     Tensor& out) {
  Tensor input = x;
  if (linear.norm_weight.defined()) {
    input = scratch.Normed(x.size(0));
    RmsNormInto(x, linear.norm_weight, linear.epsilon, input);
  }
  at::mm_out(out, input, linear.weight.t());
  if (linear.bias.defined()) out.add_(linear.bias);
}

}  // namespace

DecodeLinearScratch::DecodeLinearScratch(int64_t batch, int64_t width, int64_t most_outputs,
                                         const at::TensorOptions& options)
    : normed_(at::empty({batch, width}, options)),
      product_(at::empty({batch * most_outputs}, options)) {}

Tensor DecodeLinearScratch::Product(int64_t batch, int64_t outputs) const {
  return product_.narrow(0, 0, batch * outputs).view({batch, outputs});
}

void Project(const Tensor& x, const DecodeLinear& linear, DecodeLinearScratch& scratch,
             Tensor& out) {
  CheckLinear(x, linear);
  CKV_CHECK(out.is_contiguous() && out.size(1) == linear.weight.size(0), "output ", out.sizes());
#ifdef CKV_HAVE_CUDA
  if (IsSmallBatch(x)) {
    kernels::SmallBatchParams params = SmallBatchParamsOf(x, linear, kernels::Epilogue::kStore);
    params.out = out.data_ptr();
    kernels::SmallBatchProduct(params, CurrentStream());
    return;
  }
  if (IsMediumBatch(x)) {
    kernels::SmallBatchParams params = SmallBatchParamsOf(x, linear, kernels::Epilogue::kStore);
    params.out = out.data_ptr();
    MediumProduct(x, params, linear, &scratch);
    return;
  }
#endif
  ComposedProject(x, linear, scratch, out);
}

void ProjectAdd(const Tensor& x, const DecodeLinear& linear, Tensor& stream) {
  CheckLinear(x, linear);
  CKV_CHECK(!linear.norm_weight.defined() && stream.is_contiguous() &&
                stream.size(1) == linear.weight.size(0),
            "residual stream ", stream.sizes());
#ifdef CKV_HAVE_CUDA
  if (IsSmallBatch(x)) {
    kernels::SmallBatchParams params = SmallBatchParamsOf(x, linear, kernels::Epilogue::kAdd);
    params.out = stream.data_ptr();
    kernels::SmallBatchProduct(params, CurrentStream());
    return;
  }
  if (IsMediumBatch(x)) {
    kernels::SmallBatchParams params = SmallBatchParamsOf(x, linear, kernels::Epilogue::kAdd);
    params.out = stream.data_ptr();
    MediumProduct(x, params, linear, nullptr);
    return;
  }
#endif
  stream.addmm_(x, linear.weight.t());
  if (linear.bias.defined()) stream.add_(linear.bias);
}

void ProjectGate(const Tensor& x, const DecodeLinear& linear, const std::string& activation,
                 DecodeLinearScratch& scratch, Tensor& out) {
  CheckLinear(x, linear);
  const int64_t outputs = linear.weight.size(0);
  CKV_CHECK(out.is_contiguous() && 2 * out.size(1) == outputs, "output ", out.sizes());
#ifdef CKV_HAVE_CUDA
  if (IsSmallBatch(x) && outputs % 16 == 0) {
    kernels::SmallBatchParams params = SmallBatchParamsOf(x, linear, kernels::Epilogue::kGate);
    params.out = out.data_ptr();
    params.activation = ActivationOf(activation);
    kernels::SmallBatchProduct(params, CurrentStream());
    return;
  }
  if (IsMediumBatch(x) && outputs % 2 == 0) {
    kernels::SmallBatchParams params = SmallBatchParamsOf(x, linear, kernels::Epilogue::kGate);
    params.out = out.data_ptr();
    params.activation = ActivationOf(activation);
    MediumProduct(x, params, linear, &scratch);
    return;
  }
#endif
  Tensor product = scratch.Product(x.size(0), outputs);
  ComposedProject(x, linear, scratch, product);
  GateInto(product, activation, out);
}

void ProjectRotate(const Tensor& x, const DecodeLinear& linear, DecodeLinearScratch& scratch,
                   RotateTarget& target) {
  CheckLinear(x, linear);
  const int64_t outputs = linear.weight.size(0);
  CKV_CHECK(outputs == target.packed_heads() * target.q.size(2), "weights ", linear.weight.sizes(),
            " for ", target.packed_heads(), " heads");
#ifdef CKV_HAVE_CUDA
  if (IsSmallBatch(x) && target.q.size(2) % 16 == 0) {
    kernels::SmallBatchParams params = SmallBatchParamsOf(x, linear, kernels::Epilogue::kRotate);
    params.rotate = RotateParamsOf(target);
    kernels::SmallBatchProduct(params, CurrentStream());
    return;
  }
  if (IsMediumBatch(x)) {
    kernels::SmallBatchParams params = SmallBatchParamsOf(x, linear, kernels::Epilogue::kRotate);
    params.rotate = RotateParamsOf(target);
    MediumProduct(x, params, linear, &scratch);
    return;
  }
#endif
  Tensor product = scratch.Product(x.size(0), outputs);
  ComposedProject(x, linear, scratch, product);
  RotateAndStore(product, target);
}

}  // namespace ckv
