#include "model/decoder.h"

#include <algorithm>
#include <set>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "ckpt/weights.h"
#include "nn/loss.h"
#include "tests/model/tiny_decoder.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

constexpr int64_t kNumTokens = 12;

// Plain, pizza, sandwich, lasagna, LCKV, windows, nested groups, chains, and split keys and values.
const char* const kSpecs[] = {
    "0_1_2_3",     "0_1_1_1",       "0_6_6_6_6_6_6_7", "2_2_2_5_5_5", "1_1_3_3",
    "0_2_2_2_2_5", "0s_1s_2_2",     "0_3s_3_3s_4",     "5_2_2_4_4_5", "0_0_1_4_3_4",
    "0_1_1/0_1/0", "0_3/0_3/0_3_4", "0_0/3_0/3_3",     "1_2s_0",      "2/1_0_1/2_3",
};

DecoderRun Parallel(int64_t forward, int64_t backward) {
  DecoderRun run;
  run.order = DecoderRun::Order::kParallel;
  run.forward_passes = forward;
  run.backward_passes = backward;
  return run;
}

DecoderRun Sequential() {
  DecoderRun run;
  run.order = DecoderRun::Order::kSequential;
  return run;
}

// Gradients of a fixed scalar function of the hidden states, in parameter order.
std::vector<at::Tensor> Gradients(Decoder& decoder, const DecoderInput& input,
                                  const DecoderRun& run) {
  decoder->zero_grad();
  const at::Tensor hidden = decoder->Hidden(input, run);
  const at::Tensor targets = RandomIds({hidden.size(0) * hidden.size(1)}, 31, 5);
  LinearCrossEntropy(hidden.flatten(0, 1), decoder->head_weight(), targets, {}).backward();
  std::vector<at::Tensor> grads;
  for (const auto& [name, parameter] : NamedParameters(*decoder)) {
    grads.push_back(parameter.grad().defined() ? parameter.grad().clone()
                                               : at::zeros_like(parameter));
  }
  return grads;
}

double WorstRelative(const std::vector<at::Tensor>& got, const std::vector<at::Tensor>& want) {
  double worst = 0.0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double scale = std::max(want[i].abs().max().item<double>(), 1e-30);
    worst = std::max(worst, MaxAbsDiff(got[i], want[i]) / scale);
  }
  return worst;
}

class DecoderSpecTest : public ::testing::TestWithParam<const char*> {};

// Each pass makes one more token exact, so T passes must reproduce decoding token by token.
TEST_P(DecoderSpecTest, AsManyPassesAsTokensEqualsTokenByToken) {
  Decoder decoder = TinyDecoder(GetParam());
  const DecoderInput input{RandomIds({2, kNumTokens}, 31, 1), {}, {}};
  const at::Tensor parallel = decoder->Hidden(input, Parallel(kNumTokens - 2, 2));
  const at::Tensor sequential = decoder->Hidden(input, Sequential());
  EXPECT_LT(MaxAbsDiff(parallel, sequential), 1e-12);  // fp64
}

// All passes with gradient give the gradient of the token-by-token computation.
TEST_P(DecoderSpecTest, AsManyGradientPassesAsTokensGiveTheSequentialGradient) {
  Decoder decoder = TinyDecoder(GetParam());
  const DecoderInput input{RandomIds({2, kNumTokens}, 31, 1), {}, {}};
  const auto parallel = Gradients(decoder, input, Parallel(0, kNumTokens));
  const auto sequential = Gradients(decoder, input, Sequential());
  EXPECT_LT(WorstRelative(parallel, sequential), 1e-10);
}

TEST_P(DecoderSpecTest, PrefillThenDecodeEqualsOnePassAtConvergence) {
  at::NoGradGuard no_grad;
  Decoder decoder = TinyDecoder(GetParam());
  const at::Tensor tokens = RandomIds({2, kNumTokens}, 31, 1);
  KvCache cache = decoder->NewCache(2, kNumTokens);
  DecoderRun run = Parallel(kNumTokens, 1);
  run.cache = &cache;
  std::vector<at::Tensor> parts = {decoder->Hidden({tokens.narrow(1, 0, 7), {}, {}}, run)};
  run.order = DecoderRun::Order::kSequential;
  parts.push_back(decoder->Hidden({tokens.narrow(1, 7, kNumTokens - 7), {}, {}}, run));
  EXPECT_EQ(cache.length(), kNumTokens);
  const at::Tensor whole = decoder->Hidden({tokens, {}, {}}, Parallel(kNumTokens, 1));
  EXPECT_LT(MaxAbsDiff(at::cat(parts, 1), whole), 1e-12);
}

TEST_P(DecoderSpecTest, ExactSavingsChangeNothing) {
  Decoder decoder = TinyDecoder(GetParam());
  const DecoderInput input{RandomIds({2, kNumTokens}, 31, 1), {}, {}};
  for (const auto& [forward, backward] : {std::pair(0, 1), std::pair(3, 2), std::pair(0, 3)}) {
    DecoderRun saved = Parallel(forward, backward);
    DecoderRun whole = saved;
    whole.exact_savings = false;
    EXPECT_LT(MaxAbsDiff(decoder->Hidden(input, saved), decoder->Hidden(input, whole)), 1e-13);
    EXPECT_LT(WorstRelative(Gradients(decoder, input, saved), Gradients(decoder, input, whole)),
              1e-11);
  }
}

TEST_P(DecoderSpecTest, ActivationCheckpointingChangesNoGradient) {
  Decoder decoder = TinyDecoder(GetParam());
  const DecoderInput input{RandomIds({2, kNumTokens}, 31, 1), {}, {}};
  const auto plain = Gradients(decoder, input, Parallel(3, 2));
  // Segments of one layer, across passes and groups, and all in one.
  for (const int64_t layers : {1, 2, 3, 5, 100}) {
    DecoderRun run = Parallel(3, 2);
    run.checkpoint_layers = layers;
    EXPECT_LT(WorstRelative(Gradients(decoder, input, run), plain), 1e-12) << layers;
  }
}

TEST_P(DecoderSpecTest, PaddedRowEqualsTheRowAlone) {
  Decoder decoder = TinyDecoder(GetParam());
  const at::Tensor tokens = RandomIds({1, kNumTokens}, 31, 1);
  for (const bool left : {true, false}) {
    const at::Tensor padding = at::zeros({1, 4}, at::kLong);
    const at::Tensor real = at::ones({1, kNumTokens}, at::kBool);
    const at::Tensor hidden_padding = at::zeros({1, 4}, at::kBool);
    DecoderInput padded;
    padded.tokens = left ? at::cat({padding, tokens}, 1) : at::cat({tokens, padding}, 1);
    padded.key_mask =
        left ? at::cat({hidden_padding, real}, 1) : at::cat({real, hidden_padding}, 1);
    const at::Tensor got =
        decoder->Hidden(padded, Parallel(3, 2)).narrow(1, left ? 4 : 0, kNumTokens);
    EXPECT_LT(MaxAbsDiff(got, decoder->Hidden({tokens, {}, {}}, Parallel(3, 2))), 1e-12);
  }
}

TEST_P(DecoderSpecTest, DocumentsInOneRowEqualDocumentsAlone) {
  Decoder decoder = TinyDecoder(GetParam());
  const at::Tensor tokens = RandomIds({1, kNumTokens}, 31, 1);
  DecoderInput packed{tokens, {}, at::cat({at::zeros({1, 5}), at::ones({1, 7})}, 1).to(at::kLong)};
  for (const DecoderRun& run : {Parallel(3, 2), Sequential()}) {
    const at::Tensor got = decoder->Hidden(packed, run);
    const at::Tensor first = decoder->Hidden({tokens.narrow(1, 0, 5), {}, {}}, run);
    const at::Tensor second = decoder->Hidden({tokens.narrow(1, 5, 7), {}, {}}, run);
    EXPECT_LT(MaxAbsDiff(got, at::cat({first, second}, 1)), 1e-12);
  }
}

TEST_P(DecoderSpecTest, NoTokenSeesTheFuture) {
  Decoder decoder = TinyDecoder(GetParam());
  const at::Tensor tokens = RandomIds({1, kNumTokens}, 31, 1);
  at::Tensor changed = tokens.clone();
  changed[0][8] = (changed[0][8] + 1) % 31;
  const at::Tensor before = decoder->Hidden({tokens, {}, {}}, Parallel(7, 2));
  const at::Tensor after = decoder->Hidden({changed, {}, {}}, Parallel(7, 2));
  EXPECT_EQ(MaxAbsDiff(before.narrow(1, 0, 8), after.narrow(1, 0, 8)), 0.0);
  EXPECT_GT(MaxAbsDiff(before.narrow(1, 8, 1), after.narrow(1, 8, 1)), 0.0);
}

TEST_P(DecoderSpecTest, BothAttentionKernelsAgree) {
  DecoderConfig config = TinyConfig(GetParam());
  const DecoderInput input{RandomIds({2, kNumTokens}, 31, 1), {}, {}};
  const at::Tensor fused = TinyDecoder(config)->Hidden(input);
  config.attention_kernel = "reference";
  EXPECT_LT(MaxAbsDiff(fused, TinyDecoder(config)->Hidden(input)), 1e-12);
}

TEST_P(DecoderSpecTest, OnlyReadLayersHaveKeyAndValueProjections) {
  Decoder decoder = TinyDecoder(GetParam());
  const KvSharingSpec& spec = decoder->config().sharing();
  std::set<std::string> names;
  for (const auto& item : decoder->named_parameters()) names.insert(item.key());
  for (int layer = 0; layer < spec.num_layers(); ++layer) {
    const std::string prefix = Str("model.layers.", layer, ".self_attn.");
    EXPECT_EQ(names.count(prefix + "k_proj.weight") == 1, spec.computes_k(layer));
    EXPECT_EQ(names.count(prefix + "v_proj.weight") == 1, spec.computes_v(layer));
  }
  EXPECT_EQ(decoder->NumParameters(), CountParams(spec, decoder->config().Shape()).total());
}

INSTANTIATE_TEST_SUITE_P(Specs, DecoderSpecTest, ::testing::ValuesIn(kSpecs));

TEST(Decoder, DropoutIsRepeatedByActivationCheckpointing) {
  DecoderConfig config = TinyConfig("0_2_2_3");
  config.attention_dropout = 0.3;
  Decoder decoder = TinyDecoder(config);
  decoder->train();
  const DecoderInput input{RandomIds({2, kNumTokens}, 31, 1), {}, {}};
  torch::manual_seed(3);
  const auto plain = Gradients(decoder, input, Parallel(2, 2));
  torch::manual_seed(3);
  DecoderRun run = Parallel(2, 2);
  run.checkpoint_layers = 2;
  EXPECT_LT(WorstRelative(Gradients(decoder, input, run), plain), 1e-12);
}

TEST(Decoder, SameSeedSameWeightsInEveryPrecision) {
  const at::Tensor wide = TinyDecoder("0_1")->head_weight();
  Decoder narrow(TinyConfig("0_1"));
  narrow->InitializeWeights(0);
  EXPECT_EQ(MaxAbsDiff(wide, narrow->head_weight()), 0.0);
}

}  // namespace
}  // namespace ckv
