#include "ckpt/weights.h"

#include <set>
#include <utility>

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

WeightLoader::WeightLoader(TensorFiles files, const torch::nn::Module& module,
                           const LoadOptions& options)
    : files_(std::move(files)) {
  std::set<std::string> known;
  for (const auto& [name, parameter] : NamedParameters(module)) {
    known.insert(name);
    if (files_.Has(name)) {
      CheckShape(files_, name, parameter, options.may_grow_rows && options.may_grow_rows(name));
    } else {
      throw FormatError(files_.PathOf(files_.Names().front()), Str("tensor '", name, "'"),
                        "is not there, but the model needs it");
    }
  }
  for (const std::string& name : files_.Names()) {
    if (known.count(name) == 0 && !(options.may_ignore && options.may_ignore(name))) {
      throw FormatError(files_.PathOf(name), Str("tensor '", name, "'"),
                        "is no parameter of the model");
    }
  }
}

void WeightLoader::Fill(const std::string& name, Tensor parameter) const {
  at::NoGradGuard no_grad;
  const Tensor stored = files_.Read(name);
  if (stored.dim() == 2) parameter = parameter.narrow(0, 0, stored.size(0));
  parameter.copy_(stored);
}

void LoadWeights(TensorFiles files, torch::nn::Module& module, const LoadOptions& options) {
  const WeightLoader loader(std::move(files), module, options);
  for (const auto& [name, parameter] : NamedParameters(module)) loader.Fill(name, parameter);
}

}  // namespace ckv
