#include "nn/modules.h"

#include <torch/torch.h>

#include "base/error.h"
#include "nn/prefill_ops.h"

namespace ckv {

ProjectionImpl::ProjectionImpl(int64_t in, int64_t out, bool with_bias) {
  weight_ = register_parameter("weight", at::empty({out, in}));
  if (with_bias) bias_ = register_parameter("bias", at::empty({out}));
}

Tensor ProjectionImpl::forward(const Tensor& x) {
  const Tensor plain = at::linear(x, weight_, bias_);
  if (lora_a_ == nullptr) return plain;
  const Tensor input = lora_dropout_ > 0.0 ? at::dropout(x, lora_dropout_, is_training()) : x;
  return plain + lora_b_->forward(lora_a_->forward(input)) * lora_scale_;
}

void ProjectionImpl::AddAdapter(int64_t rank, double scale, double dropout) {
  CKV_CHECK(lora_a_ == nullptr, "a second adapter");
  lora_a_ =
      register_module("lora_A", std::make_shared<ProjectionImpl>(weight_.size(1), rank, false));
  lora_b_ =
      register_module("lora_B", std::make_shared<ProjectionImpl>(rank, weight_.size(0), false));
  for (const auto& part : {lora_a_, lora_b_}) part->to(weight_.device(), weight_.scalar_type());
  lora_scale_ = scale;
  lora_dropout_ = dropout;
}

void ProjectionImpl::AddTo(const Tensor& x, Tensor& y) const {
  CKV_CHECK(lora_a_ == nullptr, "an adapter is not part of the weight");
  y.addmm_(x, weight_.detach().t());
  if (bias_.defined()) y.add_(bias_.detach());
}

RmsNormImpl::RmsNormImpl(int64_t width, double epsilon) : epsilon_(epsilon) {
  weight_ = register_parameter("weight", at::empty({width}));
}

Tensor RmsNormImpl::forward(const Tensor& x) {
  return at::rms_norm(x, {weight_.size(0)}, weight_, epsilon_);
}

Tensor RmsNormImpl::Inference(const Tensor& x) const {
  return PrefillNorm(x, weight_.detach(), epsilon_);
}

GatedMlpImpl::GatedMlpImpl(int64_t width, int64_t inner, const std::string& activation,
                           bool with_bias)
    : activation_(activation),
      gate_(register_module("gate_proj", Projection(width, inner, with_bias))),
      up_(register_module("up_proj", Projection(width, inner, with_bias))),
      down_(register_module("down_proj", Projection(inner, width, with_bias))) {}

Tensor GatedMlpImpl::forward(const Tensor& x) {
  Tensor gate = gate_(x);
  if (activation_ == "silu") {
    gate = at::silu(gate);
  } else {
    gate = at::gelu(gate, activation_ == "gelu" ? "none" : "tanh");
  }
  return down_(gate * up_(x));
}

void GatedMlpImpl::AddTo(const Tensor& x, Tensor& y) const {
  const Tensor packed =
      PackedProduct(x, {gate_->weight(), up_->weight()}, {gate_->bias(), up_->bias()});
  Tensor inner = at::empty({x.size(0), gate_->weight().size(0)}, x.options());
  PrefillGate(packed, activation_, inner);
  down_->AddTo(inner, y);
}

}  // namespace ckv
