#include "gen/generator.h"

#include <limits>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "tests/model/tiny_decoder.h"
#include "tests/temp_dir.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

const char* const kGenSpecs[] = {"0_1_2_3",     "0_0_2_2",     "0_3_3_3_4",
                                 "2_2_2_5_5_5", "0_3s_3_3s_4", "0_3/0_3/0_3_4"};

std::vector<int32_t> SomeIds(int64_t count, uint64_t seed) {
  const at::Tensor ids = RandomIds({count}, 31, seed).to(at::kInt);
  return {ids.data_ptr<int32_t>(), ids.data_ptr<int32_t>() + count};
}

GenerateOptions Greedy(int64_t tokens) {
  GenerateOptions options;
  options.max_new_tokens = tokens;
  options.sampling.temperature = 0.0;
  return options;
}

GenerateOptions Sampled(int64_t tokens) {
  GenerateOptions options;
  options.max_new_tokens = tokens;
  options.sampling.temperature = 1.5;
  return options;
}

class GenerateTest : public ::testing::TestWithParam<const char*> {};

// With enough passes for the prompt, each step's logits equal those of one pass over all tokens.
TEST_P(GenerateTest, PrefillAndStepsEqualOnePassOverAllTokens) {
  DecoderConfig config = TinyConfig(GetParam());
  config.forward_passes = 20;
  config.backward_passes = 1;
  Decoder decoder = TinyDecoder(config);
  const std::vector<int32_t> prompt = SomeIds(7, 1);
  std::vector<at::Tensor> steps;
  GenerateHooks hooks;
  hooks.on_logits = [&](const at::Tensor& logits) { steps.push_back(logits); };
  const std::vector<Generation> got = Generate(decoder, {{prompt, 5}}, Sampled(9), hooks);
  ASSERT_EQ(got[0].tokens.size(), 9u);

  std::vector<int32_t> all = prompt;
  all.insert(all.end(), got[0].tokens.begin(), got[0].tokens.end());
  at::NoGradGuard no_grad;
  DecoderRun run;
  run.order = DecoderRun::Order::kParallel;
  const at::Tensor logits =
      decoder->Logits(decoder->Hidden({at::tensor(all, at::kLong).unsqueeze(0), {}, {}}, run))[0];
  for (int64_t i = 0; i < 9; ++i) {
    const at::Tensor row = logits[6 + i];
    EXPECT_LT(MaxAbsDiff(steps[static_cast<size_t>(i)][0], row), 1e-11);  // fp64
    const double log_prob =
        row.log_softmax(0)[got[0].tokens[static_cast<size_t>(i)]].item<double>();
    EXPECT_NEAR(got[0].log_probs[static_cast<size_t>(i)], log_prob, 1e-11);
  }
}

TEST_P(GenerateTest, ARowDependsOnItsPromptAndSeedAlone) {
  Decoder decoder = TinyDecoder(GetParam());
  const std::vector<GenerateRequest> requests = {
      {SomeIds(4, 1), 11}, {SomeIds(13, 2), 12}, {SomeIds(1, 3), 13}, {SomeIds(10, 4), 11}};
  for (const GenerateOptions& options : {Greedy(12), Sampled(12)}) {
    const std::vector<Generation> together = Generate(decoder, requests, options);
    for (size_t row = 0; row < requests.size(); ++row) {
      const Generation alone = Generate(decoder, {requests[row]}, options)[0];
      EXPECT_EQ(alone.tokens, together[row].tokens) << row;
      for (size_t i = 0; i < alone.tokens.size(); ++i) {
        EXPECT_NEAR(alone.log_probs[i], together[row].log_probs[i], 1e-11);  // fp64
      }
    }
  }
}

TEST_P(GenerateTest, SamplingWithTopKOfOneIsGreedy) {
  Decoder decoder = TinyDecoder(GetParam());
  GenerateOptions top_one = Sampled(20);
  top_one.sampling.top_k = 1;
  const std::vector<GenerateRequest> requests = {{SomeIds(6, 1), 3}};
  EXPECT_EQ(Generate(decoder, requests, top_one)[0].tokens,
            Generate(decoder, requests, Greedy(20))[0].tokens);
}

INSTANTIATE_TEST_SUITE_P(Specs, GenerateTest, ::testing::ValuesIn(kGenSpecs));

TEST(Generate, TheSeedDecides) {
  Decoder decoder = TinyDecoder("0_1_2_3");
  const std::vector<int32_t> prompt = SomeIds(6, 1);
  const std::vector<Generation> got =
      Generate(decoder, {{prompt, 3}, {prompt, 3}, {prompt, 4}}, Sampled(20));
  EXPECT_EQ(got[0].tokens, got[1].tokens);
  EXPECT_NE(got[0].tokens, got[2].tokens);
  EXPECT_EQ(Generate(decoder, {{prompt, 3}}, Sampled(20))[0].tokens, got[0].tokens);
}

TEST(Generate, StopsAtAStopId) {
  Decoder decoder = TinyDecoder("0_1_2_3");
  const std::vector<GenerateRequest> requests = {{SomeIds(6, 1), 3}, {SomeIds(6, 2), 4}};
  const std::vector<Generation> whole = Generate(decoder, requests, Sampled(20));
  GenerateOptions options = Sampled(20);
  options.stop_ids = {whole[0].tokens[5]};
  size_t first = 0;
  while (whole[0].tokens[first] != options.stop_ids[0]) ++first;

  const std::vector<Generation> got = Generate(decoder, requests, options);
  EXPECT_EQ(got[0].finish, FinishReason::kStop);
  EXPECT_EQ(got[0].tokens,
            std::vector<int32_t>(whole[0].tokens.begin(), whole[0].tokens.begin() + first));
  // The other row goes on as if nothing had happened, unless it met the id itself.
  for (size_t i = 0; i < got[1].tokens.size(); ++i) EXPECT_EQ(got[1].tokens[i], whole[1].tokens[i]);
  EXPECT_EQ(whole[0].finish, FinishReason::kMaxTokens);
}

TEST(Generate, HooksTellEveryTokenInOrder) {
  Decoder decoder = TinyDecoder("0_3_3_3_4");
  const std::vector<GenerateRequest> requests = {{SomeIds(6, 1), 3}, {SomeIds(2, 2), 4}};
  std::vector<std::vector<int32_t>> told(2);
  std::vector<size_t> finished;
  GenerateHooks hooks;
  hooks.on_token = [&](size_t row, int32_t token) {
    told[row].push_back(token);
    return true;
  };
  hooks.on_finish = [&](size_t row, const Generation& generation) {
    EXPECT_EQ(generation.tokens, told[row]);
    finished.push_back(row);
  };
  const std::vector<Generation> got = Generate(decoder, requests, Sampled(8), hooks);
  EXPECT_EQ(told[0], got[0].tokens);
  EXPECT_EQ(told[1], got[1].tokens);
  EXPECT_EQ(finished, (std::vector<size_t>{0, 1}));
}

TEST(Generate, TheTokenHookEndsARow) {
  Decoder decoder = TinyDecoder("0_3_3_3_4");
  const std::vector<GenerateRequest> requests = {{SomeIds(6, 1), 3}, {SomeIds(2, 2), 4}};
  const std::vector<Generation> whole = Generate(decoder, requests, Sampled(8));
  GenerateHooks hooks;
  size_t told = 0;
  hooks.on_token = [&](size_t row, int32_t) { return row == 0 || ++told < 3; };
  const std::vector<Generation> got = Generate(decoder, requests, Sampled(8), hooks);
  EXPECT_EQ(got[0].tokens, whole[0].tokens);
  EXPECT_EQ(got[1].finish, FinishReason::kStopText);
  EXPECT_EQ(got[1].tokens,
            std::vector<int32_t>(whole[1].tokens.begin(), whole[1].tokens.begin() + 3));
}

// Rows end after 1, 2, ... tokens; from then on they must not be computed.
TEST(Generate, CompleteRowsLeaveTheBatch) {
  for (const char* spec : kGenSpecs) {
    Decoder decoder = TinyDecoder(spec);
    std::vector<GenerateRequest> requests;
    for (int64_t i = 0; i < 20; ++i) {
      requests.push_back({SomeIds(1 + i % 5, static_cast<uint64_t>(i)), static_cast<uint64_t>(i),
                          i == 19 ? 40 : 1 + i});
    }
    std::vector<int64_t> rows;
    GenerateHooks hooks;
    hooks.on_logits = [&](const at::Tensor& logits) { rows.push_back(logits.size(0)); };
    GenerateOptions options = Sampled(3);
    options.sampling.repetition_penalty = 1.3;
    const std::vector<Generation> got = Generate(decoder, requests, options, hooks);
    ASSERT_EQ(rows.size(), 40u);
    for (size_t step = 0; step < rows.size(); ++step) {
      const auto active = step < 20 ? static_cast<int64_t>(20 - step) : 1;
      EXPECT_LE(active, rows[step]);
      EXPECT_LE(7 * (rows[step] - active), active) << step;  // less than an eighth idle
    }
    for (size_t i = 0; i < requests.size(); ++i) {
      EXPECT_EQ(got[i].tokens.size(), static_cast<size_t>(requests[i].max_new_tokens));
      EXPECT_EQ(got[i].tokens, Generate(decoder, {requests[i]}, options)[0].tokens) << spec << i;
    }
  }
}

// Neighbours with one prompt share its computation, and nothing else.
TEST(Generate, SamplesOfOnePromptAreThoseOfEachAlone) {
  for (const char* spec : kGenSpecs) {
    Decoder decoder = TinyDecoder(spec);
    std::vector<GenerateRequest> requests;
    for (uint64_t i = 0; i < 9; ++i)
      requests.push_back({SomeIds(static_cast<int64_t>(4 + i / 3 % 2), i / 3), i});
    const std::vector<Generation> got = Generate(decoder, requests, Sampled(6));
    for (size_t i = 0; i < requests.size(); ++i) {
      EXPECT_EQ(got[i].tokens, Generate(decoder, {requests[i]}, Sampled(6))[0].tokens) << spec << i;
    }
    EXPECT_NE(got[0].tokens, got[1].tokens);
  }
}

TEST(Generate, TakesSoManyRowsAtATime) {
  Decoder decoder = TinyDecoder("0_3_3_3_4");
  std::vector<GenerateRequest> requests;
  for (uint64_t i = 0; i < 7; ++i) requests.push_back({SomeIds(3, i), i});
  GenerateOptions options = Sampled(5);
  const std::vector<Generation> together = Generate(decoder, requests, options);
  options.max_rows = 3;
  int64_t most = 0;
  GenerateHooks hooks;
  hooks.on_logits = [&](const at::Tensor& logits) { most = std::max(most, logits.size(0)); };
  const std::vector<Generation> got = Generate(decoder, requests, options, hooks);
  EXPECT_EQ(most, 3);
  for (size_t i = 0; i < requests.size(); ++i) EXPECT_EQ(got[i].tokens, together[i].tokens);
}

// One complete row of many may idle, but not past the end of the cache, which it alone fills.
TEST(Generate, ACompleteRowLeavesBeforeItOutgrowsTheCache) {
  Decoder decoder = TinyDecoder("0_3_3_3_4");
  std::vector<GenerateRequest> requests = {{SomeIds(30, 1), 1, 5}};
  for (uint64_t i = 0; i < 22; ++i) requests.push_back({SomeIds(1, i), i, 30});
  for (const int64_t max_rows : {0, 20}) {  // 20: prompts wait
    GenerateOptions options = Sampled(3);
    options.max_rows = max_rows;
    const std::vector<Generation> got = Generate(decoder, requests, options);
    EXPECT_EQ(got[0].tokens.size(), 5u);
    for (size_t i = 1; i < requests.size(); ++i) EXPECT_EQ(got[i].tokens.size(), 30u);
    EXPECT_EQ(got[22].tokens, Generate(decoder, {requests[22]}, options)[0].tokens);
  }
}

// Prompts that wait begin as soon as an eighth of the rows is complete, so few steps are wasted.
TEST(Generate, WaitingPromptsTakeThePlacesOfCompleteRows) {
  for (const char* spec : kGenSpecs) {
    Decoder decoder = TinyDecoder(spec);
    std::vector<GenerateRequest> requests;
    int64_t tokens = 0;
    for (int64_t i = 0; i < 40; ++i) {
      requests.push_back({SomeIds(1 + i * i % 11, static_cast<uint64_t>(i)),
                          static_cast<uint64_t>(i), 1 + i * 7 % 13});
      tokens += requests.back().max_new_tokens;
    }
    GenerateOptions options = Sampled(3);
    options.sampling.repetition_penalty = 1.3;
    options.max_rows = 8;
    int64_t computed = 0;
    GenerateHooks hooks;
    hooks.on_logits = [&](const at::Tensor& logits) {
      EXPECT_LE(logits.size(0), 8);
      computed += logits.size(0);
    };
    const std::vector<Generation> got = Generate(decoder, requests, options, hooks);
    EXPECT_LE(computed, tokens * 8 / 7 + 8) << spec;
    for (size_t i = 0; i < requests.size(); ++i) {
      EXPECT_EQ(got[i].tokens, Generate(decoder, {requests[i]}, options)[0].tokens) << spec << i;
    }
  }
}

// Every row's own prompt and output, and nothing else, counts as seen.
TEST(Generate, TheRepetitionPenaltyRemembersPromptAndOutput) {
  Decoder decoder = TinyDecoder("0_3_3_3_4");
  const std::vector<GenerateRequest> requests = {{SomeIds(6, 1), 0}, {SomeIds(3, 2), 0}};
  GenerateOptions options = Greedy(15);
  options.sampling.repetition_penalty = 1.7;
  std::vector<at::Tensor> logits;
  GenerateHooks hooks;
  hooks.on_logits = [&](const at::Tensor& step) { logits.push_back(step); };
  const std::vector<Generation> got = Generate(decoder, requests, options, hooks);
  for (size_t row = 0; row < 2; ++row) {
    at::Tensor seen = at::zeros({1, 31}, at::kBool);
    for (const int32_t id : requests[row].prompt) seen[0][id] = true;
    for (size_t step = 0; step < 15; ++step) {
      const at::Tensor own = logits[step].narrow(0, static_cast<int64_t>(row), 1);
      const int32_t id = got[row].tokens[step];
      EXPECT_EQ(PenalizeSeen(own, seen, 1.7).argmax(1).item<int64_t>(), id);
      seen[0][id] = true;
    }
    EXPECT_NE(got[row].tokens, Generate(decoder, {requests[row]}, Greedy(15))[0].tokens);
  }
}

TEST(Generate, TellsTheLikeliestTokens) {
  Decoder decoder = TinyDecoder("0_3_3_3_4");
  GenerateOptions options = Greedy(5);
  options.top_log_probs = 3;
  std::vector<at::Tensor> logits;
  GenerateHooks hooks;
  hooks.on_logits = [&](const at::Tensor& step) { logits.push_back(step); };
  const Generation got = Generate(decoder, {{SomeIds(4, 1), 0}}, options, hooks)[0];
  ASSERT_EQ(got.top.size(), 5u);
  for (size_t i = 0; i < 5; ++i) {
    ASSERT_EQ(got.top[i].size(), 3u);
    const auto [log_probs, ids] = logits[i][0].log_softmax(0).topk(3);
    for (int64_t k = 0; k < 3; ++k) {
      EXPECT_EQ(got.top[i][static_cast<size_t>(k)].id, ids[k].item<int64_t>());
      EXPECT_NEAR(got.top[i][static_cast<size_t>(k)].log_prob, log_probs[k].item<double>(), 1e-12);
    }
    EXPECT_EQ(got.top[i][0].id, got.tokens[i]);
    EXPECT_NEAR(got.top[i][0].log_prob, got.log_probs[i], 1e-12);
  }
  options.top_log_probs = 1000;  // more than there are
  EXPECT_EQ(Generate(decoder, {{SomeIds(4, 1), 0}}, options)[0].top[0].size(), 31u);
}

TEST(Generate, ChoosesOnlyIdsThatTheTokenizerHas) {
  Decoder decoder = TinyDecoder("0_1_2_3");
  GenerateOptions options = Sampled(200);
  options.sampling.temperature = 5.0;
  EXPECT_GE(
      at::tensor(Generate(decoder, {{SomeIds(6, 1), 3}}, options)[0].tokens).max().item<int32_t>(),
      25);
  options.num_ids = 25;
  EXPECT_LT(
      at::tensor(Generate(decoder, {{SomeIds(6, 1), 3}}, options)[0].tokens).max().item<int32_t>(),
      25);
}

// The last token is chosen but never read: it needs no position.
TEST(Generate, EndsWhereThePositionsEnd) {
  DecoderConfig config = TinyConfig("0_3_3_3_4");
  config.max_position_embeddings = 10;
  Decoder decoder = TinyDecoder(config);
  const std::vector<Generation> got =
      Generate(decoder, {{SomeIds(10, 1), 0}, {SomeIds(4, 2), 0}}, Greedy(5));
  EXPECT_EQ(got[0].tokens.size(), 1u);
  EXPECT_EQ(got[0].finish, FinishReason::kContextFull);
  EXPECT_EQ(got[1].tokens.size(), 5u);
  EXPECT_EQ(got[1].finish, FinishReason::kMaxTokens);
}

TEST(Generate, RefusesPromptsThatDoNotFit) {
  DecoderConfig config = TinyConfig("0_1_2_3");
  config.max_position_embeddings = 10;
  Decoder decoder = TinyDecoder(config);
  const auto error = [&](std::vector<int32_t> prompt) {
    return ErrorOf([&] { Generate(decoder, {{prompt, 0}}, Greedy(1)); });
  };
  EXPECT_EQ(error(SomeIds(11, 1)),
            "2: prompt: has 11 tokens, but the model takes at most 10 (max_position_embeddings)");
  EXPECT_EQ(error({}), "2: prompt: is empty; at least one token is needed");
  EXPECT_EQ(error({3, 31}), "2: prompt: token id 31 is outside the vocabulary of 31");
  EXPECT_EQ(error({-1}), "2: prompt: token id -1 is outside the vocabulary of 31");
  EXPECT_EQ(error(SomeIds(10, 1)), "");
}

TEST(Generate, RefusesNoTokens) {
  Decoder decoder = TinyDecoder("0_1_2_3");
  EXPECT_EQ(ErrorOf([&] {
              Generate(decoder, {{{1}, 0}}, Greedy(0));
            }),
            "2: --max-tokens: 0, but must be >= 1");
}

TEST(Generate, ReportsOutputThatIsNotANumber) {
  Decoder decoder = TinyDecoder("0_1_2_3");
  {
    at::NoGradGuard no_grad;
    decoder->head_weight()[0].fill_(std::numeric_limits<double>::quiet_NaN());
  }
  EXPECT_EQ(ErrorOf([&] {
              Generate(decoder, {{{1}, 0}}, Greedy(3));
            }),
            "5: step 0: the model's output is not a number");
}

TEST(LeftPadded, PutsPaddingInFront) {
  const DecoderInput input = LeftPadded({{{5, 6, 7}, 0}, {{8}, 0}});
  EXPECT_TRUE(at::equal(input.tokens, at::tensor({5, 6, 7, 0, 0, 8}, at::kLong).view({2, 3})));
  EXPECT_TRUE(at::equal(input.key_mask.to(at::kLong),
                        at::tensor({1, 1, 1, 0, 0, 1}, at::kLong).view({2, 3})));
  EXPECT_FALSE(LeftPadded({{{5}, 0}, {{8}, 0}}).key_mask.defined());
}

}  // namespace
}  // namespace ckv
