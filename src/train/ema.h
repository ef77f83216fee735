// An exponential moving average of the weights, for evaluation.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ckv {

using at::Tensor;

class Ema {
 public:
  using Named = std::vector<std::pair<std::string, Tensor>>;

  // Starts as a copy of `weights`.
  Ema(const Named& weights, double decay);

  // mean = decay * mean + (1 - decay) * weights
  void Update(const Named& weights);

  const Named& weights() const { return mean_; }

 private:
  Named mean_;
  double decay_;
};

}  // namespace ckv
