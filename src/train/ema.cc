#include "train/ema.h"

#include <torch/torch.h>

namespace ckv {

Ema::Ema(const Named& weights, double decay) : decay_(decay) {
  for (const auto& [name, weight] : weights) mean_.emplace_back(name, weight.detach().clone());
}

void Ema::Update(const Named& weights) {
  at::NoGradGuard no_grad;
  std::vector<Tensor> means;
  std::vector<Tensor> fresh;
  for (size_t i = 0; i < mean_.size(); ++i) {
    means.push_back(mean_[i].second);
    fresh.push_back(weights[i].second);
  }
  at::_foreach_lerp_(means, fresh, 1.0 - decay_);
}

}  // namespace ckv
