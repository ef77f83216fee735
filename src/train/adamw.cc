#include "train/adamw.h"

#include <torch/torch.h>

#include "base/error.h"

namespace ckv {

void OptimConfig::Visit(ConfigVisitor& v) {
  v.Choice("kind", kind, {"adamw", "adam"},
           "adamw: decay of its own, of matrices; adam: decay in the gradient, of all parameters");
  v.Field("lr", lr, "peak learning rate");
  v.Require(lr > 0.0, "must be > 0");
  v.Field("beta1", beta1, "decay of the first moment");
  v.Require(beta1 >= 0.0 && beta1 < 1.0, "must be from 0 to below 1");
  v.Field("beta2", beta2, "decay of the second moment");
  v.Require(beta2 >= 0.0 && beta2 < 1.0, "must be from 0 to below 1");
  v.Field("eps", eps, "added to the root of the second moment");
  v.Require(eps > 0.0, "must be > 0");
  v.Field("weight_decay", weight_decay, "decay of the weights, as kind says");
  v.Require(weight_decay >= 0.0, "must be >= 0");
  v.Field("clip_norm", clip_norm, "largest global gradient norm; 0 = no clipping");
  v.Require(clip_norm >= 0.0, "must be >= 0");
}

AdamW::AdamW(Named parameters, const OptimConfig& config, std::vector<bool> decays, bool fused)
    : config_(config), decays_(std::move(decays)) {
  at::NoGradGuard no_grad;
  if (decays_.empty()) {
    for (const auto& item : parameters) decays_.push_back(item.second.dim() >= 2);
  }
  if (config_.kind == "adam") decays_.assign(decays_.size(), true);
  CKV_CHECK(decays_.size() == parameters.size(), "decay of ", decays_.size(), " parameters");
  for (auto& [name, parameter] : parameters) {
    names_.push_back(name);
    working_.push_back(parameter);
    const bool low =
        parameter.scalar_type() != at::kFloat && parameter.scalar_type() != at::kDouble;
    separate_masters_ |= low;
    masters_.push_back(low ? parameter.detach().to(at::kFloat) : parameter.detach());
    first_moments_.push_back(at::zeros_like(masters_.back()));
    second_moments_.push_back(at::zeros_like(masters_.back()));
  }
  CKV_CHECK(!working_.empty(), "nothing to train");
  updates_ = at::zeros({}, working_.front().options().dtype(at::kFloat).requires_grad(false));
  if (!fused || config_.kind != "adamw" || !FusedAdamW::Works(working_.front())) {
    MakeSums();
    return;
  }
  std::vector<FusedAdamW::Parameter> all;
  for (size_t i = 0; i < working_.size(); ++i) {
    const double decay = decays_[i] ? config_.weight_decay : 0.0;
    all.push_back({working_[i], masters_[i], first_moments_[i], second_moments_[i], decay});
  }
  fused_.emplace(std::move(all));
}

void AdamW::MakeSums() {
  if (!grads_.empty()) return;
  for (const Tensor& master : masters_) grads_.push_back(at::zeros_like(master));
}

// A single micro-batch's gradients need no sums in fp32.
void AdamW::FoldFresh() {
  MakeSums();
  for (size_t i = 0; i < fresh_.size(); ++i) {
    if (fresh_[i].defined()) grads_[i].copy_(fresh_[i]);
  }
  fresh_.clear();
}

AdamW::StepResult AdamW::FusedStep(double lr, const Tensor& loss) {
  FusedAdamW::Rates rates;
  rates.lr = lr;
  rates.beta1 = config_.beta1;
  rates.beta2 = config_.beta2;
  rates.eps = config_.eps;
  rates.clip_norm = config_.clip_norm;
  const bool fresh = !fresh_.empty();
  const FusedAdamW::Result result =
      fused_->Step(fresh ? fresh_ : grads_, rates, updates_, loss, norm_reduction_);
  fresh_.clear();
  if (!fresh) at::_foreach_zero_(grads_);
  accumulated_ = false;
  return {result.grad_norm, result.skipped};
}

void AdamW::Accumulate() {
  at::NoGradGuard no_grad;
  if (fused_.has_value() && !accumulated_) {
    for (Tensor& parameter : working_) {
      fresh_.push_back(parameter.grad());
      parameter.mutable_grad() = Tensor();
    }
    accumulated_ = true;
    return;
  }
  FoldFresh();
  std::vector<Tensor> sums;
  std::vector<Tensor> fresh;
  for (size_t i = 0; i < working_.size(); ++i) {
    Tensor& grad = working_[i].mutable_grad();
    if (!grad.defined()) continue;
    // The first micro-batch's gradients are taken over as they are where no conversion is needed.
    if (!accumulated_ && grad.scalar_type() == grads_[i].scalar_type()) {
      grads_[i] = grad;
    } else {
      sums.push_back(grads_[i]);
      fresh.push_back(
          grad.scalar_type() == grads_[i].scalar_type() ? grad : grad.to(grads_[i].scalar_type()));
    }
    grad = Tensor();
  }
  if (!sums.empty()) at::_foreach_add_(sums, fresh);
  accumulated_ = true;
}

std::vector<size_t> AdamW::Group(bool decays) const {
  std::vector<size_t> group;
  for (size_t i = 0; i < masters_.size(); ++i) {
    if (decays_[i] == decays) group.push_back(i);
  }
  return group;
}

AdamW::StepResult AdamW::Step(double lr, const Tensor& loss) {
  at::NoGradGuard no_grad;
  CKV_CHECK(accumulated_, "an optimizer step without gradients");
  if (fused_.has_value()) return FusedStep(lr, loss);
  StepResult result;
  result.grad_norm = at::linalg_vector_norm(at::stack(at::_foreach_norm(grads_)));
  if (norm_reduction_) result.grad_norm = norm_reduction_(result.grad_norm);
  const Tensor finite = at::isfinite(result.grad_norm) & at::isfinite(loss);
  result.skipped = finite.logical_not().to(at::kFloat);

  // The kernel divides gradients by grad_scale and does nothing where found_inf is 1.
  Tensor scale;
  if (config_.clip_norm > 0.0) {
    // Published Adam recipes clip by clip / (norm + 1e-6).
    const double beside = config_.kind == "adam" ? 1e-6 : 0.0;
    const auto wide = masters_.front().scalar_type();
    scale = at::clamp_min((result.grad_norm + beside) / config_.clip_norm, 1.0);
    scale = at::where(finite, scale, at::ones_like(scale));
    if (wide == at::kDouble && config_.kind == "adam") {
      // The kernel takes its scale in fp32, which doubles would feel.
      at::_foreach_div_(grads_, scale.item<double>());
      scale = Tensor();
    } else {
      scale = scale.to(at::kFloat);
    }
  }
  updates_.add_(1.0 - result.skipped);
  const Tensor count = updates_.clamp_min(1.0);  // the kernel must not divide by 0, even to skip
  for (const bool decays : {true, false}) {
    std::vector<Tensor> weights, grads, first, second, steps;
    for (const size_t i : Group(decays)) {
      weights.push_back(masters_[i]);
      grads.push_back(grads_[i]);
      first.push_back(first_moments_[i]);
      second.push_back(second_moments_[i]);
      steps.push_back(count);
    }
    if (weights.empty()) continue;
    const auto update = [&](const auto& kernel) {
      kernel(weights, grads, first, second, /*max_exp_avg_sqs=*/at::TensorList(), steps, lr,
             config_.beta1, config_.beta2, decays ? config_.weight_decay : 0.0, config_.eps,
             /*amsgrad=*/false, /*maximize=*/false,
             scale.defined() ? std::optional<Tensor>(scale) : std::nullopt,
             std::optional<Tensor>(result.skipped));
    };
    if (config_.kind == "adam") {
      update([](auto&&... arguments) { at::_fused_adam_(arguments...); });
    } else {
      update([](auto&&... arguments) { at::_fused_adamw_(arguments...); });
    }
  }
  at::_foreach_zero_(grads_);
  accumulated_ = false;
  RefreshWorkingWeights();
  return result;
}

void AdamW::RefreshWorkingWeights() {
  if (!separate_masters_) return;
  at::NoGradGuard no_grad;
  at::_foreach_copy_(working_, masters_);
}

int64_t AdamW::num_updates() const { return static_cast<int64_t>(updates_.item<float>()); }

AdamW::Named AdamW::Weights() const {
  Named result;
  for (size_t i = 0; i < names_.size(); ++i) result.emplace_back(names_[i], masters_[i]);
  return result;
}

AdamW::Named AdamW::State() const {
  Named result;
  for (size_t i = 0; i < names_.size(); ++i) {
    result.emplace_back("exp_avg." + names_[i], first_moments_[i]);
    result.emplace_back("exp_avg_sq." + names_[i], second_moments_[i]);
  }
  result.emplace_back("updates", updates_);
  return result;
}

int64_t AdamW::bytes() const {
  int64_t total = 0;
  for (size_t i = 0; i < masters_.size(); ++i) {
    if (separate_masters_) total += static_cast<int64_t>(masters_[i].nbytes());
    total += static_cast<int64_t>(first_moments_[i].nbytes() + second_moments_[i].nbytes());
    if (!grads_.empty()) total += static_cast<int64_t>(grads_[i].nbytes());
  }
  return total;
}

}  // namespace ckv
