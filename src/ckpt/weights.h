// The parameters of a module from and to tensors with the same names.
#pragma once

#include <functional>
#include <string>

#include <torch/nn/module.h>

#include "ckpt/tensor_file.h"

namespace ckv {

struct LoadOptions {
  // True for a tensor of the file that the module has no use for by design, such as the key
  // projection of a layer that nobody reads. Others that are left over are an error.
  std::function<bool(const std::string& name)> may_ignore;

  // True for a parameter of which the file may lack rows, which keep their values then: a grown
  // vocabulary. Others must have their shape.
  std::function<bool(const std::string& name)> may_grow_rows;
};

// Gives a module's parameters the values in files, one at a time, so that nobody need hold them
// all.
class WeightLoader {
 public:
  // Changes nothing. Throws FormatError for a parameter that is missing or of another shape, and
  // for a tensor that is left over.
  WeightLoader(TensorFiles files, const torch::nn::Module& module, const LoadOptions& options = {});

  // `parameter`, of the module's shape, any device and dtype, becomes the tensor of that name.
  void Fill(const std::string& name, Tensor parameter) const;

 private:
  TensorFiles files_;
};

// All parameters of `module` by a WeightLoader.
void LoadWeights(TensorFiles files, torch::nn::Module& module, const LoadOptions& options = {});

// The module's parameters in registration order.
NamedTensors NamedParameters(const torch::nn::Module& module);

}  // namespace ckv
