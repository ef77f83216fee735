#include "nn/checkpoint.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "tests/tensors.h"

namespace ckv {
namespace {

// A segment with two inputs, two outputs and a parameter that is used twice.
std::vector<at::Tensor> Compute(const std::vector<at::Tensor>& in, const at::Tensor& weight) {
  const at::Tensor hidden = at::tanh(at::matmul(in[0], weight));
  return {at::matmul(hidden, weight) + in[1], hidden * in[1]};
}

TEST(RunCheckpointed, GivesTheSameGradientsBitForBit) {
  const auto gradients = [](bool checkpointed) {
    at::Tensor a = RandomTensor({4, 3}, 1).requires_grad_();
    at::Tensor b = RandomTensor({4, 3}, 2).requires_grad_();
    at::Tensor weight = RandomTensor({3, 3}, 3).requires_grad_();
    const SegmentFn segment = [weight](const std::vector<at::Tensor>& in) {
      return Compute(in, weight);
    };
    const std::vector<at::Tensor> out =
        checkpointed ? RunCheckpointed(segment, {a * 2.0, b}, {weight}, false)
                     : segment({a * 2.0, b});
    (out[0].square().sum() + out[1].sum() * 3.0).backward();
    return std::vector<at::Tensor>{a.grad(), b.grad(), weight.grad()};
  };
  const auto plain = gradients(false);
  const auto again = gradients(true);
  for (size_t i = 0; i < plain.size(); ++i) EXPECT_TRUE(at::equal(plain[i], again[i])) << i;
}

TEST(RunCheckpointed, ToleratesUnusedOutputsAndConstants) {
  at::Tensor a = RandomTensor({2, 2}, 1).requires_grad_();
  const at::Tensor constant = RandomTensor({2, 2}, 2);
  at::Tensor weight = RandomTensor({2, 2}, 3).requires_grad_();
  const auto out =
      RunCheckpointed([weight](const std::vector<at::Tensor>& in) { return Compute(in, weight); },
                      {a, constant}, {weight}, false);
  out[0].sum().backward();
  EXPECT_TRUE(a.grad().defined());
  EXPECT_TRUE(weight.grad().defined());
}

TEST(RunCheckpointed, RepeatsRandomNumbers) {
  const auto gradient = [](bool checkpointed) {
    torch::manual_seed(7);
    at::Tensor a = at::ones({1000}, at::kDouble).requires_grad_();
    const SegmentFn segment = [](const std::vector<at::Tensor>& in) {
      return std::vector<at::Tensor>{at::dropout(in[0], 0.5, true)};
    };
    const auto out = checkpointed ? RunCheckpointed(segment, {a}, {}, true) : segment({a});
    at::rand({10});  // moves the generator on
    out[0].sum().backward();
    return std::make_pair(a.grad(), at::rand({1}));
  };
  const auto plain = gradient(false);
  const auto again = gradient(true);
  EXPECT_TRUE(at::equal(plain.first, again.first));
  EXPECT_TRUE(at::equal(plain.second, again.second));  // and the generator is where it was
}

TEST(RunCheckpointed, MayBeNested) {
  at::Tensor a = RandomTensor({3, 3}, 1).requires_grad_();
  at::Tensor weight = RandomTensor({3, 3}, 3).requires_grad_();
  const SegmentFn inner = [weight](const std::vector<at::Tensor>& in) {
    return std::vector<at::Tensor>{at::tanh(at::matmul(in[0], weight))};
  };
  const SegmentFn outer = [&inner, weight](const std::vector<at::Tensor>& in) {
    return RunCheckpointed(inner, RunCheckpointed(inner, in, {weight}, false), {weight}, false);
  };
  RunCheckpointed(outer, {a}, {weight}, false)[0].sum().backward();
  const at::Tensor got = weight.grad().clone();
  weight.mutable_grad() = at::Tensor();
  inner(inner({a}))[0].sum().backward();
  EXPECT_LT(MaxAbsDiff(got, weight.grad()), 1e-14);
}

}  // namespace
}  // namespace ckv
