#include "train/adamw.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "tests/gpu.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

// The published update (Loshchilov and Hutter 2019, algorithm 2), with clipping by global norm.
struct PlainAdamW {
  OptimConfig config;
  std::vector<at::Tensor> weights;
  std::vector<at::Tensor> first;
  std::vector<at::Tensor> second;
  int64_t steps = 0;

  void Step(double lr, std::vector<at::Tensor> grads) {
    double squares = 0.0;
    for (const at::Tensor& grad : grads) squares += grad.square().sum().item<double>();
    const double norm = std::sqrt(squares);
    const double clip =
        config.clip_norm > 0.0 && norm > config.clip_norm ? config.clip_norm / norm : 1.0;
    ++steps;
    for (size_t i = 0; i < weights.size(); ++i) {
      const at::Tensor grad = grads[i] * clip;
      first[i] = config.beta1 * first[i] + (1.0 - config.beta1) * grad;
      second[i] = config.beta2 * second[i] + (1.0 - config.beta2) * grad * grad;
      const at::Tensor mean = first[i] / (1.0 - std::pow(config.beta1, steps));
      const at::Tensor square = second[i] / (1.0 - std::pow(config.beta2, steps));
      const double decay = weights[i].dim() >= 2 ? config.weight_decay : 0.0;
      weights[i] = weights[i] * (1.0 - lr * decay) - lr * mean / (square.sqrt() + config.eps);
    }
  }
};

AdamW::Named TwoParameters(at::ScalarType type) {
  AdamW::Named parameters;
  parameters.emplace_back("matrix", RandomTensor({3, 4}, 1, type).set_requires_grad(true));
  parameters.emplace_back("vector", RandomTensor({5}, 2, type).set_requires_grad(true));
  return parameters;
}

void SetGrads(const AdamW::Named& parameters, const std::vector<at::Tensor>& grads) {
  for (size_t i = 0; i < parameters.size(); ++i) {
    at::Tensor parameter = parameters[i].second;
    parameter.mutable_grad() = grads[i].to(parameter.scalar_type()).clone();
  }
}

const at::Tensor kFineLoss = at::ones({}, at::kDouble);

class AdamWTest : public ::testing::TestWithParam<double> {};  // clip_norm

TEST_P(AdamWTest, EqualsThePublishedUpdate) {
  OptimConfig config;
  config.clip_norm = GetParam();
  config.weight_decay = 0.3;
  const AdamW::Named parameters = TwoParameters(at::kDouble);
  PlainAdamW plain{config, {}, {}, {}};
  for (const auto& [name, parameter] : parameters) {
    plain.weights.push_back(parameter.detach().clone());
    plain.first.push_back(at::zeros_like(parameter));
    plain.second.push_back(at::zeros_like(parameter));
  }
  AdamW optimizer(parameters, config);
  for (uint64_t step = 0; step < 5; ++step) {
    const double lr = 0.01 * static_cast<double>(step + 1);
    const std::vector<at::Tensor> grads = {RandomTensor({3, 4}, 10 + step),
                                           RandomTensor({5}, 20 + step)};
    SetGrads(parameters, grads);
    optimizer.Accumulate();
    const AdamW::StepResult result = optimizer.Step(lr, kFineLoss);
    plain.Step(lr, grads);
    EXPECT_EQ(result.skipped.item<float>(), 0.0f);
    for (size_t i = 0; i < parameters.size(); ++i) {
      // The clipping factor passes through fp32.
      EXPECT_LT(MaxAbsDiff(parameters[i].second, plain.weights[i]), 1e-8);
    }
  }
  EXPECT_EQ(optimizer.num_updates(), 5);
}

INSTANTIATE_TEST_SUITE_P(Clipping, AdamWTest, ::testing::Values(0.0, 0.5, 1e6));

TEST(AdamW, AccumulatesGradients) {
  const AdamW::Named once = TwoParameters(at::kDouble);
  const AdamW::Named thrice = TwoParameters(at::kDouble);
  AdamW optimizer_once(once, OptimConfig());
  AdamW optimizer_thrice(thrice, OptimConfig());
  std::vector<at::Tensor> sum = {at::zeros({3, 4}, at::kDouble), at::zeros({5}, at::kDouble)};
  for (uint64_t part = 0; part < 3; ++part) {
    const std::vector<at::Tensor> grads = {RandomTensor({3, 4}, 30 + part),
                                           RandomTensor({5}, 40 + part)};
    for (size_t i = 0; i < 2; ++i) sum[i] = sum[i] + grads[i];
    SetGrads(thrice, grads);
    optimizer_thrice.Accumulate();
    EXPECT_FALSE(thrice[0].second.grad().defined());
  }
  SetGrads(once, sum);
  optimizer_once.Accumulate();
  optimizer_once.Step(0.1, kFineLoss);
  optimizer_thrice.Step(0.1, kFineLoss);
  for (size_t i = 0; i < 2; ++i) EXPECT_LT(MaxAbsDiff(once[i].second, thrice[i].second), 1e-15);
}

TEST(AdamW, LeavesEverythingAsItIsIfTheGradientOrLossIsNotFinite) {
  const double bad = std::numeric_limits<double>::quiet_NaN();
  for (const bool bad_loss : {false, true}) {
    const AdamW::Named parameters = TwoParameters(at::kDouble);
    AdamW optimizer(parameters, OptimConfig());
    SetGrads(parameters, {RandomTensor({3, 4}, 1), RandomTensor({5}, 2)});
    optimizer.Accumulate();
    optimizer.Step(0.1, kFineLoss);
    std::vector<at::Tensor> before;
    for (const auto& [name, tensor] : optimizer.State()) before.push_back(tensor.clone());
    for (const auto& [name, tensor] : optimizer.Weights()) before.push_back(tensor.clone());

    at::Tensor grad = RandomTensor({3, 4}, 3);
    if (!bad_loss) grad[1][2] = bad;
    SetGrads(parameters, {grad, RandomTensor({5}, 4)});
    optimizer.Accumulate();
    const at::Tensor loss = bad_loss ? at::full({}, bad, at::kDouble) : kFineLoss;
    EXPECT_EQ(optimizer.Step(0.1, loss).skipped.item<float>(), 1.0f);
    size_t i = 0;
    for (const auto& [name, tensor] : optimizer.State()) {
      EXPECT_TRUE(tensor.equal(before[i++])) << name;
    }
    for (const auto& [name, tensor] : optimizer.Weights()) {
      EXPECT_TRUE(tensor.equal(before[i++])) << name;
    }

    // And the next good step is not harmed by what was skipped.
    SetGrads(parameters, {RandomTensor({3, 4}, 5), RandomTensor({5}, 6)});
    optimizer.Accumulate();
    EXPECT_EQ(optimizer.Step(0.1, kFineLoss).skipped.item<float>(), 0.0f);
    EXPECT_TRUE(parameters[0].second.isfinite().all().item<bool>());
    EXPECT_EQ(optimizer.num_updates(), 2);
  }
}

// Updates far below bf16's resolution must add up.
TEST(AdamW, KeepsFp32MastersOfBf16Weights) {
  AdamW::Named parameters = {{"w", at::ones({4, 4}, at::kBFloat16).set_requires_grad(true)}};
  OptimConfig config;
  config.weight_decay = 0.0;
  config.beta1 = 0.0;
  config.beta2 = 0.0;
  AdamW optimizer(parameters, config);
  for (int step = 0; step < 100; ++step) {
    SetGrads(parameters, {at::ones({4, 4})});
    optimizer.Accumulate();
    optimizer.Step(1e-4, kFineLoss);  // bf16 next to 1 has steps of 2^-8
  }
  EXPECT_EQ(parameters[0].second.scalar_type(), at::kBFloat16);
  EXPECT_EQ(optimizer.Weights()[0].second.scalar_type(), at::kFloat);
  EXPECT_NEAR(optimizer.Weights()[0].second[0][0].item<float>(), 0.99f, 1e-5f);
  EXPECT_TRUE(parameters[0].second.equal(optimizer.Weights()[0].second.to(at::kBFloat16)));
}

// --- In one kernel, on a GPU.

AdamW::Named LowParameters(at::ScalarType type) {
  AdamW::Named parameters;
  const auto add = [&](const char* name, std::vector<int64_t> shape, uint64_t seed) {
    parameters.emplace_back(name, RandomTensor(shape, seed).to(at::kCUDA, type));
    parameters.back().second.set_requires_grad(true);
  };
  add("large", {300, 257}, 1);  // several chunks, and an odd rest
  add("small", {3, 4}, 2);
  add("vector", {5}, 3);
  return parameters;
}

void SetLowGrads(const AdamW::Named& parameters, uint64_t seed, double scale) {
  for (const auto& [name, parameter] : parameters) {
    at::Tensor target = parameter;
    // A slice of a larger tensor at an odd place, as packed products give them.
    const at::Tensor joint = at::empty({parameter.numel() + 3}, parameter.options());
    target.mutable_grad() = joint.detach().narrow(0, 3, parameter.numel()).view(parameter.sizes());
    target.mutable_grad().copy_(RandomTensor(parameter.sizes().vec(), seed++) * scale);
  }
}

class FusedAdamWTest : public ::testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override { CKV_NEEDS_GPU(); }
};

TEST_P(FusedAdamWTest, EqualsTheComposedUpdate) {
  for (const int micro_batches : {1, 3}) {
    for (const double clip : {0.0, 0.5, 1e6}) {
      OptimConfig config;
      config.clip_norm = clip;
      config.weight_decay = 0.3;
      const AdamW::Named one = LowParameters(GetParam());
      const AdamW::Named other = LowParameters(GetParam());
      AdamW fused(one, config, {}, /*fused=*/true);
      AdamW composed(other, config, {}, /*fused=*/false);
      for (uint64_t step = 0; step < 4; ++step) {
        AdamW::StepResult results[2];
        int which = 0;
        for (AdamW* optimizer : {&fused, &composed}) {
          for (int part = 0; part < micro_batches; ++part) {
            SetLowGrads(which == 0 ? one : other, 100 * step + 10 * part, 0.1);
            optimizer->Accumulate();
          }
          results[which++] = optimizer->Step(0.01, kFineLoss.cuda());
        }
        // The composed norm is that of norms in fp32 of each tensor.
        EXPECT_NEAR(results[0].grad_norm.item<double>() / results[1].grad_norm.item<double>(), 1.0,
                    1e-5);
        EXPECT_EQ(results[0].skipped.item<float>(), 0.0f);
      }
      const auto same = [](const AdamW::Named& a, const AdamW::Named& b) {
        for (size_t i = 0; i < a.size(); ++i) {
          const double scale = std::max(b[i].second.abs().max().item<double>(), 1e-12);
          EXPECT_LT(MaxAbsDiff(a[i].second, b[i].second) / scale, 1e-5) << a[i].first;
        }
      };
      same(fused.Weights(), composed.Weights());
      same(fused.State(), composed.State());
      // Working weights are the masters, rounded.
      for (size_t i = 0; i < one.size(); ++i) {
        EXPECT_TRUE(at::equal(one[i].second, fused.Weights()[i].second.to(GetParam())));
      }
    }
  }
}

// As on one of several ranks.
TEST_P(FusedAdamWTest, ClipsByACombinedNorm) {
  OptimConfig config;
  config.clip_norm = 0.5;
  const AdamW::Named one = LowParameters(GetParam());
  const AdamW::Named other = LowParameters(GetParam());
  AdamW fused(one, config, {}, /*fused=*/true);
  AdamW composed(other, config, {}, /*fused=*/false);
  for (AdamW* optimizer : {&fused, &composed}) {
    SetLowGrads(optimizer == &fused ? one : other, 5, 0.1);
    optimizer->SetNormReduction(
        [](const at::Tensor& norm) { return (norm.square() + 9e4).sqrt(); });
    optimizer->Accumulate();
    EXPECT_NEAR(optimizer->Step(0.01, kFineLoss.cuda()).grad_norm.item<double>(), 300.0, 30.0);
  }
  const AdamW::Named got = fused.State();
  const AdamW::Named want = composed.State();
  for (size_t i = 0; i < got.size(); ++i) {
    const double scale = std::max(want[i].second.abs().max().item<double>(), 1e-12);
    EXPECT_LT(MaxAbsDiff(got[i].second, want[i].second) / scale, 1e-5) << got[i].first;
  }
}

TEST_P(FusedAdamWTest, LeavesEverythingAsItIsIfTheGradientOrLossIsNotFinite) {
  const double bad = std::numeric_limits<double>::quiet_NaN();
  for (const bool bad_loss : {false, true}) {
    const AdamW::Named parameters = LowParameters(GetParam());
    AdamW optimizer(parameters, OptimConfig());
    SetLowGrads(parameters, 1, 0.1);
    optimizer.Accumulate();
    optimizer.Step(0.01, kFineLoss.cuda());
    std::vector<at::Tensor> before;
    for (const auto& [name, tensor] : optimizer.State()) before.push_back(tensor.clone());
    for (const auto& [name, tensor] : optimizer.Weights()) before.push_back(tensor.clone());
    SetLowGrads(parameters, 2, 0.1);
    if (!bad_loss) parameters[0].second.grad()[299][256] = bad;
    optimizer.Accumulate();
    const at::Tensor loss = bad_loss ? at::full({}, bad, at::kDouble) : kFineLoss;
    EXPECT_EQ(optimizer.Step(0.01, loss.cuda()).skipped.item<float>(), 1.0f);
    size_t i = 0;
    for (const auto& [name, tensor] : optimizer.State()) {
      EXPECT_TRUE(tensor.equal(before[i++])) << name;
    }
    for (const auto& [name, tensor] : optimizer.Weights()) {
      EXPECT_TRUE(tensor.equal(before[i++])) << name;
    }
  }
}

TEST_P(FusedAdamWTest, AParameterWithoutGradientDecaysOnly) {
  const AdamW::Named parameters = LowParameters(GetParam());
  OptimConfig config;
  config.weight_decay = 0.5;
  AdamW optimizer(parameters, config);
  const at::Tensor before = optimizer.Weights()[1].second.clone();
  SetLowGrads(parameters, 1, 0.1);
  at::Tensor small = parameters[1].second;
  small.mutable_grad() = at::Tensor();
  optimizer.Accumulate();
  optimizer.Step(0.1, kFineLoss.cuda());
  EXPECT_LT(MaxAbsDiff(optimizer.Weights()[1].second, before * 0.95), 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Types, FusedAdamWTest, ::testing::Values(at::kBFloat16, at::kHalf));

}  // namespace
}  // namespace ckv
