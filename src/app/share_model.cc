#include "app/share_model.h"

#include <vector>

#include "ckpt/weights.h"
#include "sharing/plan.h"

namespace ckv {
namespace {

std::vector<int> UnitsOf(const DecoderConfig& config) {
  const IterationPlan plan(config.sharing(), config.forward_passes, config.backward_passes);
  std::vector<LayerSpan> spans;
  for (const LayerGroup& one : plan.groups()) spans.push_back({one.start, one.stop, one.iterative});
  return UnitsOfLayers(spans);
}

}  // namespace

SharedModel ShareModel(Decoder& model, CommGroup& group, const ShareOptions& options) {
  // What is not trained is whole on every rank.
  for (const auto& [name, weight] : NamedParameters(*model)) {
    if (weight.requires_grad()) continue;
    Tensor frozen = weight;
    if (options.fill) options.fill(name, frozen);
    frozen.set_data(weight.to(group.device(), options.type));
  }
  const NamedTensors parameters = model->TrainedParameters();
  DataParallel::Options sharing;
  sharing.config = options.dist;
  sharing.unit_of_layer = UnitsOf(model->config());
  sharing.type = options.type;
  if (options.fill) {
    sharing.fill = [&](size_t i) { options.fill(parameters[i].first, parameters[i].second); };
  }
  SharedModel shared;
  shared.parallel = std::make_unique<DataParallel>(group, parameters, sharing);
  DataParallel* const parallel = shared.parallel.get();
  if (options.dist.zero == 3) model->SetLayerHooks(parallel);
  // Stages above lay weights out side by side themselves.
  if (options.fused && options.dist.zero == 0 && options.type == at::kBFloat16) {
    model->PackProjections();
  }
  shared.optimizer =
      std::make_unique<AdamW>(parallel->owned(), options.optim, parallel->decays(), options.fused);
  shared.optimizer->SetNormReduction(
      [parallel](const Tensor& mine) { return parallel->CombineNorm(mine); });

  // Masters start from the weights as they were before rounding.
  at::NoGradGuard no_grad;
  const std::vector<Tensor> exact = parallel->TakeExact();
  const AdamW::Named masters = shared.optimizer->Weights();
  for (size_t i = 0; i < exact.size(); ++i) {
    Tensor master = masters[i].second;
    master.copy_(exact[i].reshape(master.sizes()));
  }
  return shared;
}

}  // namespace ckv
