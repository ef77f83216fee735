#include "nn/checkpoint.h"

#include <memory>
#include <mutex>

#include <torch/torch.h>

#include "base/error.h"

namespace ckv {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// State of the random generator of a tensor's device.
Tensor RandomState(const at::Device& device) {
  at::Generator generator = at::globalContext().defaultGenerator(device);
  std::lock_guard<std::mutex> lock(generator.mutex());
  return generator.get_state();
}

void SetRandomState(const at::Device& device, const Tensor& state) {
  at::Generator generator = at::globalContext().defaultGenerator(device);
  std::lock_guard<std::mutex> lock(generator.mutex());
  generator.set_state(state);
}

struct Segment {
  SegmentFn function;
  size_t num_inputs = 0;
  bool random = false;
  Tensor random_state;
};

class CheckpointFunction : public torch::autograd::Function<CheckpointFunction> {
 public:
  // `tensors`: the segment's inputs, then its parameters.
  // A TensorList, for apply() looks into no other container.
  static variable_list forward(AutogradContext* context, const std::shared_ptr<Segment>& segment,
                               at::TensorList tensors) {
    context->saved_data["segment"] =
        torch::IValue::make_capsule(c10::make_intrusive<Holder>(segment));
    context->set_materialize_grads(false);
    if (segment->random) segment->random_state = RandomState(tensors.front().device());
    context->save_for_backward(tensors.vec());
    return segment->function(variable_list(
        tensors.begin(), tensors.begin() + static_cast<int64_t>(segment->num_inputs)));
  }

  static variable_list backward(AutogradContext* context, const variable_list& grad_outputs) {
    const auto holder =
        c10::static_intrusive_pointer_cast<Holder>(context->saved_data["segment"].toCapsule());
    const Segment& segment = *holder->segment;
    const variable_list saved = context->get_saved_variables();
    const at::Device device = saved.front().device();

    variable_list inputs;
    variable_list sources;  // whose gradients are asked for
    std::vector<size_t> places;
    for (size_t i = 0; i < saved.size(); ++i) {
      Tensor tensor = saved[i];
      if (i < segment.num_inputs) {
        tensor = tensor.detach().requires_grad_(saved[i].requires_grad());
        inputs.push_back(tensor);
      }
      if (tensor.requires_grad()) {
        sources.push_back(tensor);
        places.push_back(i);
      }
    }

    variable_list outputs;
    {
      at::AutoGradMode with_grad(true);
      Tensor now;
      if (segment.random) {
        now = RandomState(device);
        SetRandomState(device, segment.random_state);
      }
      outputs = segment.function(inputs);
      if (segment.random) SetRandomState(device, now);
    }

    variable_list roots;
    variable_list root_grads;
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (!grad_outputs[i].defined() || !outputs[i].requires_grad()) continue;
      roots.push_back(outputs[i]);
      root_grads.push_back(grad_outputs[i]);
    }
    variable_list result(1 + saved.size());  // the first for the segment itself
    if (roots.empty()) return result;
    const variable_list grads =
        torch::autograd::grad(roots, sources, root_grads, /*retain_graph=*/std::nullopt,
                              /*create_graph=*/false, /*allow_unused=*/true);
    for (size_t i = 0; i < grads.size(); ++i) result[1 + places[i]] = grads[i];
    return result;
  }

 private:
  struct Holder : torch::CustomClassHolder {
    explicit Holder(std::shared_ptr<Segment> s) : segment(std::move(s)) {}
    std::shared_ptr<Segment> segment;
  };
};

}  // namespace

std::vector<Tensor> RunCheckpointed(SegmentFn segment, const std::vector<Tensor>& inputs,
                                    const std::vector<Tensor>& parameters, bool random) {
  auto shared = std::make_shared<Segment>();
  shared->function = std::move(segment);
  shared->num_inputs = inputs.size();
  shared->random = random;
  variable_list tensors = inputs;
  tensors.insert(tensors.end(), parameters.begin(), parameters.end());
  for (const Tensor& tensor : tensors) CKV_CHECK(tensor.defined(), "undefined segment input");
  return CheckpointFunction::apply(shared, at::TensorList(tensors));
}

}  // namespace ckv
