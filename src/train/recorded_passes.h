// Forward and backward passes that come again and again with the same shapes: on a GPU each shape
// is recorded once and then queued as a whole, so that the host's share of launching hundreds of
// small operations is paid once.
//
// Gradients and losses are summed in tensors that stay where they are, as a recording needs it.
#pragma once

#include <functional>
#include <map>
#include <vector>

#include <ATen/core/Tensor.h>

#include "nn/device_graph.h"

namespace ckv {

using at::Tensor;

class RecordedPasses {
 public:
  using Key = std::vector<int64_t>;

  // `parameters` and what their data are stored in must outlive this.
  RecordedPasses(std::vector<Tensor> parameters, const at::Device& device);

  // Starts the sums of a step.
  void Begin();

  // Runs `pass`, which returns a loss (a scalar), and its backward pass. What runs under one key
  // must be the same operations on the same tensors: the second time it is recorded where the
  // device can, from then on the record runs. Without `record` it is always run as it stands.
  void Run(const Key& key, const std::function<Tensor()>& pass, bool record = true);

  // Hands the gradients of the step to the parameters, for AdamW::Accumulate. Returns the sum of
  // the losses, a scalar in fp64.
  Tensor Finish();

 private:
  struct Entry {
    bool seen = false;
    DeviceGraph graph;
  };

  void RunOnce(const std::function<Tensor()>& pass);

  std::vector<Tensor> parameters_;
  std::vector<Tensor> grads_;
  Tensor loss_sum_;
  at::Device device_;
  DeviceGraphPool pool_;
  std::map<Key, Entry> entries_;
};

}  // namespace ckv
