// What must hold of the mean-field encoder without any recorded number.
#include <algorithm>
#include <tuple>

#include <gtest/gtest.h>

#include "tests/probtrans/random_encoder.h"

namespace ckv {
namespace {

constexpr double kExact = 1e-12;

// The largest difference, relative above 1.
double Difference(const Tensor& got, const Tensor& want) {
  return MaxAbsDiff(got, want) / std::max(1.0, want.abs().max().item<double>());
}

EncodedSentences EncodeAll(MeanFieldEncoder& encoder, const Tensor& unary,
                           InferenceTrace* trace = nullptr) {
  return encoder.Encode(unary, AllWords(unary.size(0), unary.size(1)), trace);
}

// Factor, gamma, root labels, globals.
using EnergyCase = std::tuple<std::string, int64_t, int64_t, int64_t>;
class EnergyTest : public ::testing::TestWithParam<EnergyCase> {};

// The scores that inference computes are the derivatives of the energy, with opposite sign.
TEST_P(EnergyTest, ScoresAreItsDerivatives) {
  const auto& [factor, gamma, root, globals] = GetParam();
  ProbTransConfig config = SmallConfig(factor, CutsOfGamma(gamma));
  config.iterations = 1;
  config.root_labels = root;
  config.globals.count = globals;
  config.probabilities = false;
  const auto encoder = RandomEncoder(config);
  const Tensor unary = RandomTensor({7, config.labels}, 50);
  InferenceTrace trace;
  EncodeAll(*encoder, unary.unsqueeze(0), &trace);

  Marginals q;
  q.labels = trace.label_probs[0][0].detach().clone().set_requires_grad(true);
  q.heads = trace.head_probs[0][0].detach().clone().set_requires_grad(true);
  if (root > 0) {
    q.root = at::full({root}, 1.0 / static_cast<double>(root), at::kDouble).set_requires_grad(true);
  }
  const Tensor energy = Energy(*encoder, unary, q);
  energy.backward();
  // Labels: S + G.
  EXPECT_LT(Difference(-q.labels.grad(), trace.label_scores[0][0].detach()), kExact);
  if (root > 0) {
    EXPECT_LT(Difference(-q.root.grad(), trace.root_scores[0][0].detach()), kExact);
  }
  // Heads: their distribution is softmax of d F over what is admissible.
  Tensor scores = -q.heads.grad() * static_cast<double>(config.labels);
  for (int64_t i = 0; i < unary.size(0); ++i) {
    scores.select(1, i).select(1, (root > 0 ? 1 : 0) + i).fill_(-1e300);
  }
  EXPECT_LT(MaxAbsDiff(scores.softmax(2), q.heads.detach()), kExact);
  EXPECT_GT(MaxAbsDiff(q.heads.detach(), q.heads.detach().mean(2, true)), 0.1);  // far from flat
}

INSTANTIATE_TEST_SUITE_P(Forms, EnergyTest,
                         ::testing::Combine(::testing::Values("full", "uv", "uvw"),
                                            ::testing::Values(0, 1, 3, 8), ::testing::Values(0, 5),
                                            ::testing::Values(0, 4)));

// Everything that a model can have, for tests of what holds for all.
std::vector<ProbTransConfig> ManyConfigs() {
  std::vector<ProbTransConfig> configs;
  for (const char* factor : {"full", "uv", "uvw"}) configs.push_back(SmallConfig(factor));
  configs.push_back(SmallConfig("uv", CutsOfGamma(8)));
  configs.push_back(SmallConfig("uv", {}));
  configs.push_back(SmallConfig("uv", {2, 5}));
  ProbTransConfig config = SmallConfig();
  config.schedule = "together";
  configs.push_back(config);
  config.root_labels = 5;
  configs.push_back(config);
  config = SmallConfig("full");
  config.root_labels = 8;
  config.step_heads = 0.8;
  config.step_labels = 0.5;
  config.damping_heads = 0.2;
  config.damping_labels = 0.3;
  config.weight_heads = 0.7;
  config.weight_labels = 1.4;
  configs.push_back(config);
  config.root_rank = 2;
  config.normaliser = "relu";
  config.decreasing_steps = true;
  configs.push_back(config);
  config = SmallConfig("uvw", {});
  config.distances = "mixture";
  config.distance_limit = 3;
  config.distance_tensors = 2;
  config.globals.count = 4;
  configs.push_back(config);
  config.factor = "full";
  config.rank = 0;
  config.globals.mode = "split";
  config.globals.channels = 1;
  config.globals.rank = 2;
  configs.push_back(config);
  config = SmallConfig("uv", {});
  config.distances = "none";
  config.globals.count = 3;
  config.globals.mode = "split";
  config.projection = true;
  configs.push_back(config);
  config = SmallConfig();
  config.child_messages = false;
  config.probabilities = true;
  configs.push_back(config);
  return configs;
}

class AnyConfigTest : public ::testing::TestWithParam<size_t> {
 protected:
  ProbTransConfig config_ = ManyConfigs()[GetParam()];
};

struct Outcome {
  Tensor words, root, unary_grad;
  std::vector<Tensor> weight_grads;
};

// Encodes sentences of the given lengths in one batch, padded to `width`, with garbage behind them.
Outcome RunPadded(MeanFieldEncoder& encoder, const std::vector<Tensor>& sentences, int64_t width) {
  const auto batch = static_cast<int64_t>(sentences.size());
  Tensor unary = RandomTensor({batch, width, encoder.width()}, 99) * 3.0;
  Tensor mask = at::zeros({batch, width}, at::kBool);
  for (int64_t b = 0; b < batch; ++b) {
    const int64_t n = sentences[static_cast<size_t>(b)].size(0);
    unary[b].narrow(0, 0, n).copy_(sentences[static_cast<size_t>(b)]);
    mask[b].narrow(0, 0, n).fill_(true);
  }
  unary.set_requires_grad(true);
  encoder.zero_grad();
  const EncodedSentences encoded = encoder.Encode(unary, mask);
  Tensor loss = (encoded.words * encoded.words).sum();
  if (encoded.root.defined()) loss = loss + encoded.root.sin().sum();
  loss.backward();
  Outcome outcome{encoded.words.detach(), {}, unary.grad(), {}};
  if (encoded.root.defined()) outcome.root = encoded.root.detach();
  for (const Tensor& weights : encoder.parameters()) {
    outcome.weight_grads.push_back(weights.grad().defined() ? weights.grad().clone()
                                                            : at::zeros_like(weights));
  }
  return outcome;
}

// What a sentence gives does not depend on what it is batched with, gradients included.
TEST_P(AnyConfigTest, BatchAndPaddingChangeNothing) {
  const auto encoder = RandomEncoder(config_);
  std::vector<Tensor> sentences;
  for (const int64_t n : {5, 1, 9, 2}) {
    sentences.push_back(RandomTensor({n, config_.labels}, static_cast<uint64_t>(60 + n)));
  }
  for (const int64_t width : {9, 59}) {
    const Outcome together = RunPadded(*encoder, sentences, width);
    EXPECT_TRUE(together.words.isfinite().all().item<bool>());
    std::vector<Tensor> sums;
    for (size_t b = 0; b < sentences.size(); ++b) {
      const int64_t n = sentences[b].size(0);
      const Outcome alone = RunPadded(*encoder, {sentences[b]}, n);
      const auto at = static_cast<int64_t>(b);
      EXPECT_LT(MaxAbsDiff(together.words[at].narrow(0, 0, n), alone.words[0]), kExact);
      EXPECT_LT(MaxAbsDiff(together.unary_grad[at].narrow(0, 0, n), alone.unary_grad[0]), 1e-10);
      EXPECT_EQ(together.words[at].narrow(0, n, width - n).abs().sum().item<double>(), 0.0);
      EXPECT_EQ(together.unary_grad[at].narrow(0, n, width - n).abs().sum().item<double>(), 0.0);
      if (alone.root.defined()) {
        EXPECT_LT(MaxAbsDiff(together.root[at], alone.root[0]), kExact);
      }
      for (size_t w = 0; w < alone.weight_grads.size(); ++w) {
        if (b == 0) sums.push_back(alone.weight_grads[w].clone());
        if (b > 0) sums[w] += alone.weight_grads[w];
      }
    }
    for (size_t w = 0; w < sums.size(); ++w) {
      EXPECT_LT(MaxAbsDiff(together.weight_grads[w], sums[w]), 1e-9) << w;
    }
  }
}

TEST_P(AnyConfigTest, HeadDistributionsSumToOneOverAdmissibleHeads) {
  const auto encoder = RandomEncoder(config_);
  const int64_t n = 6;
  const Tensor unary = RandomTensor({3, n, config_.labels}, 5);
  Tensor mask = AllWords(3, n);
  mask[1].narrow(0, 4, 2).fill_(false);
  mask[2].narrow(0, 1, 5).fill_(false);
  InferenceTrace trace;
  encoder->Encode(unary, mask, &trace);
  ASSERT_EQ(trace.head_probs.size(), static_cast<size_t>(config_.iterations));
  const int64_t first = config_.root_labels > 0 ? 1 : 0;
  for (const Tensor& probs : trace.head_probs) {
    const Tensor words = probs.narrow(3, first, n);
    EXPECT_EQ(words.diagonal(0, 2, 3).abs().sum().item<double>(), 0.0);
    EXPECT_EQ(words.masked_select(mask.unsqueeze(1).unsqueeze(1).logical_not())
                  .abs()
                  .sum()
                  .item<double>(),
              0.0);
    const Tensor sums = probs.sum(3);          // [B, h, n]
    const bool elsewhere = probs.size(3) > n;  // ROOT or globals: a lone word has a head too
    for (int64_t b = 0; b < 3; ++b) {
      const int64_t length = mask[b].sum().item<int64_t>();
      const double wanted = length > 1 || elsewhere ? 1.0 : 0.0;
      if (config_.normaliser == "softmax") {  // relu may leave nothing to share out
        EXPECT_LT((sums[b].narrow(1, 0, length) - wanted).abs().max().item<double>(), kExact);
      }
      EXPECT_EQ(sums[b].narrow(1, length, n - length).abs().sum().item<double>(), 0.0);
    }
  }
}

TEST_P(AnyConfigTest, PermutedChannelsChangeNothing) {
  const auto encoder = RandomEncoder(config_);
  const auto permuted = RandomEncoder(config_);
  const Tensor order = at::tensor({2, 0, 1}, at::kLong);
  {
    at::NoGradGuard no_grad;
    for (auto& item : permuted->named_parameters()) {
      // W has its channels in the middle; the others at the end.
      const bool middle = item.key() == "W";
      const int64_t axis = middle ? item.value().dim() - 2 : item.value().dim() - 1;
      const bool has_channels =
          item.key() != "distribution_params" && item.key().rfind("linear", 0) != 0 &&
          !(config_.factor == "uvw" && (item.key() == "U" || item.key() == "V")) &&
          item.value().size(axis) == 3;
      if (has_channels) item.value().copy_(item.value().index_select(axis, order).clone());
    }
  }
  const Tensor unary = RandomTensor({2, 6, config_.labels}, 5);
  const EncodedSentences a = EncodeAll(*encoder, unary), b = EncodeAll(*permuted, unary);
  EXPECT_LT(MaxAbsDiff(a.words, b.words), kExact * 10);
  double moved = 0.0;
  for (size_t w = 0; w < encoder->parameters().size(); ++w) {
    moved += MaxAbsDiff(encoder->parameters()[w], permuted->parameters()[w]);
  }
  EXPECT_GT(moved, 0.1);
}

TEST_P(AnyConfigTest, PairFormsAgree) {
  const int64_t gamma = static_cast<int64_t>(config_.distance_cuts.size());
  for (const int64_t n : {int64_t{1}, int64_t{2}, std::max<int64_t>(gamma, 1), gamma + 1, gamma + 2,
                          int64_t{40}, int64_t{160}}) {
    if (n == 160 && GetParam() > 1) continue;  // long sentences: two forms are enough
    const Tensor sentence = RandomTensor({n, config_.labels}, 7);
    std::vector<Outcome> outcomes;
    for (const char* pairs : {"gather", "dense", "band"}) {
      ProbTransConfig config = config_;
      config.pairs = pairs;
      config.iterations = 2;
      const auto encoder = RandomEncoder(config, 1, 0.4);
      outcomes.push_back(RunPadded(*encoder, {sentence}, n));
    }
    for (size_t other = 1; other < outcomes.size(); ++other) {
      EXPECT_LT(MaxAbsDiff(outcomes[0].words, outcomes[other].words), 1e-10) << n;
      EXPECT_LT(MaxAbsDiff(outcomes[0].unary_grad, outcomes[other].unary_grad), 1e-7) << n;
      for (size_t w = 0; w < outcomes[0].weight_grads.size(); ++w) {
        const Tensor& want = outcomes[0].weight_grads[w];
        const double size = std::max(1.0, want.abs().max().item<double>());
        EXPECT_LT(MaxAbsDiff(want, outcomes[other].weight_grads[w]), 1e-10 * size) << n;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Configs, AnyConfigTest, ::testing::Range<size_t>(0, ManyConfigs().size()));

Tensor Reversed(const Tensor& x) { return x.flip(1); }

TEST(MeanFieldEncoder, MirroredBinsMirrorTheOutput) {
  for (const char* factor : {"full", "uv", "uvw"}) {
    const ProbTransConfig config = SmallConfig(factor);
    const auto encoder = RandomEncoder(config), mirrored = RandomEncoder(config);
    {
      at::NoGradGuard no_grad;
      for (Tensor& weights : mirrored->parameters()) {
        weights.copy_(weights.roll({weights.size(0) / 2}, {0}).clone());
      }
    }
    const Tensor unary = RandomTensor({2, 9, config.labels}, 3);
    const Tensor out = EncodeAll(*encoder, unary).words;
    EXPECT_LT(MaxAbsDiff(out, Reversed(EncodeAll(*mirrored, Reversed(unary)).words)), kExact * 10);
    EXPECT_GT(MaxAbsDiff(out, Reversed(EncodeAll(*encoder, Reversed(unary)).words)), 0.01);
  }
}

TEST(MeanFieldEncoder, FactoredRootScoresEqualTheirTensor) {
  ProbTransConfig config = SmallConfig();
  config.root_labels = 5;
  const auto whole = RandomEncoder(config);
  config.root_rank = 3;
  const auto factored = RandomEncoder(config);
  const auto left = factored->named_parameters()["U_root"];
  const auto right = factored->named_parameters()["V_root"];
  {
    at::NoGradGuard no_grad;
    auto weights = whole->named_parameters();
    for (const auto& item : factored->named_parameters()) {
      if (weights.contains(item.key())) weights[item.key()].copy_(item.value());
    }
    weights["root_ternary"].copy_(at::einsum("alc,rlc->arc", {left, right}));
  }
  int64_t count = 0;
  for (const Tensor& weights : factored->parameters()) count += weights.numel();
  EXPECT_EQ(config.NumParameters(), count);
  const Tensor unary = RandomTensor({3, 7, config.labels}, 4);
  const Tensor want = EncodeAll(*whole, unary).root, got = EncodeAll(*factored, unary).root;
  EXPECT_LT(MaxAbsDiff(got, want), kExact * 10);
  got.sum().backward();
  EXPECT_GT(left.grad().abs().max().item<double>(), 1e-3);
  EXPECT_GT(right.grad().abs().max().item<double>(), 1e-3);
}

TEST(MeanFieldEncoder, FactoredFormsEqualTheFullFormOfTheirTensor) {
  for (const char* factor : {"uv", "uvw"}) {
    for (const int64_t n : {1, 2, 3, 4, 5, 40}) {
      const auto factored = RandomEncoder(SmallConfig(factor), 1, 0.5);
      const auto full = RandomEncoder(SmallConfig("full"));
      {
        at::NoGradGuard no_grad;
        full->named_parameters()["ternary"].copy_(factored->factor().Recovered());
      }
      EXPECT_NEAR(full->ScoreNorm().item<double>(), factored->ScoreNorm().item<double>(), 1e-11);
      const Tensor sentence = RandomTensor({n, 6}, 4);
      const Outcome a = RunPadded(*factored, {sentence}, n), b = RunPadded(*full, {sentence}, n);
      EXPECT_LT(MaxAbsDiff(a.words, b.words), 1e-10) << factor << " " << n;
      EXPECT_LT(MaxAbsDiff(a.unary_grad, b.unary_grad), 1e-8) << factor << " " << n;
    }
  }
}

TEST(MeanFieldEncoder, PermutedLabelsPermuteTheOutput) {
  const ProbTransConfig config = SmallConfig("full");
  const auto encoder = RandomEncoder(config), permuted = RandomEncoder(config);
  const Tensor order = at::tensor({3, 1, 5, 0, 2, 4}, at::kLong);
  {
    at::NoGradGuard no_grad;
    Tensor weights = permuted->named_parameters()["ternary"];
    weights.copy_(weights.index_select(1, order).index_select(2, order).clone());
  }
  const Tensor unary = RandomTensor({2, 7, config.labels}, 3);
  EXPECT_LT(MaxAbsDiff(EncodeAll(*encoder, unary).words.index_select(2, order),
                       EncodeAll(*permuted, unary.index_select(2, order)).words),
            kExact * 10);
}

// With labels fixed, new heads minimise energy less their entropy: any other distribution is worse.
TEST(MeanFieldEncoder, HeadStepIsAMinimum) {
  ProbTransConfig config = SmallConfig("uv");
  config.iterations = 1;
  const auto encoder = RandomEncoder(config);
  const int64_t n = 6;
  const Tensor unary = RandomTensor({n, config.labels}, 8);
  InferenceTrace trace;
  EncodeAll(*encoder, unary.unsqueeze(0), &trace);
  at::NoGradGuard no_grad;
  const Marginals best{trace.label_probs[0][0], trace.head_probs[0][0], {}};
  const double weight = config.weight_heads / static_cast<double>(config.labels);
  const auto objective = [&](const Tensor& heads) {
    const Tensor entropy = -(heads * heads.clamp_min(1e-300).log()).sum();
    return (Energy(*encoder, unary, {best.labels, heads, {}}) - weight * entropy).item<double>();
  };
  const double minimum = objective(best.heads);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Tensor other = RandomTensor({config.channels, n, n}, 100 + seed);
    for (int64_t i = 0; i < n; ++i) other.select(1, i).select(1, i).fill_(-1e300);
    for (const double share : {1e-3, 0.1, 1.0}) {
      EXPECT_GT(objective(best.heads * (1.0 - share) + other.softmax(2) * share), minimum);
    }
  }
}

TEST(MeanFieldEncoder, SmallStepsConvergeToAFixedPoint) {
  for (const char* schedule : {"heads_first", "together"}) {
    ProbTransConfig config = SmallConfig("uv");
    config.labels = 5;
    config.iterations = 2000;
    config.step_heads = config.step_labels = 0.2;
    config.schedule = schedule;
    const auto encoder = RandomEncoder(config, 1, 0.35);
    const Tensor unary = RandomTensor({1, 6, config.labels}, 2);
    InferenceTrace trace;
    {
      at::NoGradGuard no_grad;
      EncodeAll(*encoder, unary, &trace);
    }
    // (4): labels are the softmax of their scores; (3): heads that of the energy's derivative.
    EXPECT_LT(MaxAbsDiff(trace.label_probs.back(), trace.label_scores.back().softmax(2)), 1e-9);
    Marginals q{trace.label_probs.back()[0].clone(),
                trace.head_probs.back()[0].clone().set_requires_grad(true),
                {}};
    const Tensor energy = Energy(*encoder, unary[0], q);
    energy.backward();
    Tensor scores = -q.heads.grad() * static_cast<double>(config.labels);
    for (int64_t i = 0; i < 6; ++i) scores.select(1, i).select(1, i).fill_(-1e300);
    EXPECT_LT(MaxAbsDiff(scores.softmax(2), q.heads.detach()), 1e-9) << schedule;
  }
}

TEST(MeanFieldEncoder, ZeroScoresGiveTheUnaryBack) {
  const ProbTransConfig config = SmallConfig("full");
  const auto encoder = RandomEncoder(config, 1, 0.0);
  const int64_t n = 5;
  const Tensor unary = RandomTensor({1, n, config.labels}, 2);
  InferenceTrace trace;
  EXPECT_LT(MaxAbsDiff(EncodeAll(*encoder, unary, &trace).words, unary), kExact);
  const Tensor uniform = (1.0 - at::eye(n, at::kDouble)) / static_cast<double>(n - 1);
  for (const Tensor& probs : trace.head_probs) {
    EXPECT_LT((probs - uniform).abs().max().item<double>(), kExact);
  }
}

TEST(MeanFieldEncoder, EqualScoresShiftEachWordByAConstant) {
  const ProbTransConfig config = SmallConfig("full");
  const auto encoder = RandomEncoder(config);
  {
    at::NoGradGuard no_grad;
    for (Tensor& weights : encoder->parameters()) weights.fill_(0.3);
  }
  const Tensor unary = RandomTensor({1, 5, config.labels}, 2);
  const Tensor shift = EncodeAll(*encoder, unary).words - unary;
  EXPECT_LT((shift - shift.narrow(2, 0, 1)).abs().max().item<double>(), kExact);
  EXPECT_GT(shift.abs().min().item<double>(), 0.1);
}

TEST(MeanFieldEncoder, EqualBinsKnowNoOrder) {
  for (const char* factor : {"full", "uv", "uvw"}) {
    const ProbTransConfig config = SmallConfig(factor);
    const auto encoder = RandomEncoder(config);
    {
      at::NoGradGuard no_grad;
      for (Tensor& weights : encoder->parameters()) {
        weights.copy_(weights.narrow(0, 0, 1).expand_as(weights).clone());
      }
    }
    const Tensor unary = RandomTensor({1, 7, config.labels}, 2);
    const Tensor order = at::tensor({4, 2, 6, 0, 1, 5, 3}, at::kLong);
    EXPECT_LT(MaxAbsDiff(EncodeAll(*encoder, unary).words.index_select(1, order),
                         EncodeAll(*encoder, unary.index_select(1, order)).words),
              kExact * 10);
  }
}

// Sentences longer than any fixed table.
TEST(MeanFieldEncoder, TakesLongSentences) {
  const auto encoder = RandomEncoder(SmallConfig("uv"), 1, 0.2);
  const Tensor out = EncodeAll(*encoder, RandomTensor({1, 400, 6}, 2)).words;
  EXPECT_TRUE(out.isfinite().all().item<bool>());
}

// Without damping a lone word's output is S / weight.
TEST(MeanFieldEncoder, OneWordHearsNothing) {
  ProbTransConfig config = SmallConfig("uv");
  config.weight_labels = 2.0;
  const auto encoder = RandomEncoder(config);
  const Tensor unary = RandomTensor({1, 1, config.labels}, 2);
  EXPECT_LT(MaxAbsDiff(EncodeAll(*encoder, unary).words, unary / 2.0), kExact);
}

TEST(MeanFieldEncoder, DropsOnlyInTraining) {
  ProbTransConfig config = SmallConfig("uv");
  config.dropout = 0.5;
  const auto encoder = RandomEncoder(config);
  const Tensor unary = RandomTensor({1, 6, config.labels}, 2);
  const Tensor still = EncodeAll(*encoder, unary).words;
  EXPECT_EQ(MaxAbsDiff(still, EncodeAll(*encoder, unary).words), 0.0);
  encoder->train();
  torch::manual_seed(1);
  InferenceTrace trace;
  const Tensor dropped = EncodeAll(*encoder, unary, &trace).words;
  EXPECT_GT(MaxAbsDiff(still, dropped), 0.0);
  // The output itself loses entries, and heads are not made to sum to 1 again.
  EXPECT_GT(dropped.eq(0).sum().item<int64_t>(), 5);
  EXPECT_GT((trace.head_probs[0].sum(3) - 1.0).abs().max().item<double>(), 0.1);
}

// Published counts: labels, channels, gamma, form, rank, root labels, parameters.
TEST(ProbTransConfig, CountsTheParametersOfThePublishedModels) {
  struct Column {
    int64_t labels, channels, gamma;
    const char* factor;
    int64_t rank, root, parameters;
  };
  for (const Column& column : std::vector<Column>{{384, 16, 3, "uv", 64, 0, 6291456},
                                                  {128, 12, 3, "uv", 128, 0, 3145728},
                                                  {128, 18, 3, "full", 0, 0, 2359296},
                                                  {256, 8, 3, "full", 0, 0, 4194304},
                                                  {256, 18, 3, "full", 0, 0, 9437184},
                                                  {512, 10, 3, "uv", 64, 1024, 10485760},
                                                  {256, 18, 3, "uvw", 64, 512, 2630656},
                                                  {64, 4, 8, "uv", 16, 0, 147456},
                                                  {128, 8, 16, "uv", 16, 0, 1114112}}) {
    ProbTransConfig config;
    config.labels = column.labels;
    config.channels = column.channels;
    config.distance_cuts = CutsOfGamma(column.gamma);
    config.factor = column.factor;
    config.rank = column.rank;
    config.root_labels = column.root;
    EXPECT_EQ(config.NumParameters(), column.parameters);
  }
  for (const ProbTransConfig& config : ManyConfigs()) {
    int64_t count = 0;
    for (const Tensor& weights : MeanFieldEncoder(config).parameters()) count += weights.numel();
    EXPECT_EQ(config.NumParameters(), count);
  }
}

TEST(DistanceBins, OrderIsRightNearToFarThenLeft) {
  const DistanceBins bins = DistanceBins::FromCuts({2, 4});
  EXPECT_EQ(bins.size(), 6);
  const std::vector<std::pair<int64_t, int64_t>> expected = {
      {1, 0}, {2, 1}, {3, 1}, {4, 2}, {100, 2}, {-1, 3}, {-2, 4}, {-3, 4}, {-4, 5}, {-100, 5}};
  for (const auto& [offset, bin] : expected) EXPECT_EQ(bins.Find(offset), bin) << offset;
  EXPECT_EQ(bins.Present(3), (std::vector<int64_t>{0, 1, 3, 4}));

  const DistanceBins clipped = DistanceBins::Clipped(2);  // left 1, left 2.., right 2.., right 1
  EXPECT_EQ(clipped.Find(-1), 0);
  EXPECT_EQ(clipped.Find(-9), 1);
  EXPECT_EQ(clipped.Find(5), 2);
  EXPECT_EQ(clipped.Find(1), 3);
  EXPECT_EQ(DistanceBins::None().Find(-3), 0);
}

}  // namespace
}  // namespace ckv
