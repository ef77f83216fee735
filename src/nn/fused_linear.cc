#include "nn/fused_linear.h"

#include <torch/torch.h>

#include "base/error.h"
#include "nn/joined.h"
#include "nn/kernel_call.h"

#ifdef CKV_HAVE_CUDA
#include "nn/cuda/fused_kernels.h"
#include "nn/decode_params.h"
#endif

namespace ckv {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

int64_t TotalRows(at::TensorList weights) {
  int64_t rows = 0;
  for (const Tensor& weight : weights) rows += weight.size(0);
  return rows;
}

// [sum of N_i, K], without gradient.
Tensor AsOneMatrix(at::TensorList weights) {
  at::NoGradGuard no_grad;
  if (weights.size() == 1) return weights.front().detach();
  const Tensor joined = JoinedView(weights.vec());
  return joined.defined() ? joined : at::cat(weights, 0);
}

Tensor AsRows(const Tensor& x) { return x.reshape({-1, x.size(-1)}); }

// Gradients of x [.., K] and of the weights from that of the joint product, [rows, sum of N_i].
variable_list ProductBackward(const Tensor& x, at::TensorList weights, const Tensor& grad,
                              bool wants_x) {
  variable_list result(1 + weights.size());
  if (wants_x) result[0] = at::mm(grad, AsOneMatrix(weights)).view(x.sizes());
  const Tensor grad_weight = at::mm(grad.t(), AsRows(x));
  int64_t row = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    result[1 + i] = grad_weight.narrow(0, row, weights[i].size(0));
    row += weights[i].size(0);
  }
  return result;
}

std::vector<int64_t> WithLast(const Tensor& x, int64_t last) {
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = last;
  return shape;
}

class PackedLinearFunction : public torch::autograd::Function<PackedLinearFunction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& x, at::TensorList weights) {
    variable_list saved = {x};
    saved.insert(saved.end(), weights.begin(), weights.end());
    context->save_for_backward(saved);
    return at::mm(AsRows(x), AsOneMatrix(weights).t()).view(WithLast(x, TotalRows(weights)));
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list saved = context->get_saved_variables();
    const at::TensorList weights = at::TensorList(saved).slice(1);
    return ProductBackward(saved[0], weights, AsRows(grads[0]), context->needs_input_grad(0));
  }
};

// How the heads of a packed projection are laid out.
struct HeadLayout {
  int64_t head_dim = 0;
  std::vector<int64_t> heads;
  std::vector<bool> rotates;
  std::vector<int64_t> skips;
  RopeTable rope;

  int64_t packed_heads() const {
    int64_t total = 0;
    for (const int64_t count : heads) total += count;
    return total;
  }
};

#ifdef CKV_HAVE_CUDA
// The table may be expanded over rows.
bool TableFits(const HeadLayout& layout) {
  return layout.rope.cos.scalar_type() == at::kFloat &&
         layout.heads.size() <= kernels::kMostParts && layout.head_dim % 2 == 0;
}

kernels::RotateHeadsParams HeadsParams(const Tensor& packed, const HeadLayout& layout,
                                       const Tensor& cos, const Tensor& sin) {
  kernels::RotateHeadsParams params = {};
  params.type = HalfTypeOf(packed);
  params.packed = packed.data_ptr();
  params.cos = cos.data_ptr<float>();
  params.sin = sin.data_ptr<float>();
  params.table_per_row = layout.rope.cos.dim() == 4;
  params.num_parts = static_cast<int>(layout.heads.size());
  params.batch = packed.size(0);
  params.tokens = packed.size(1);
  params.head_dim = static_cast<int>(layout.head_dim);
  for (size_t i = 0; i < layout.heads.size(); ++i) {
    params.parts[i].heads = static_cast<int>(layout.heads[i]);
    params.parts[i].rotates = layout.rotates[i];
    params.parts[i].skip = static_cast<int>(layout.skips[i]);
  }
  return params;
}
#endif

// [B, T, packed heads, D] -> the parts [B, heads, T, D], as views.
variable_list SplitParts(const Tensor& packed, const HeadLayout& layout) {
  const Tensor heads =
      packed.view({packed.size(0), packed.size(1), layout.packed_heads(), layout.head_dim});
  variable_list parts;
  int64_t next = 0;
  for (const int64_t count : layout.heads) {
    parts.push_back(heads.narrow(2, next, count).transpose(1, 2));
    next += count;
  }
  return parts;
}

void SkipTokens(const HeadLayout& layout, variable_list& parts) {
  for (size_t i = 0; i < parts.size(); ++i) {
    const int64_t skip = layout.skips[i];
    if (skip > 0) parts[i] = parts[i].narrow(2, skip, parts[i].size(2) - skip);
  }
}

// packed [B, T, N], contiguous and nobody else's.
variable_list RotateParts(const Tensor& packed, const HeadLayout& layout) {
  variable_list parts = SplitParts(packed, layout);
#ifdef CKV_HAVE_CUDA
  if (HasKernels(packed) && TableFits(layout)) {
    const Tensor cos = layout.rope.cos.contiguous();
    const Tensor sin = layout.rope.sin.contiguous();
    kernels::RotateHeads(HeadsParams(packed, layout, cos, sin), CurrentStream());
    SkipTokens(layout, parts);
    return parts;
  }
#endif
  for (size_t i = 0; i < parts.size(); ++i) {
    if (layout.rotates[i]) parts[i] = ApplyRope(parts[i], layout.rope);
  }
  SkipTokens(layout, parts);
  return parts;
}

// The gradient of the packed projection, [B, T, N], from those of the parts (undefined = zeros).
Tensor PackGrads(const variable_list& grads, const Tensor& x, const HeadLayout& layout) {
  const int64_t width = layout.packed_heads() * layout.head_dim;
#ifdef CKV_HAVE_CUDA
  if (HasKernels(x) && TableFits(layout)) {
    const Tensor packed = at::empty({x.size(0), x.size(1), width}, x.options());
    const Tensor cos = layout.rope.cos.contiguous();
    const Tensor sin = layout.rope.sin.contiguous();
    kernels::RotateHeadsParams params = HeadsParams(packed, layout, cos, sin);
    variable_list kept;
    for (size_t i = 0; i < grads.size(); ++i) {
      if (!grads[i].defined()) continue;
      const Tensor grad = grads[i].stride(3) == 1 ? grads[i] : grads[i].contiguous();
      kept.push_back(grad);
      params.parts[i].grad = grad.data_ptr();
      params.parts[i].batch_stride = grad.stride(0);
      params.parts[i].head_stride = grad.stride(1);
      params.parts[i].token_stride = grad.stride(2);
    }
    kernels::PackHeadGrads(params, CurrentStream());
    return packed;
  }
#endif
  const RopeTable back = {layout.rope.cos, -layout.rope.sin};
  variable_list parts;
  for (size_t i = 0; i < grads.size(); ++i) {
    Tensor grad = grads[i];
    if (grad.defined() && layout.skips[i] > 0) {
      grad = at::constant_pad_nd(grad, {0, 0, layout.skips[i], 0});
    }
    if (!grad.defined()) {
      grad = at::zeros({x.size(0), layout.heads[i], x.size(1), layout.head_dim}, x.options());
    } else if (layout.rotates[i]) {
      grad = ApplyRope(grad, back);
    }
    parts.push_back(grad.transpose(1, 2));
  }
  return at::cat(parts, 2).view({x.size(0), x.size(1), width});
}

class ProjectHeadsFunction : public torch::autograd::Function<ProjectHeadsFunction> {
 public:
  static variable_list forward(AutogradContext* context, const Tensor& x, at::TensorList weights,
                               const std::shared_ptr<HeadLayout>& layout) {
    context->set_materialize_grads(false);
    variable_list saved = {x};
    saved.insert(saved.end(), weights.begin(), weights.end());
    context->save_for_backward(saved);
    context->saved_data["layout"] =
        torch::IValue::make_capsule(c10::make_intrusive<Holder>(layout));
    const Tensor packed = at::mm(AsRows(x), AsOneMatrix(weights).t());
    return RotateParts(packed.view({x.size(0), x.size(1), packed.size(1)}), *layout);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto holder =
        c10::static_intrusive_pointer_cast<Holder>(context->saved_data["layout"].toCapsule());
    const variable_list saved = context->get_saved_variables();
    const at::TensorList weights = at::TensorList(saved).slice(1);
    const Tensor grad = PackGrads(grads, saved[0], *holder->layout);
    variable_list result =
        ProductBackward(saved[0], weights, AsRows(grad), context->needs_input_grad(0));
    result.emplace_back();  // of the layout
    return result;
  }

 private:
  struct Holder : torch::CustomClassHolder {
    explicit Holder(std::shared_ptr<HeadLayout> l) : layout(std::move(l)) {}
    std::shared_ptr<HeadLayout> layout;
  };
};

// Value and derivative of the activation, in x's type.
Tensor GateValue(const Tensor& x, const std::string& activation) {
  if (activation == "silu") return at::silu(x);
  return at::gelu(x, activation == "gelu" ? "none" : "tanh");
}

Tensor GateBackward(const Tensor& grad, const Tensor& x, const std::string& activation) {
  if (activation == "silu") return at::silu_backward(grad, x);
  return at::gelu_backward(grad, x, activation == "gelu" ? "none" : "tanh");
}

at::ScalarType GateMaths(const Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

#ifdef CKV_HAVE_CUDA
kernels::GatedUnitParams GateParamsOf(const Tensor& packed, const std::string& activation) {
  kernels::GatedUnitParams params = {};
  params.type = HalfTypeOf(packed);
  params.packed = packed.data_ptr();
  params.width = static_cast<int>(packed.size(-1) / 2);
  params.rows = packed.numel() / packed.size(-1);
  params.activation = ActivationOf(activation);
  return params;
}
#endif

Tensor GateForward(const Tensor& given, const std::string& activation) {
  const int64_t width = given.size(-1) / 2;
#ifdef CKV_HAVE_CUDA
  if (HasKernels(given)) {
    const Tensor packed = given.contiguous();
    Tensor out = at::empty(WithLast(packed, width), packed.options());
    kernels::GatedUnitParams params = GateParamsOf(packed, activation);
    params.out = out.data_ptr();
    kernels::GatedUnit(params, CurrentStream());
    return out;
  }
#endif
  const Tensor wide = given.to(GateMaths(given));
  return (GateValue(wide.narrow(-1, 0, width), activation) * wide.narrow(-1, width, width))
      .to(given.scalar_type());
}

class GatedUnitFunction : public torch::autograd::Function<GatedUnitFunction> {
 public:
  static Tensor forward(AutogradContext* context, const Tensor& packed,
                        const std::string& activation) {
    context->save_for_backward({packed});
    context->saved_data["activation"] = activation;
    return GateForward(packed, activation);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const Tensor given = context->get_saved_variables()[0];
    const std::string activation = context->saved_data["activation"].toStringRef();
    const int64_t width = given.size(-1) / 2;
#ifdef CKV_HAVE_CUDA
    if (HasKernels(given)) {
      const Tensor packed = given.contiguous();
      const Tensor grad = grads[0].contiguous();
      Tensor grad_packed = at::empty_like(packed);
      kernels::GatedUnitParams params = GateParamsOf(packed, activation);
      params.grad = grad.data_ptr();
      params.grad_packed = grad_packed.data_ptr();
      kernels::GatedUnitGrad(params, CurrentStream());
      return {grad_packed, Tensor()};
    }
#endif
    const Tensor wide = given.to(GateMaths(given));
    const Tensor grad = grads[0].to(wide.scalar_type());
    const Tensor gate = wide.narrow(-1, 0, width);
    const Tensor grad_gate = GateBackward(grad * wide.narrow(-1, width, width), gate, activation);
    return {at::cat({grad_gate, grad * GateValue(gate, activation)}, -1).to(given.scalar_type()),
            Tensor()};
  }
};

HeadLayout LayoutOf(const std::vector<HeadProjection>& projections, int64_t head_dim,
                    const RopeTable& rope) {
  HeadLayout layout;
  layout.head_dim = head_dim;
  layout.rope = rope;
  for (const HeadProjection& projection : projections) {
    layout.heads.push_back(projection.weight.size(0) / head_dim);
    layout.rotates.push_back(projection.rotates);
    layout.skips.push_back(projection.skip);
  }
  return layout;
}

void CheckProduct(const Tensor& x, at::TensorList weights) {
  CKV_CHECK(!weights.empty(), "a product without weights");
  for (const Tensor& weight : weights) {
    CKV_CHECK(weight.dim() == 2 && weight.size(1) == x.size(-1), "product of ", x.sizes(),
              " with weights ", weight.sizes());
  }
}

}  // namespace

Tensor PackedLinear(const Tensor& x, const std::vector<Tensor>& weights) {
  CheckProduct(x, weights);
  return PackedLinearFunction::apply(x, at::TensorList(weights));
}

Tensor JoinedWeights(const std::vector<Tensor>& weights) { return AsOneMatrix(weights); }

std::vector<Tensor> RotateProduct(const Tensor& product,
                                  const std::vector<HeadProjection>& projections, int64_t head_dim,
                                  const RopeTable& rope) {
  CKV_CHECK(!at::GradMode::is_enabled() && product.is_contiguous(), "a product with gradient");
  return RotateParts(product, LayoutOf(projections, head_dim, rope));
}

std::vector<Tensor> ProjectHeads(const Tensor& x, const std::vector<HeadProjection>& projections,
                                 int64_t head_dim, const RopeTable& rope) {
  auto layout = std::make_shared<HeadLayout>(LayoutOf(projections, head_dim, rope));
  std::vector<Tensor> weights;
  for (const HeadProjection& projection : projections) weights.push_back(projection.weight);
  CheckProduct(x, weights);
  CKV_CHECK(x.dim() == 3, "heads of ", x.sizes());
  return ProjectHeadsFunction::apply(x, at::TensorList(weights), layout);
}

Tensor GatedUnit(const Tensor& packed, const std::string& activation) {
  CKV_CHECK(packed.size(-1) % 2 == 0, "gate and up of ", packed.sizes());
  return GatedUnitFunction::apply(packed, activation);
}

}  // namespace ckv
