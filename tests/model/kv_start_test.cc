// Where passes start from (kv_start) and when they end (pass_tolerance).
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "nn/loss.h"
#include "tests/model/tiny_decoder.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

constexpr int64_t kStartTokens = 10;

Decoder GuessingDecoder(const std::string& sharing) {
  DecoderConfig config = TinyConfig(sharing);
  config.kv_start = "guess";
  return TinyDecoder(config);
}

at::Tensor HiddenIn(Decoder& decoder, const at::Tensor& tokens, DecoderRun::Order order,
                    int64_t forward, int64_t backward = 1) {
  DecoderRun run;
  run.order = order;
  run.forward_passes = forward;
  run.backward_passes = backward;
  return decoder->Hidden({tokens, {}, {}}, run);
}

class KvStartTest : public ::testing::TestWithParam<const char*> {};

// Each pass makes one more token exact, whatever it starts from.
TEST_P(KvStartTest, AsManyPassesAsTokensEqualTokenByToken) {
  at::NoGradGuard no_grad;
  Decoder decoder = GuessingDecoder(GetParam());
  const at::Tensor tokens = RandomIds({2, kStartTokens}, 31, 1);
  const at::Tensor sequential = HiddenIn(decoder, tokens, DecoderRun::Order::kSequential, 1);
  EXPECT_LT(MaxAbsDiff(HiddenIn(decoder, tokens, DecoderRun::Order::kParallel, kStartTokens - 1),
                       sequential),
            1e-12);
  EXPECT_GT(MaxAbsDiff(HiddenIn(decoder, tokens, DecoderRun::Order::kParallel, 1), sequential),
            1e-6);
}

// A prompt in passes and the tokens behind it, over a cache with a past.
TEST_P(KvStartTest, GoesWithACache) {
  at::NoGradGuard no_grad;
  Decoder decoder = GuessingDecoder(GetParam());
  const at::Tensor tokens = RandomIds({2, kStartTokens}, 31, 1);
  const at::Tensor sequential = HiddenIn(decoder, tokens, DecoderRun::Order::kSequential, 1);
  KvCache cache = decoder->NewCache(2, kStartTokens);
  DecoderRun run;
  run.order = DecoderRun::Order::kParallel;
  run.forward_passes = 5;
  run.backward_passes = 1;
  run.cache = &cache;
  const at::Tensor first = decoder->Hidden({tokens.narrow(1, 0, 6), {}, {}}, run);
  const at::Tensor second = decoder->Hidden({tokens.narrow(1, 6, 4), {}, {}}, run);
  EXPECT_LT(MaxAbsDiff(at::cat({first, second}, 1), sequential), 1e-12);
}

TEST_P(KvStartTest, ExactSavingsChangeNothing) {
  Decoder decoder = GuessingDecoder(GetParam());
  const at::Tensor tokens = RandomIds({2, kStartTokens}, 31, 1);
  DecoderRun run;
  run.order = DecoderRun::Order::kParallel;
  run.forward_passes = 1;
  run.backward_passes = 2;
  const at::Tensor saved = decoder->Hidden({tokens, {}, {}}, run);
  run.exact_savings = false;
  EXPECT_LT(MaxAbsDiff(decoder->Hidden({tokens, {}, {}}, run), saved), 1e-12);
}

// With one pass the keys that are read are those of the guess: their projections get a gradient.
TEST_P(KvStartTest, AGuessOfAPassWithGradientHasOne) {
  Decoder decoder = GuessingDecoder(GetParam());
  const at::Tensor tokens = RandomIds({2, kStartTokens}, 31, 1);
  const auto loss = [&] {
    return HiddenIn(decoder, tokens, DecoderRun::Order::kParallel, 0).square().sum();
  };
  for (const char* name : {"k_proj.weight", "v_proj.weight"}) {
    decoder->zero_grad();
    loss().backward();
    at::Tensor weight;
    for (const auto& item : decoder->named_parameters()) {
      const std::string key = item.key();
      if (key.find("layers.2.self_attn." + std::string(name)) != std::string::npos) {
        weight = item.value();
      }
    }
    ASSERT_TRUE(weight.defined());
    const at::Tensor direction = RandomTensor(weight.sizes().vec(), 3);
    const double slope = (weight.grad() * direction).sum().item<double>();
    at::NoGradGuard no_grad;
    constexpr double kStep = 1e-5;
    weight.add_(direction, kStep);
    const double above = loss().item<double>();
    weight.sub_(direction, 2 * kStep);
    const double below = loss().item<double>();
    weight.add_(direction, kStep);
    EXPECT_NEAR((above - below) / (2 * kStep), slope, 1e-5 * (1.0 + std::abs(slope))) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Specs, KvStartTest,
                         ::testing::Values("0_2_2_3", "2_2_2", "0_2s_2_2", "2_1_2_3"));

TEST(KvStart, DoesNotMatterWithoutLookingUp) {
  Decoder zeros = TinyDecoder("0_0_2");
  Decoder guess = GuessingDecoder("0_0_2");
  const at::Tensor tokens = RandomIds({2, kStartTokens}, 31, 1);
  EXPECT_TRUE(at::equal(HiddenIn(zeros, tokens, DecoderRun::Order::kParallel, 3),
                        HiddenIn(guess, tokens, DecoderRun::Order::kParallel, 3)));
}

TEST(PassTolerance, EndsPassesWithoutGradientInTraining) {
  DecoderConfig config = TinyConfig("0_2_2_3");
  Decoder decoder = TinyDecoder(config);
  const at::Tensor tokens = RandomIds({2, kStartTokens}, 31, 1);
  DecoderRun run;
  run.order = DecoderRun::Order::kParallel;
  run.forward_passes = 200;
  run.backward_passes = 2;
  std::vector<int64_t> passes;
  run.passes_run = &passes;
  const at::Tensor all = decoder->Hidden({tokens, {}, {}}, run);
  ASSERT_EQ(passes, std::vector<int64_t>({202}));
  passes.clear();
  run.tolerance = 1e-13;
  const at::Tensor hidden = decoder->Hidden({tokens, {}, {}}, run);
  ASSERT_EQ(passes.size(), 1U);
  // Exact after as many passes as tokens; two with gradient follow.
  EXPECT_LE(passes[0], kStartTokens + 4);
  EXPECT_GE(passes[0], 4);
  EXPECT_LT(MaxAbsDiff(hidden, all), 1e-12);
  hidden.sum().backward();
  const at::Tensor grad = decoder->parameters()[1].grad().clone();
  decoder->zero_grad();
  all.sum().backward();
  EXPECT_LT(MaxAbsDiff(grad, decoder->parameters()[1].grad()), 1e-10);
}

TEST(PassTolerance, IsTheModelsUnlessTheCallSaysOtherwise) {
  at::NoGradGuard no_grad;
  DecoderConfig config = TinyConfig("0_2_2_3");
  config.pass_tolerance = 0.5;
  config.forward_passes = 50;
  Decoder decoder = TinyDecoder(config);
  const at::Tensor tokens = RandomIds({2, kStartTokens}, 31, 1);
  std::vector<int64_t> passes;
  DecoderRun run;
  run.passes_run = &passes;
  decoder->Hidden({tokens, {}, {}}, run);
  ASSERT_EQ(passes.size(), 1U);
  EXPECT_LT(passes[0], 20);
  passes.clear();
  run.tolerance = 0.0;
  decoder->Hidden({tokens, {}, {}}, run);
  EXPECT_EQ(passes, std::vector<int64_t>({52}));
}

}  // namespace
}  // namespace ckv
