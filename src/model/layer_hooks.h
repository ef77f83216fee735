// Lets somebody else bring a layer's weights when they are needed.
#pragma once

#include <ATen/core/Tensor.h>

namespace ckv {

using at::Tensor;

class LayerHooks {
 public:
  virtual ~LayerHooks() = default;

  // Before each run of a layer: in each pass, and when a segment is computed again in the backward
  // step.
  virtual void BeforeLayer(int layer) = 0;
  // For each tensor that a run of the layer gives with gradient: hidden states, keys, values.
  virtual void AfterLayer(int layer, const Tensor& output) = 0;
};

}  // namespace ckv
