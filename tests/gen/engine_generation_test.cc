// Generation through the decode engine against generation by the decoder, step by step.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "base/random.h"
#include "gen/generator.h"
#include "gen/session.h"
#include "tests/gpu.h"
#include "tests/model/sample_specs.h"
#include "tests/model/tiny_decoder.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

std::vector<int32_t> PromptIds(int64_t count, int64_t vocab, uint64_t seed) {
  const at::Tensor ids = RandomIds({count}, vocab, seed).to(at::kInt);
  return {ids.data_ptr<int32_t>(), ids.data_ptr<int32_t>() + count};
}

// Prompts of many lengths, some asked for twice, that want different numbers of tokens.
std::vector<GenerateRequest> MixedRequests(int64_t vocab) {
  std::vector<GenerateRequest> requests;
  const std::vector<int64_t> lengths = {5, 1, 12, 12, 3, 7, 1, 9, 20, 2};
  for (size_t i = 0; i < lengths.size(); ++i) {
    GenerateRequest request = {PromptIds(lengths[i], vocab, i == 3 ? 2 : i), 40 + i, 0};
    request.max_new_tokens = static_cast<int64_t>(1 + (7 * i) % 11);
    requests.push_back(request);
  }
  return requests;
}

GenerateOptions StepsOf(StepKind kind, double temperature, int64_t max_rows) {
  GenerateOptions options;
  options.steps = kind;
  options.sampling.temperature = temperature;
  options.max_rows = max_rows;
  return options;
}

void ExpectSame(const std::vector<Generation>& got, const std::vector<Generation>& want,
                double tolerance, const std::string& what) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].tokens, want[i].tokens) << what << ", request " << i;
    EXPECT_EQ(got[i].finish, want[i].finish) << what << ", request " << i;
    ASSERT_EQ(got[i].log_probs.size(), want[i].log_probs.size()) << what;
    for (size_t t = 0; t < got[i].log_probs.size(); ++t) {
      EXPECT_NEAR(got[i].log_probs[t], want[i].log_probs[t], tolerance) << what;
    }
    ASSERT_EQ(got[i].top.size(), want[i].top.size()) << what;
    for (size_t t = 0; t < got[i].top.size(); ++t) {
      for (size_t k = 0; k < got[i].top[t].size(); ++k) {
        EXPECT_EQ(got[i].top[t][k].id, want[i].top[t][k].id) << what;
      }
    }
  }
}

// Ids in fp64 must be equal, however rows come and go.
void ExpectEngineEqualsEager(Decoder decoder, const std::string& what) {
  const std::vector<GenerateRequest> requests = MixedRequests(31);
  struct Case {
    const char* name;
    double temperature;
    int64_t max_rows;
    double penalty;
    int64_t top_log_probs;
  };
  const Case cases[] = {
      {"greedy", 0.0, 3, 1.0, 0},         {"all at once", 0.0, 0, 1.0, 0},
      {"sampled", 1.4, 4, 1.0, 0},        {"penalty", 1.2, 4, 1.5, 0},
      {"greedy penalty", 0.0, 3, 1.5, 0}, {"top log-probabilities", 1.2, 3, 1.0, 3}};
  for (const Case& c : cases) {
    GenerateOptions eager = StepsOf(StepKind::kEager, c.temperature, c.max_rows);
    eager.sampling.repetition_penalty = c.penalty;
    eager.top_log_probs = c.top_log_probs;
    eager.num_ids = 29;
    eager.stop_ids = {7};
    if (c.temperature > 0.0) eager.sampling.top_p = 0.95;
    GenerateOptions engine = eager;
    engine.steps = StepKind::kEngine;
    ExpectSame(Generate(decoder, requests, engine), Generate(decoder, requests, eager), 1e-10,
               what + ", " + c.name);
  }
}

TEST(EngineGeneration, EqualsEagerForEveryLayout) {
  for (const std::string& spec : SampleSpecs()) ExpectEngineEqualsEager(TinyDecoder(spec), spec);
}

// Conversations in one cache, with settings that change between turns.
void ExpectSessionsAgree(Decoder decoder, const std::string& what) {
  GenerationSession engine(decoder, 90);
  GenerationSession eager(decoder, 90);
  std::vector<int32_t> text = PromptIds(6, 31, 1);
  for (uint64_t turn = 0; turn < 6; ++turn) {
    GenerateOptions options = StepsOf(StepKind::kEager, turn % 2 == 0 ? 1.3 : 0.0, 0);
    options.max_new_tokens = 7;
    options.stop_ids = {5, 9};
    if (turn == 4) options.top_log_probs = 2;
    const std::vector<Generation> want = {eager.Continue({text, turn}, options)};
    options.steps = StepKind::kEngine;
    const std::vector<Generation> got = {engine.Continue({text, turn}, options)};
    ExpectSame(got, want, 1e-10, what);
    EXPECT_EQ(engine.num_computed(), eager.num_computed()) << what << ", turn " << turn;
    text.insert(text.end(), want[0].tokens.begin(), want[0].tokens.end());
    const std::vector<int32_t> more = PromptIds(3, 31, turn);
    text.insert(text.end(), more.begin(), more.end());
  }
}

TEST(EngineGeneration, ASessionEqualsAnEagerOne) {
  for (const char* spec : {"0_1_2_3", "0_3_3_3_4", "0s_1s_2s_3", "0s_3s_3s_3s_4s"}) {
    ExpectSessionsAgree(TinyDecoder(spec), spec);
  }
}

// Hooks see tokens in the same order and can end a row; what was computed beyond is no part of it.
TEST(EngineGeneration, AHookEndsARow) {
  Decoder decoder = TinyDecoder("0_3_3_3_4");
  const std::vector<GenerateRequest> requests = {{PromptIds(4, 31, 1), 3},
                                                 {PromptIds(9, 31, 2), 4}};
  std::vector<std::vector<Generation>> results;
  for (const StepKind kind : {StepKind::kEager, StepKind::kEngine}) {
    GenerateOptions options = StepsOf(kind, 1.5, 0);
    options.max_new_tokens = 12;
    std::vector<size_t> counts(2);
    GenerateHooks hooks;
    hooks.on_token = [&](size_t row, int32_t) { return row == 1 || ++counts[row] < 5; };
    results.push_back(Generate(decoder, requests, options, hooks));
  }
  ExpectSame(results[1], results[0], 1e-10, "hook");
  EXPECT_EQ(results[1][0].tokens.size(), 5u);
  EXPECT_EQ(results[1][0].finish, FinishReason::kStopText);
}

TEST(EngineGeneration, SaysWhatItCannotDo) {
  DecoderConfig config = TinyConfig("0_1_2_3");
  config.rope.scaling = "dynamic";
  Decoder decoder = TinyDecoder(config);
  EXPECT_THROW(Generate(decoder, {{{1, 2}, 0}}, StepsOf(StepKind::kEngine, 0.0, 0)), ConfigError);
  EXPECT_EQ(Generate(decoder, {{{1, 2}, 0, 3}}, StepsOf(StepKind::kAuto, 0.0, 0))[0].tokens.size(),
            3u);
}

// --- On a GPU.

TEST(EngineGenerationGpu, EqualsEagerForEveryLayout) {
  CKV_NEEDS_GPU();
  size_t index = 0;
  for (const std::string& spec : SampleSpecs()) {
    if (index++ % 4 != 0) continue;  // the CPU has them all
    Decoder decoder = TinyDecoder(spec);
    decoder->to(at::kCUDA);
    ExpectEngineEqualsEager(decoder, spec);
  }
  Decoder decoder = TinyDecoder("0_3_3_3_4");
  decoder->to(at::kCUDA);
  ExpectSessionsAgree(decoder, "session");
}

Decoder HalfDecoder(const std::string& sharing, at::ScalarType dtype) {
  DecoderConfig config;
  config.vocab_size = 1000;
  config.hidden_size = 256;
  config.intermediate_size = 352;
  config.num_attention_heads = 8;
  config.num_key_value_heads = 2;
  config.head_dim = 64;
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

// How far reported log-probabilities are from the model's in fp64, root mean square.
double LogProbError(Decoder& exact, const std::vector<GenerateRequest>& requests,
                    const std::vector<Generation>& generations) {
  at::NoGradGuard no_grad;
  double squares = 0.0;
  double count = 0.0;
  for (size_t i = 0; i < requests.size(); ++i) {
    std::vector<int32_t> all = requests[i].prompt;
    all.insert(all.end(), generations[i].tokens.begin(), generations[i].tokens.end());
    DecoderRun run;
    run.order = DecoderRun::Order::kSequential;
    const at::Tensor ids = at::tensor(all, at::kLong).unsqueeze(0).to(at::kCUDA);
    const at::Tensor log_probs =
        exact->Logits(exact->Hidden({ids, {}, {}}, run))[0].log_softmax(1).cpu();
    const auto prompt = static_cast<int64_t>(requests[i].prompt.size());
    for (size_t t = 0; t < generations[i].tokens.size(); ++t) {
      const double want =
          log_probs[prompt - 1 + static_cast<int64_t>(t)][generations[i].tokens[t]].item<double>();
      squares += std::pow(generations[i].log_probs[t] - want, 2);
      count += 1.0;
    }
  }
  return std::sqrt(squares / count);
}

TEST(EngineGenerationGpu, IsAsExactAsEagerInHalfPrecision) {
  CKV_NEEDS_GPU();
  for (const char* spec : {"0_1_2_3", "0_0_2_2", "0_3_3_3_4", "0s_1s_2s_3", "0_3/0_3/0_3_4"}) {
    Decoder exact = HalfDecoder(spec, at::kDouble);
    for (const auto dtype : {at::kBFloat16, at::kHalf}) {
      Decoder decoder = HalfDecoder(spec, dtype);
      const std::vector<GenerateRequest> requests = MixedRequests(1000);
      std::vector<double> errors;
      for (const StepKind kind : {StepKind::kEager, StepKind::kEngine}) {
        GenerateOptions options = StepsOf(kind, 1.0, 4);
        options.prefill.order = DecoderRun::Order::kSequential;
        const std::vector<Generation> got = Generate(decoder, requests, options);
        for (size_t i = 0; i < requests.size(); ++i) {
          EXPECT_EQ(got[i].tokens.size(), static_cast<size_t>(requests[i].max_new_tokens));
        }
        errors.push_back(LogProbError(exact, requests, got));
      }
      EXPECT_LE(errors[1], 2.0 * errors[0]) << spec << " " << dtype;
      EXPECT_GT(errors[1], 0.0);
    }
  }
}

}  // namespace
}  // namespace ckv
