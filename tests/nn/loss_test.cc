#include "nn/loss.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "tests/tensors.h"

namespace ckv {
namespace {

constexpr int64_t kLossTokens = 23;
constexpr int64_t kLossWidth = 6;
constexpr int64_t kVocab = 17;

at::Tensor Targets() {
  at::Tensor targets = RandomIds({kLossTokens}, kVocab, 3);
  targets[0] = kIgnoreTarget;
  targets[11] = kIgnoreTarget;
  return targets;
}

// The definition, written out on whole logits for autograd to differentiate.
at::Tensor PlainLoss(const at::Tensor& hidden, const at::Tensor& weight, const at::Tensor& targets,
                     const LossOptions& options) {
  const at::Tensor logits = at::matmul(hidden, weight.t());
  const at::Tensor log_z = at::logsumexp(logits, 1);
  const at::Tensor picked = logits.gather(1, targets.clamp_min(0).unsqueeze(1)).squeeze(1);
  at::Tensor loss = (1.0 - options.label_smoothing) * (log_z - picked) +
                    options.label_smoothing * (log_z - logits.mean(1)) +
                    options.z_loss * log_z.square();
  return (loss * targets.ne(kIgnoreTarget)).sum();
}

class LinearCrossEntropyTest : public ::testing::TestWithParam<std::tuple<LossOptions, int64_t>> {};

TEST_P(LinearCrossEntropyTest, EqualsTheDefinitionWithItsGradients) {
  LossOptions options = std::get<0>(GetParam());
  options.chunk_tokens = std::get<1>(GetParam());
  at::Tensor hidden = RandomTensor({kLossTokens, kLossWidth}, 1).requires_grad_();
  at::Tensor weight = RandomTensor({kVocab, kLossWidth}, 2).requires_grad_();
  const at::Tensor loss = LinearCrossEntropy(hidden, weight, Targets(), options);
  const at::Tensor want = PlainLoss(hidden, weight, Targets(), options);
  EXPECT_NEAR(loss.item<double>(), want.item<double>(), 1e-11);

  const auto grads = torch::autograd::grad({loss * 0.37}, {hidden, weight});
  const auto wanted = torch::autograd::grad({want * 0.37}, {hidden, weight});
  EXPECT_LT(MaxAbsDiff(grads[0], wanted[0]), 1e-12);
  EXPECT_LT(MaxAbsDiff(grads[1], wanted[1]), 1e-12);

  at::NoGradGuard no_grad;
  EXPECT_NEAR(LinearCrossEntropy(hidden, weight, Targets(), options).item<double>(),
              want.item<double>(), 1e-11);
}

INSTANTIATE_TEST_SUITE_P(
    Options, LinearCrossEntropyTest,
    ::testing::Combine(::testing::Values(LossOptions{0.0, 0.0, 0}, LossOptions{0.1, 0.0, 0},
                                         LossOptions{0.0, 1e-2, 0}, LossOptions{0.2, 1e-2, 0}),
                       ::testing::Values(0, 1, 7, 100)));

TEST(LinearCrossEntropy, KeepsTheScaleOfBf16Gradients) {
  at::Tensor hidden = RandomTensor({kLossTokens, kLossWidth}, 1, at::kBFloat16).requires_grad_();
  at::Tensor weight = RandomTensor({kVocab, kLossWidth}, 2, at::kBFloat16).requires_grad_();
  const double scale = 1.0 / 3000.0;  // 0.13% off as a bf16 number
  const at::Tensor loss = LinearCrossEntropy(hidden, weight, Targets(), {});
  const auto grads = torch::autograd::grad({loss * scale}, {hidden, weight});
  const at::Tensor wide_hidden = hidden.detach().to(at::kDouble).requires_grad_();
  const at::Tensor wide_weight = weight.detach().to(at::kDouble).requires_grad_();
  const auto want = torch::autograd::grad(
      {PlainLoss(wide_hidden, wide_weight, Targets(), {}) * scale}, {wide_hidden, wide_weight});
  // A common factor shows in the projection on the true gradient, single roundings do not.
  for (size_t i = 0; i < 2; ++i) {
    const double projection = (grads[i].to(at::kDouble) * want[i]).sum().item<double>() /
                              want[i].square().sum().item<double>();
    EXPECT_NEAR(projection, 1.0, 8e-4);
  }
}

TEST(ScoreTokens, GivesLogProbabilitiesAndHits) {
  const at::Tensor hidden = RandomTensor({kLossTokens, kLossWidth}, 1);
  const at::Tensor weight = RandomTensor({kVocab, kLossWidth}, 2);
  const TokenScores scores = ScoreTokens(hidden, weight, Targets(), /*chunk_tokens=*/5);
  const at::Tensor log_probs = at::log_softmax(at::matmul(hidden, weight.t()), -1);
  for (int64_t i = 0; i < kLossTokens; ++i) {
    const int64_t target = Targets()[i].item<int64_t>();
    const double want = target == kIgnoreTarget ? 0.0 : log_probs[i][target].item<double>();
    EXPECT_NEAR(scores.log_prob[i].item<double>(), want, 1e-12);
    EXPECT_EQ(scores.correct[i].item<bool>(), log_probs[i].argmax().item<int64_t>() == target);
  }
}

}  // namespace
}  // namespace ckv
