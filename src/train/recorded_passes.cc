#include "train/recorded_passes.h"

#include <utility>

#include <torch/torch.h>

namespace ckv {

RecordedPasses::RecordedPasses(std::vector<Tensor> parameters, const at::Device& device)
    : parameters_(std::move(parameters)),
      loss_sum_(at::zeros({}, at::TensorOptions().dtype(at::kDouble).device(device))),
      device_(device) {
  for (const Tensor& parameter : parameters_) {
    grads_.push_back(at::zeros_like(parameter, at::TensorOptions().requires_grad(false)));
  }
}

void RecordedPasses::Begin() {
  at::_foreach_zero_(grads_);
  loss_sum_.zero_();
}

void RecordedPasses::RunOnce(const std::function<Tensor()>& pass) {
  // A gradient that is there already is added to in place.
  for (size_t i = 0; i < parameters_.size(); ++i) parameters_[i].mutable_grad() = grads_[i];
  const Tensor loss = pass();
  loss.backward();
  loss_sum_.add_(loss.detach());
  for (Tensor& parameter : parameters_) parameter.mutable_grad() = Tensor();
}

void RecordedPasses::Run(const Key& key, const std::function<Tensor()>& pass, bool record) {
  if (!record || !DeviceGraph::Works(device_)) return RunOnce(pass);
  Entry& entry = entries_[key];
  if (!entry.seen) {  // libraries get ready in a first run, which cannot be recorded
    entry.seen = true;
    return RunOnce(pass);
  }
  if (!entry.graph.recorded()) {
    entry.graph.Record(
        device_, [&] { RunOnce(pass); }, &pool_);
  }
  entry.graph.Run(/*random=*/true);
}

Tensor RecordedPasses::Finish() {
  for (size_t i = 0; i < parameters_.size(); ++i) parameters_[i].mutable_grad() = grads_[i];
  return loss_sum_.clone();
}

}  // namespace ckv
