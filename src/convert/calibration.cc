#include "convert/calibration.h"

#include <tuple>

#include <torch/torch.h>

#include "base/error.h"

namespace ckv {
namespace {

void Accumulate(Tensor& sum, const Tensor& term) {
  sum = sum.defined() ? sum.add_(term) : term.clone();
}

Tensor WithOnes(const Tensor& x) { return at::cat({x, at::ones_like(x.narrow(-1, 0, 1))}, -1); }

const std::vector<int>& ReadersOf(const KvSharingSpec& spec, int owner, KvKind kind) {
  return kind == KvKind::kKeys ? spec.k_readers(owner) : spec.v_readers(owner);
}

}  // namespace

Calibration::Calibration(const Decoder& source, const KvSharingSpec& target)
    : source_(source), target_(target), with_bias_(source->config().attention_bias) {}

Tensor Calibration::NormalisedInput(int layer, const Tensor& input) const {
  const auto modules = source_->named_modules();
  const std::string name = Str("model.layers.", layer, ".input_layernorm");
  return modules[name]->as<RmsNormImpl>()->forward(input).flatten(0, 1);
}

Tensor Calibration::MeanProjection(const std::vector<int>& readers, KvKind kind,
                                   const std::vector<Tensor>& inputs) const {
  const auto modules = source_->named_modules();
  Tensor sum;
  for (const int reader : readers) {
    const std::string name = Str("model.layers.", reader, ".self_attn.", ProjectionName(kind));
    const Tensor y =
        modules[name]->as<ProjectionImpl>()->forward(inputs[static_cast<size_t>(reader)]);
    Accumulate(sum, y.to(at::kDouble));
  }
  return sum / static_cast<double>(readers.size());
}

void Calibration::Add(const Tensor& tokens) {
  at::NoGradGuard no_grad;
  std::vector<Tensor> outputs;
  DecoderRun run;
  run.layer_outputs = &outputs;
  source_->Hidden({tokens, {}, {}}, run);
  const auto parameters = source_->named_parameters();
  const Tensor embedded = at::embedding(parameters["model.embed_tokens.weight"], tokens);
  std::vector<Tensor> inputs;  // normalised, [B T, C] each
  for (int layer = 0; layer < target_.num_layers(); ++layer) {
    inputs.push_back(
        NormalisedInput(layer, layer == 0 ? embedded : outputs[static_cast<size_t>(layer - 1)]));
  }
  for (const int owner : target_.kv_layers()) {
    Tensor x = inputs[static_cast<size_t>(owner)].to(at::kDouble);
    if (with_bias_) x = WithOnes(x);
    Equations& sums = equations_[owner];
    Accumulate(sums.inputs, at::mm(x.t(), x));
    for (const KvKind kind : {KvKind::kKeys, KvKind::kValues}) {
      const std::vector<int>& readers = ReadersOf(target_, owner, kind);
      if (readers.empty()) continue;
      Accumulate(kind == KvKind::kKeys ? sums.keys : sums.values,
                 at::mm(MeanProjection(readers, kind, inputs).t(), x));
    }
  }
  num_tokens_ += tokens.numel();
}

KvProjection Calibration::Solve(int owner, KvKind kind, const KvProjection& mean,
                                double ridge) const {
  const auto found = equations_.find(owner);
  CKV_CHECK(found != equations_.end(), "no text was added for layer ", owner);
  const Tensor a = found->second.inputs.cpu();
  const Tensor b = (kind == KvKind::kKeys ? found->second.keys : found->second.values).cpu();
  Tensor prior = mean.weight.to(at::kDouble);
  if (with_bias_) prior = at::cat({prior, mean.bias.to(at::kDouble).unsqueeze(1)}, 1);
  const double lambda = ridge * a.trace().item<double>() / static_cast<double>(a.size(0));
  const Tensor left = a + lambda * at::eye(a.size(0), a.options());
  const auto [factor, info] = at::linalg_cholesky_ex(left);
  const Tensor diagonal = factor.diagonal();
  // A factor of a singular matrix shows rounding where zeros should be.
  const bool singular = info.item<int>() != 0 ||
                        diagonal.min().item<double>() <= 1e-7 * diagonal.max().item<double>();
  if (singular) {
    throw ConfigError("--ridge",
                      Str(ridge, " with ", num_tokens_,
                          " tokens of text leaves the keys and values "
                          "of layer ",
                          owner, " undetermined; give more text or a larger ridge, e.g. 1e-4"));
  }
  const Tensor solved = at::cholesky_solve((b + lambda * prior).t(), factor).t();
  KvProjection result;
  result.weight = solved.narrow(1, 0, mean.weight.size(1)).contiguous();
  if (with_bias_) result.bias = solved.select(1, mean.weight.size(1)).contiguous();
  return result;
}

}  // namespace ckv
