#include "gen/decode_engine.h"

#include <cmath>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "base/error.h"
#include "sharing/presets.h"
#include "tests/gpu.h"
#include "tests/model/tiny_decoder.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

const char* const kEngineSpecs[] = {
    "0_1_2_3",       "0_0_2_2",          "0_3_3_3_4",       "2_2_2_5_5_5",
    "0s_1s_2s_3",    "0_3s_3_3s_4",      "0s_3s_3s_3s_4s",  "0_3/0_3/0_3_4",
    "0_1_1/0s_0/1s", "0s_1_1/0s_0/1s_4", "5_2_2_4_4_5_6_6",
};

DecodeEngineOptions GreedyEngine() {
  DecodeEngineOptions options;
  options.sampling.temperature = 0.0;
  return options;
}

// Logits of an engine that takes `tokens` [B, T] one by one; [B, T, V].
Tensor EngineLogits(DecodeEngine& engine, const Tensor& tokens, int64_t longest = 0) {
  std::vector<Tensor> logits;
  for (int64_t t = 0; t < tokens.size(1); ++t) {
    engine.Start(tokens.select(1, t), longest + t);
    engine.Step();
    engine.Collect();
    logits.push_back(engine.logits().clone());
  }
  return at::stack(logits, 1);
}

// The same by the decoder.
Tensor SequentialLogits(Decoder& decoder, const Tensor& tokens) {
  at::NoGradGuard no_grad;
  DecoderRun run;
  run.order = DecoderRun::Order::kSequential;
  return decoder->Logits(decoder->Hidden({tokens, {}, {}}, run));
}

DecodeStores StoresFor(const Decoder& decoder, int64_t rows, int64_t max_tokens) {
  return NewDecodeStores(decoder->config(), rows, max_tokens,
                         decoder->head_weight().options().requires_grad(false));
}

class DecodeEngineTest : public ::testing::TestWithParam<const char*> {};

TEST_P(DecodeEngineTest, StepsGiveWhatTheDecoderGives) {
  Decoder decoder = TinyDecoder(GetParam());
  const Tensor tokens = RandomIds({3, 11}, 31, 1);
  const Tensor want = SequentialLogits(decoder, tokens);
  DecodeEngine engine(decoder, StoresFor(decoder, 3, 11), GreedyEngine());
  EXPECT_LT(MaxAbsDiff(EngineLogits(engine, tokens), want), 1e-11);  // fp64
  // Its projections lie elsewhere now.
  EXPECT_LT(MaxAbsDiff(SequentialLogits(decoder, tokens), want), 1e-11);
}

TEST_P(DecodeEngineTest, RowsOfDifferentLengthGoOnTogether) {
  Decoder decoder = TinyDecoder(GetParam());
  const std::vector<int64_t> lengths = {0, 4, 7};
  const Tensor tokens = RandomIds({3, 12}, 31, 2);
  const DecodeStores stores = StoresFor(decoder, 3, 12);
  Tensor want = at::empty({3, 31}, at::kDouble);
  for (int64_t row = 0; row < 3; ++row) {
    const int64_t length = lengths[static_cast<size_t>(row)];
    const Tensor logits = SequentialLogits(decoder, tokens.narrow(0, row, 1).narrow(1, 0, 9));
    want[row] = logits[0][length];
    const DecodeStores own = StoresFor(decoder, 1, 12);
    DecodeEngine alone(decoder, own, GreedyEngine());
    if (length > 0) EngineLogits(alone, tokens.narrow(0, row, 1).narrow(1, 0, length));
    for (size_t layer = 0; layer < own.keys.size(); ++layer) {
      if (own.keys[layer].defined()) stores.keys[layer][row].copy_(own.keys[layer][0]);
      if (own.values[layer].defined()) stores.values[layer][row].copy_(own.values[layer][0]);
    }
    stores.lengths[row] = length;
  }
  DecodeEngine engine(decoder, stores, GreedyEngine());
  const Tensor next = tokens.gather(1, at::tensor(lengths).unsqueeze(1)).squeeze(1);
  engine.Start(next, 7);
  engine.Step();
  EXPECT_LT(MaxAbsDiff(engine.logits(), want), 1e-11);  // fp64
  EXPECT_TRUE(at::equal(stores.lengths, at::tensor(lengths, at::kInt) + 1));
}

INSTANTIATE_TEST_SUITE_P(Specs, DecodeEngineTest, ::testing::ValuesIn(kEngineSpecs));

TEST(DecodeEngine, ServesEveryPreset) {
  for (const Preset& preset : Presets()) {
    std::map<std::string, std::string> params;
    for (const PresetParam& param : preset.params) {
      if (param.default_value != nullptr) continue;
      params[param.key] = std::string(param.key) == "factor" ? "3" : "2";
    }
    DecoderConfig config = TinyConfig(MakePreset(preset.name, 8, params).spec.ToString());
    Decoder decoder = TinyDecoder(config);
    const Tensor tokens = RandomIds({2, 8}, 31, 1);
    const Tensor want = SequentialLogits(decoder, tokens);
    DecodeEngine engine(decoder, StoresFor(decoder, 2, 8), GreedyEngine());
    EXPECT_LT(MaxAbsDiff(EngineLogits(engine, tokens), want), 1e-11) << preset.name;  // fp64
  }
}

TEST(DecodeEngine, TakesBiasesOtherActivationsAndHeadWidths) {
  DecoderConfig config = TinyConfig("0_2_2_3");
  config.attention_bias = true;
  config.mlp_bias = true;
  config.hidden_act = "gelu_tanh";
  config.head_dim = 6;
  config.tie_word_embeddings = true;
  config.force_nodiag = true;
  config.rope.scaling = "yarn";
  config.rope.factor = 2.0;
  Decoder decoder = TinyDecoder(config);
  at::NoGradGuard no_grad;
  for (const auto& item : decoder->named_parameters()) {
    if (item.key().find("bias") != std::string::npos) {
      item.value().copy_(RandomTensor({item.value().size(0)}, 3));
    }
  }
  const Tensor tokens = RandomIds({2, 9}, 31, 1);
  const Tensor want = SequentialLogits(decoder, tokens);
  DecodeEngine engine(decoder, StoresFor(decoder, 2, 9), GreedyEngine());
  EXPECT_LT(MaxAbsDiff(EngineLogits(engine, tokens), want), 1e-11);  // fp64
}

TEST(DecodeEngine, ChoosesTheNextTokensItself) {
  Decoder decoder = TinyDecoder("0_3_3_3_4");
  DecodeEngineOptions options = GreedyEngine();
  options.num_ids = 29;
  DecodeEngine engine(decoder, StoresFor(decoder, 3, 10), options);
  Tensor all = RandomIds({3, 1}, 29, 4);
  engine.Start(all.squeeze(1), 0);
  std::vector<Tensor> log_probs;
  // One step ahead of the collecting.
  engine.Step();
  for (int i = 0; i < 9; ++i) {
    engine.Step();
    const DecodeChoice choice = engine.Collect();
    all = at::cat({all, choice.ids.unsqueeze(1)}, 1);
    log_probs.push_back(choice.log_probs);
  }
  const Tensor logits = SequentialLogits(decoder, all).narrow(2, 0, 29);
  EXPECT_TRUE(at::equal(all.narrow(1, 1, 9), logits.argmax(2).narrow(1, 0, 9)));
  const Tensor want = logits.log_softmax(2).amax(2).narrow(1, 0, 9);
  EXPECT_LT(MaxAbsDiff(at::stack(log_probs, 1), want), 1e-11);  // fp64
}

TEST(DecodeEngine, DrawsAsTheSamplerDoes) {
  Decoder decoder = TinyDecoder("0_1_2_3");
  DecodeEngineOptions options;
  options.sampling.temperature = 1.3;
  options.sampling.top_k = 12;
  options.sampling.top_p = 0.9;
  DecodeEngine engine(decoder, StoresFor(decoder, 4, 6), options);
  engine.Start(RandomIds({4}, 31, 4), 0);
  for (uint64_t i = 0; i < 5; ++i) {
    const Tensor uniform = at::sigmoid(RandomTensor({4}, i));
    engine.Step(uniform);
    const Choice want = ChooseTokens(engine.logits(), options.sampling, uniform);
    EXPECT_TRUE(at::equal(engine.Collect().ids, want.ids));
  }
}

TEST(DecodeEngine, SaysWhatItCannotDo) {
  Decoder decoder = TinyDecoder("0_1_2_3");
  DecodeEngine engine(decoder, StoresFor(decoder, 2, 3), GreedyEngine());
  EXPECT_THROW(engine.Step(), InternalError);     // before Start
  EXPECT_THROW(engine.Collect(), InternalError);  // nothing to collect
  engine.Start(RandomIds({2}, 31, 1), 1);
  engine.Step();
  engine.Step();
  EXPECT_THROW(engine.Step(), InternalError);  // full
  EXPECT_THROW(engine.Start(RandomIds({3}, 31, 1), 0), InternalError);
  DecoderConfig config = TinyConfig("0_1_2_3");
  config.rope.scaling = "dynamic";
  Decoder dynamic = TinyDecoder(config);
  EXPECT_THROW(DecodeEngine(dynamic, StoresFor(dynamic, 2, 3), GreedyEngine()), ConfigError);
}

TEST(DecodeEngine, ReportsLogitsThatAreNoNumbers) {
  Decoder decoder = TinyDecoder("0_1_2_3");
  at::NoGradGuard no_grad;
  decoder->named_parameters()["model.norm.weight"][3] = std::nan("");
  DecodeEngine engine(decoder, StoresFor(decoder, 2, 3), GreedyEngine());
  engine.Start(RandomIds({2}, 31, 1), 0);
  engine.Step();
  EXPECT_TRUE(engine.Collect().log_probs.isnan().all().item<bool>());
}

TEST(DecodeStores, WindowedStoresKeepTheWindow) {
  const DecoderConfig config = TinyConfig("0s_1s_1_3s");
  const DecodeStores stores = NewDecodeStores(config, 5, 20, at::kFloat);
  EXPECT_EQ(stores.keys[0].size(2), 3);
  EXPECT_EQ(stores.keys[1].size(2), 20);  // layer 2 reads it without a window
  EXPECT_FALSE(stores.keys[2].defined());
  EXPECT_EQ(stores.bytes(), 5 * DecodeStoreBytesPerRow(config, 20, 4));
  EXPECT_EQ(stores.bytes(), 5 * 2 * (3 + 20 + 3) * 2 * 4 * 4);
  EXPECT_EQ(stores.FirstRows(2).bytes(), 2 * stores.bytes() / 5);
}

// --- On a GPU.

// A decoder with sizes that the kernels take.
Decoder GpuDecoder(const std::string& sharing, at::ScalarType dtype, int64_t head_dim = 64) {
  DecoderConfig config;
  config.vocab_size = 1000;
  config.hidden_size = 256;
  config.intermediate_size = 352;
  config.num_attention_heads = 8;
  config.num_key_value_heads = 2;
  config.head_dim = head_dim;
  config.initializer_range = 0.06;
  config.sliding_window = 6;
  config.kv_sharing = ConfigValue::Scalar(sharing);
  config.Resolve();
  Decoder decoder(config);
  decoder->InitializeWeights(1);
  decoder->to(at::kBFloat16);  // so that all dtypes have the same weights
  decoder->to(at::kCUDA, dtype);
  return decoder;
}

double LogitError(const Tensor& got, const Tensor& want) {
  return ((got.to(at::kDouble) - want).norm() / want.norm()).item<double>();
}

class DecodeEngineGpuTest : public ::testing::TestWithParam<const char*> {};

// At most twice the error of the decoder's own maths in the same type.
TEST_P(DecodeEngineGpuTest, StepsAreAsExactAsTheDecoder) {
  CKV_NEEDS_GPU();
  Decoder exact = GpuDecoder(GetParam(), at::kDouble);
  for (const int64_t batch : {1, 7, 12}) {
    const Tensor tokens = RandomIds({batch, 14}, 1000, 1).to(at::kCUDA);
    const Tensor want = SequentialLogits(exact, tokens);
    for (const auto dtype : {at::kBFloat16, at::kHalf}) {
      Decoder decoder = GpuDecoder(GetParam(), dtype);
      const double measure = LogitError(SequentialLogits(decoder, tokens), want);
      DecodeEngine engine(decoder, StoresFor(decoder, batch, 14), GreedyEngine());
      EXPECT_LE(LogitError(EngineLogits(engine, tokens), want), 2.0 * measure)
          << batch << " rows, " << dtype;
    }
  }
}

TEST_P(DecodeEngineGpuTest, RecordedStepsEqualEagerOnes) {
  CKV_NEEDS_GPU();
  for (const int64_t batch : {1, 5, 16}) {
    std::vector<Tensor> results;
    for (const bool graphs : {false, true}) {
      Decoder decoder = GpuDecoder(GetParam(), at::kBFloat16);
      DecodeEngineOptions options = GreedyEngine();
      options.graphs = graphs;
      DecodeEngine engine(decoder, StoresFor(decoder, batch, 40), options);
      engine.Start(RandomIds({batch}, 1000, 3), 0);
      std::vector<Tensor> ids;
      for (int i = 0; i < 40; ++i) {
        engine.Step();
        ids.push_back(engine.Collect().ids);
      }
      ids.push_back(engine.logits().to(at::kDouble).sum(1).cpu());
      results.push_back(at::stack(std::vector<Tensor>(ids.begin(), ids.end() - 1)));
      results.push_back(ids.back());
    }
    EXPECT_TRUE(at::equal(results[0], results[2])) << batch;
    EXPECT_TRUE(at::equal(results[1], results[3])) << batch;
  }
}

INSTANTIATE_TEST_SUITE_P(Specs, DecodeEngineGpuTest, ::testing::ValuesIn(kEngineSpecs));

TEST(DecodeEngineGpu, ARowIsTheSameInABatchOfTheSameBucket) {
  CKV_NEEDS_GPU();
  Decoder decoder = GpuDecoder("0_2_2_3", at::kBFloat16);
  const Tensor tokens = RandomIds({8, 20}, 1000, 3).to(at::kCUDA);
  DecodeEngine engine(decoder, StoresFor(decoder, 8, 20), GreedyEngine());
  const Tensor together = EngineLogits(engine, tokens);
  for (const int64_t row : {0, 5}) {
    DecodeEngine alone(decoder, StoresFor(decoder, 1, 20), GreedyEngine());
    EXPECT_TRUE(at::equal(EngineLogits(alone, tokens.narrow(0, row, 1))[0], together[row])) << row;
  }
}

TEST(DecodeEngineGpu, RecordsSampledSteps) {
  CKV_NEEDS_GPU();
  Decoder decoder = GpuDecoder("0_2_2_3", at::kBFloat16);
  DecodeEngineOptions options;
  options.sampling.temperature = 1.3;
  options.sampling.top_k = 12;
  options.sampling.top_p = 0.9;
  DecodeEngine engine(decoder, StoresFor(decoder, 4, 8), options);
  engine.Start(RandomIds({4}, 1000, 4), 0);
  for (uint64_t i = 0; i < 6; ++i) {
    const Tensor uniform = at::sigmoid(RandomTensor({4}, i));
    engine.Step(uniform);
    const Choice want = ChooseTokens(engine.logits(), options.sampling, uniform.to(at::kCUDA));
    EXPECT_TRUE(at::equal(engine.Collect().ids, want.ids.cpu())) << i;
  }
}

}  // namespace
}  // namespace ckv
