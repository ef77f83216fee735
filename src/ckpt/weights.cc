#include "ckpt/weights.h"

#include <set>

#include <torch/torch.h>

#include "base/error.h"

namespace ckv {
namespace {

std::string ShapeText(at::IntArrayRef shape) { return Str(shape); }

void CheckShape(const TensorFiles& files, const std::string& name, const Tensor& parameter,
                bool may_grow_rows) {
  const std::vector<int64_t>& stored = files.Shape(name);
  const at::IntArrayRef wanted = parameter.sizes();
  bool fits = wanted == at::IntArrayRef(stored);
  if (!fits && may_grow_rows && stored.size() == 2 && wanted.size() == 2) {
    fits = stored[1] == wanted[1] && stored[0] <= wanted[0];
  }
  if (!fits) {
    throw FormatError(
        files.PathOf(name), Str("tensor '", name, "'"),
        Str("has the shape ", ShapeText(stored), ", but the model needs ", ShapeText(wanted)));
  }
}

}  // namespace

NamedTensors NamedParameters(const torch::nn::Module& module) {
  NamedTensors result;
  for (const auto& item : module.named_parameters()) result.emplace_back(item.key(), item.value());
  return result;
}

void LoadWeights(const TensorFiles& files, torch::nn::Module& module, const LoadOptions& options) {
  const NamedTensors parameters = NamedParameters(module);
  std::set<std::string> known;
  for (const auto& [name, parameter] : parameters) {
    known.insert(name);
    if (files.Has(name)) {
      CheckShape(files, name, parameter, options.may_grow_rows && options.may_grow_rows(name));
    } else {
      throw FormatError(files.PathOf(files.Names().front()), Str("tensor '", name, "'"),
                        "is not there, but the model needs it");
    }
  }
  for (const std::string& name : files.Names()) {
    if (known.count(name) == 0 && !(options.may_ignore && options.may_ignore(name))) {
      throw FormatError(files.PathOf(name), Str("tensor '", name, "'"),
                        "is no parameter of the model");
    }
  }
  at::NoGradGuard no_grad;
  for (const auto& [name, parameter] : parameters) {
    const Tensor stored = files.Read(name);
    Tensor target = parameter;
    if (stored.dim() == 2) target = target.narrow(0, 0, stored.size(0));
    target.copy_(stored);
  }
}

}  // namespace ckv
