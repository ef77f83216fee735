#include "gen/sampler.h"

#include <cmath>
#include <limits>
#include <map>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "base/random.h"
#include "tests/temp_dir.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

SamplingOptions Sampling(double temperature, int64_t top_k, double top_p) {
  SamplingOptions options;
  options.temperature = temperature;
  options.top_k = top_k;
  options.top_p = top_p;
  return options;
}

// How often each token comes in `draws` evenly spaced draws, as shares.
std::map<int64_t, double> Shares(const at::Tensor& logits, const SamplingOptions& options,
                                 int64_t draws) {
  const at::Tensor uniform = (at::arange(draws, at::kDouble) + 0.5) / static_cast<double>(draws);
  const Choice choice = ChooseTokens(logits.unsqueeze(0).expand({draws, -1}), options, uniform);
  std::map<int64_t, double> shares;
  for (int64_t i = 0; i < draws; ++i) {
    shares[choice.ids[i].item<int64_t>()] += 1.0 / static_cast<double>(draws);
  }
  return shares;
}

// Probabilities 0.5, 0.25, 0.125, 0.0625, 0.0625, not in order.
at::Tensor HalvingLogits() {
  return at::tensor({0.125, 0.5, 0.0625, 0.25, 0.0625}, at::kDouble).log();
}

TEST(ChooseTokens, GreedyTakesTheLargestLogit) {
  const at::Tensor logits = RandomTensor({50, 31}, 3);
  const Choice choice = ChooseTokens(logits, Sampling(0.0, 0, 1.0), {});
  EXPECT_TRUE(at::equal(choice.ids, logits.argmax(1)));
}

TEST(ChooseTokens, TopKOfOneIsGreedy) {
  const at::Tensor logits = RandomTensor({50, 31}, 3);
  const at::Tensor uniform = at::linspace(0.0, 0.999, 50, at::kDouble);
  const Choice greedy = ChooseTokens(logits, Sampling(0.0, 0, 1.0), uniform);
  const Choice sampled = ChooseTokens(logits, Sampling(1.3, 1, 1.0), uniform);
  EXPECT_TRUE(at::equal(sampled.ids, greedy.ids));
  EXPECT_TRUE(at::equal(sampled.log_probs, greedy.log_probs));
}

TEST(ChooseTokens, ATinyTopPIsGreedy) {
  const at::Tensor logits = RandomTensor({50, 31}, 3);
  const at::Tensor uniform = at::linspace(0.0, 0.999, 50, at::kDouble);
  const Choice choice = ChooseTokens(logits, Sampling(1.0, 0, 1e-9), uniform);
  EXPECT_TRUE(at::equal(choice.ids, logits.argmax(1)));
}

TEST(ChooseTokens, ATinyTemperatureIsGreedyAndFinite) {
  const at::Tensor logits = RandomTensor({50, 31}, 3) * 1e4;
  const at::Tensor uniform = at::linspace(0.0, 0.999, 50, at::kDouble);
  const Choice choice = ChooseTokens(logits, Sampling(1e-300, 0, 1.0), uniform);
  EXPECT_TRUE(at::equal(choice.ids, logits.argmax(1)));
}

TEST(ChooseTokens, SharesFollowTheSoftmax) {
  const auto shares = Shares(HalvingLogits(), Sampling(1.0, 0, 1.0), 1600);
  EXPECT_NEAR(shares.at(1), 0.5, 1e-9);
  EXPECT_NEAR(shares.at(3), 0.25, 1e-9);
  EXPECT_NEAR(shares.at(0), 0.125, 1e-9);
  EXPECT_NEAR(shares.at(2), 0.0625, 1e-9);
}

// At temperature 1/2 probabilities are squared: 64 : 16 : 4 : 1 : 1 of 86.
TEST(ChooseTokens, TemperatureScalesTheLogits) {
  const auto shares = Shares(HalvingLogits(), Sampling(0.5, 0, 1.0), 8600);
  EXPECT_NEAR(shares.at(1), 64.0 / 86.0, 1e-3);
  EXPECT_NEAR(shares.at(3), 16.0 / 86.0, 1e-3);
  EXPECT_NEAR(shares.at(4), 1.0 / 86.0, 1e-3);
}

TEST(ChooseTokens, TopKKeepsTheLikeliest) {
  const auto shares = Shares(HalvingLogits(), Sampling(1.0, 2, 1.0), 1500);
  ASSERT_EQ(shares.size(), 2u);
  EXPECT_NEAR(shares.at(1), 2.0 / 3.0, 1e-9);
  EXPECT_NEAR(shares.at(3), 1.0 / 3.0, 1e-9);
}

// 0.5 + 0.25 reach 0.7; the 0.125 behind is not needed.
TEST(ChooseTokens, TopPKeepsTheSmallestSetThatReachesIt) {
  const auto shares = Shares(HalvingLogits(), Sampling(1.0, 0, 0.7), 1500);
  ASSERT_EQ(shares.size(), 2u);
  EXPECT_NEAR(shares.at(1), 2.0 / 3.0, 1e-9);
  EXPECT_EQ(Shares(HalvingLogits(), Sampling(1.0, 0, 0.8), 1500).size(), 3u);
}

// Of the 3 likeliest 4/7 + 2/7 reach 0.8, while of all it takes 3 tokens.
TEST(ChooseTokens, TopPActsOnWhatTopKLeaves) {
  EXPECT_EQ(Shares(HalvingLogits(), Sampling(1.0, 3, 0.8), 700).size(), 2u);
}

// 0.125 is a quarter of the likeliest; 0.0625 is less.
TEST(ChooseTokens, MinPDropsWhatIsFarBehindTheLikeliest) {
  SamplingOptions options;
  options.min_p = 0.25;
  const auto shares = Shares(HalvingLogits(), options, 1400);
  ASSERT_EQ(shares.size(), 3u);
  EXPECT_NEAR(shares.at(1), 4.0 / 7.0, 1e-9);
  EXPECT_NEAR(shares.at(0), 1.0 / 7.0, 1e-9);
  options.min_p = 1.0;
  EXPECT_EQ(Shares(HalvingLogits(), options, 100).size(), 1u);
}

// At temperature 2 the ratio of 0.125 to the likeliest grows from 1/4 to 1/2.
TEST(ChooseTokens, MinPActsBehindTheTemperature) {
  SamplingOptions options;
  options.min_p = 0.4;
  EXPECT_EQ(Shares(HalvingLogits(), options, 1000).size(), 2u);
  options.temperature = 2.0;
  EXPECT_EQ(Shares(HalvingLogits(), options, 1000).size(), 3u);
}

// Row 0 has seen the best token, row 1 has not. Both signs become less likely.
TEST(ChooseTokens, TheRepetitionPenaltyPushesSeenTokensDownRowByRow) {
  const at::Tensor logits = at::tensor({3.0, 2.0, -1.0}, at::kDouble).expand({2, 3});
  const at::Tensor seen = at::tensor({1, 0, 1, 0, 0, 1}).view({2, 3}).to(at::kBool);
  const at::Tensor want = at::tensor({1.5, 2.0, -2.0, 3.0, 2.0, -2.0}, at::kDouble).view({2, 3});
  EXPECT_TRUE(at::equal(PenalizeSeen(logits, seen, 2.0), want));
  SamplingOptions options = Sampling(0.0, 0, 1.0);
  options.repetition_penalty = 2.0;
  const Choice choice = ChooseTokens(logits, options, {}, seen);
  EXPECT_TRUE(at::equal(choice.ids, at::tensor({1, 0}, at::kLong)));
  // The log-probabilities are without the penalty.
  const at::Tensor want_log_probs = logits.log_softmax(1).gather(1, choice.ids.unsqueeze(1));
  EXPECT_LT(MaxAbsDiff(choice.log_probs, want_log_probs.squeeze(1)), 1e-14);  // fp64
  // It acts on sampling as well: of e^1.5 : e^2 : e^-2 the second is drawn by 0.5.
  options.temperature = 1.0;
  const at::Tensor half = at::full({2}, 0.5, at::kDouble);
  EXPECT_TRUE(at::equal(ChooseTokens(logits, options, half, seen).ids, choice.ids));
}

TEST(NextUniform, DrawsAsRandomDoes) {
  const std::vector<uint64_t> seeds = {0, 1, 42, UINT64_MAX, 0x9e3779b97f4a7c15ULL};
  std::vector<int64_t> bits;
  for (const uint64_t seed : seeds) bits.push_back(static_cast<int64_t>(seed));
  std::vector<Random> generators(seeds.begin(), seeds.end());
  at::Tensor states = at::tensor(bits, at::kLong);
  for (int draw = 0; draw < 200; ++draw) {
    const at::Tensor draws = NextUniform(states);
    for (size_t row = 0; row < seeds.size(); ++row) {
      EXPECT_EQ(draws[static_cast<int64_t>(row)].item<double>(), generators[row].Uniform());
    }
  }
}

TEST(ChooseTokens, LogProbabilitiesAreThoseOfTheLogitsAsGiven) {
  const at::Tensor logits = RandomTensor({7, 31}, 4);
  const at::Tensor uniform = at::linspace(0.0, 0.999, 7, at::kDouble);
  const Choice choice = ChooseTokens(logits, Sampling(0.7, 5, 0.9), uniform);
  const at::Tensor want = logits.log_softmax(1).gather(1, choice.ids.unsqueeze(1)).squeeze(1);
  EXPECT_LT(MaxAbsDiff(choice.log_probs, want), 1e-14);  // fp64
}

// The largest draw below 1 must not run past the last token that may be chosen.
TEST(ChooseTokens, TheLastDrawTakesAPossibleToken) {
  const at::Tensor logits =
      at::tensor({0.0, 1.0, -std::numeric_limits<double>::infinity()}, at::kDouble).unsqueeze(0);
  const at::Tensor uniform = at::full({1}, std::nextafter(1.0, 0.0), at::kDouble);
  EXPECT_EQ(ChooseTokens(logits, Sampling(1.0, 0, 1.0), uniform).ids.item<int64_t>(), 1);
  EXPECT_EQ(ChooseTokens(logits, Sampling(1.0, 0, 0.99), uniform).ids.item<int64_t>(), 0);
  const at::Tensor zero = at::zeros({1}, at::kDouble);
  EXPECT_EQ(ChooseTokens(logits, Sampling(1.0, 0, 1.0), zero).ids.item<int64_t>(), 0);
}

// The caller sees it from the log-probability.
TEST(ChooseTokens, LogitsThatAreNotNumbersGiveAnIdAndNoNumber) {
  const at::Tensor logits = at::full({1, 5}, std::nan(""), at::kDouble);
  const at::Tensor uniform = at::full({1}, 0.5, at::kDouble);
  for (const SamplingOptions& options : {Sampling(0.0, 0, 1.0), Sampling(1.0, 0, 1.0),
                                         Sampling(1.0, 3, 1.0), Sampling(1.0, 0, 0.9)}) {
    const Choice choice = ChooseTokens(logits, options, uniform);
    EXPECT_LT(choice.ids.item<int64_t>(), 5);
    EXPECT_TRUE(std::isnan(choice.log_probs.item<double>()));
  }
}

TEST(SamplingOptions, RefusesWhatMeansNothing) {
  EXPECT_EQ(ErrorOf([] { Sampling(-1.0, 0, 1.0).Check(); }),
            "2: --temperature: -1, but must be >= 0");
  EXPECT_EQ(ErrorOf([] { Sampling(std::nan(""), 0, 1.0).Check(); }),
            "2: --temperature: nan, but must be >= 0");
  EXPECT_EQ(ErrorOf([] { Sampling(1.0, -2, 1.0).Check(); }), "2: --top-k: -2, but must be >= 0");
  EXPECT_EQ(ErrorOf([] { Sampling(1.0, 0, 0.0).Check(); }),
            "2: --top-p: 0, but must be above 0 and at most 1");
  EXPECT_EQ(ErrorOf([] { Sampling(0.0, 0, 1.0).Check(); }), "");
  SamplingOptions options;
  options.min_p = 1.1;
  EXPECT_EQ(ErrorOf([&] { options.Check(); }), "2: --min-p: 1.1, but must be from 0 to 1");
  options.min_p = 0.1;
  EXPECT_EQ(ErrorOf([&] { options.Check(); }), "");
  options.repetition_penalty = 0.0;
  EXPECT_EQ(ErrorOf([&] { options.Check(); }), "2: --repetition-penalty: 0, but must be above 0");
}

}  // namespace
}  // namespace ckv
