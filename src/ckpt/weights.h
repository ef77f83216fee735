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

// Copies every parameter from `files`, converting dtypes. Before it changes anything it throws
// FormatError for a parameter that is missing, of another shape, or left over.
void LoadWeights(const TensorFiles& files, torch::nn::Module& module,
                 const LoadOptions& options = {});

// The module's parameters in registration order.
NamedTensors NamedParameters(const torch::nn::Module& module);

}  // namespace ckv
