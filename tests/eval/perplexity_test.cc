#include "eval/perplexity.h"

#include <cmath>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "tests/model/tiny_decoder.h"
#include "tests/temp_dir.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

constexpr int64_t kNumTokens = 41;
const char* const kEvalSpecs[] = {"0_1_2_3", "0_0_2_2", "0_3_3_3_4", "0_3s_3_3s_4",
                                  "0_3/0_3/0_3_4"};

EvalText RandomText(int64_t num_tokens = kNumTokens) {
  const at::Tensor ids = RandomIds({num_tokens}, 31, 9).to(at::kInt);
  TextCounts counts;
  counts.bytes = 3 * num_tokens;
  counts.words = num_tokens / 2;
  return EvalText({ids.data_ptr<int32_t>(), ids.data_ptr<int32_t>() + num_tokens}, {0, 5, 6, 23},
                  counts);
}

at::Tensor TokensOf(const EvalText& text) {
  at::Tensor tokens = at::empty({text.num_tokens()}, at::kLong);
  text.Read(0, text.num_tokens(), tokens.data_ptr<int64_t>());
  return tokens;
}

DecoderRun ParallelRun(int64_t forward, int64_t backward) {
  DecoderRun run;
  run.order = DecoderRun::Order::kParallel;
  run.forward_passes = forward;
  run.backward_passes = backward;
  return run;
}

DecoderRun SequentialRun() {
  DecoderRun run;
  run.order = DecoderRun::Order::kSequential;
  return run;
}

PerplexityOptions Windows(int64_t seq_len, int64_t stride, const DecoderRun& run) {
  PerplexityOptions options;
  options.seq_len = seq_len;
  options.stride = stride;
  options.batch_size = 3;
  options.run = run;
  return options;
}

// -log p of each of tokens[1..] given the `context` tokens before it and no others.
double NatsOf(Decoder& decoder, const at::Tensor& tokens, int64_t target, int64_t context,
              const DecoderRun& run) {
  at::NoGradGuard no_grad;
  const at::Tensor input = tokens.narrow(0, target - context, context).unsqueeze(0);
  const at::Tensor logits = decoder->Logits(decoder->Hidden({input, {}, {}}, run))[0][-1];
  return -logits.log_softmax(0)[tokens[target].item<int64_t>()].item<double>();
}

class PerplexityTest : public ::testing::TestWithParam<const char*> {};

TEST_P(PerplexityTest, EqualsADirectComputation) {
  Decoder decoder = TinyDecoder(GetParam());
  const EvalText text = RandomText();
  const at::Tensor tokens = TokensOf(text);
  const DecoderRun run = ParallelRun(3, 2);
  for (const auto& [seq_len, stride] : {std::pair(8, 8), std::pair(8, 3), std::pair(100, 100)}) {
    double want = 0.0;
    int64_t done = 0;  // targets counted
    for (int64_t begin = 0; done < kNumTokens - 1; begin += stride) {
      const int64_t end = std::min<int64_t>(begin + seq_len, kNumTokens - 1);
      for (; done < end; ++done) {
        want += NatsOf(decoder, tokens, done + 1, done + 1 - begin, run);
      }
    }
    const PerplexitySums sums = SumPerplexity(decoder, text, Windows(seq_len, stride, run));
    EXPECT_EQ(sums.tokens, kNumTokens - 1);
    EXPECT_NEAR(sums.nats, want, 1e-11 * want) << seq_len << " by " << stride;  // fp64
  }
}

TEST_P(PerplexityTest, AStrideOfTheWindowIsNoStride) {
  Decoder decoder = TinyDecoder(GetParam());
  const DecoderRun run = ParallelRun(3, 2);
  const PerplexitySums with = SumPerplexity(decoder, RandomText(), Windows(8, 8, run));
  const PerplexitySums without = SumPerplexity(decoder, RandomText(), Windows(8, 0, run));
  EXPECT_EQ(with.nats, without.nats);
  EXPECT_EQ(with.windows, 5);
  EXPECT_EQ(without.windows, 5);
}

TEST_P(PerplexityTest, AsManyPassesAsTokensEqualTokenByToken) {
  Decoder decoder = TinyDecoder(GetParam());
  for (const int64_t stride : {12, 5}) {
    const PerplexitySums parallel =
        SumPerplexity(decoder, RandomText(), Windows(12, stride, ParallelRun(10, 2)));
    const PerplexitySums sequential =
        SumPerplexity(decoder, RandomText(), Windows(12, stride, SequentialRun()));
    EXPECT_NEAR(parallel.nats, sequential.nats, 1e-11 * sequential.nats);  // fp64
    EXPECT_EQ(parallel.correct, sequential.correct);
  }
}

TEST_P(PerplexityTest, DoesNotDependOnTheBatch) {
  Decoder decoder = TinyDecoder(GetParam());
  for (const DecoderRun& run : {ParallelRun(1, 1), SequentialRun()}) {
    PerplexityOptions options = Windows(6, 4, run);
    options.batch_size = 1;
    const PerplexitySums one = SumPerplexity(decoder, RandomText(), options);
    for (const int64_t batch : {2, 5, 64}) {
      options.batch_size = batch;
      const PerplexitySums many = SumPerplexity(decoder, RandomText(), options);
      EXPECT_NEAR(many.nats, one.nats, 1e-12 * one.nats);  // fp64
      EXPECT_EQ(many.tokens, one.tokens);
      EXPECT_EQ(many.correct, one.correct);
      EXPECT_EQ(many.windows, one.windows);
    }
  }
}

TEST_P(PerplexityTest, RanksAddUpToTheWhole) {
  Decoder decoder = TinyDecoder(GetParam());
  const EvalText text = RandomText();
  PerplexityOptions options = Windows(8, 3, ParallelRun(3, 2));
  const PerplexitySums whole = SumPerplexity(decoder, text, options);
  for (const int world : {2, 3, 9}) {  // 9: more than batches
    options.world = world;
    double nats = 0.0;
    int64_t tokens = 0;
    int64_t correct = 0;
    for (options.rank = 0; options.rank < world; ++options.rank) {
      const PerplexitySums part = SumPerplexity(decoder, text, options);
      nats += part.nats;
      tokens += part.tokens;
      correct += part.correct;
    }
    EXPECT_NEAR(nats, whole.nats, 1e-11 * whole.nats);
    EXPECT_EQ(tokens, whole.tokens);
    EXPECT_EQ(correct, whole.correct);
  }
}

TEST_P(PerplexityTest, ResettingAttentionScoresEachDocumentAlone) {
  Decoder decoder = TinyDecoder(GetParam());
  const EvalText text = RandomText();
  const at::Tensor tokens = TokensOf(text);
  PerplexityOptions options = Windows(100, 0, ParallelRun(3, 2));
  options.reset_attention = true;
  double want = 0.0;
  int64_t count = 0;
  const std::vector<int64_t> starts = {0, 5, 6, 23, kNumTokens};
  for (size_t document = 0; document + 1 < starts.size(); ++document) {
    for (int64_t target = starts[document] + 1; target < starts[document + 1]; ++target) {
      want += NatsOf(decoder, tokens, target, target - starts[document], options.run);
      ++count;
    }
  }
  const PerplexitySums sums = SumPerplexity(decoder, text, options);
  EXPECT_EQ(sums.tokens, count);
  EXPECT_NEAR(sums.nats, want, 1e-11 * want);  // fp64
}

INSTANTIATE_TEST_SUITE_P(Specs, PerplexityTest, ::testing::ValuesIn(kEvalSpecs));

// Otherwise the properties above would hold for passes that nobody looks at.
TEST(Perplexity, FewerPassesGiveAnotherResult) {
  Decoder decoder = TinyDecoder("0_3_3_3_4");
  const double one = SumPerplexity(decoder, RandomText(), Windows(12, 0, ParallelRun(0, 1))).nats;
  const double exact = SumPerplexity(decoder, RandomText(), Windows(12, 0, SequentialRun())).nats;
  EXPECT_GT(std::abs(one - exact), 1e-2);
}

TEST(Perplexity, MaxTokensTakesThatManyTargetsFromTheStart) {
  Decoder decoder = TinyDecoder("0_1_2_3");
  PerplexityOptions options = Windows(8, 0, ParallelRun(0, 1));
  options.max_tokens = 19;
  std::vector<int64_t> done;
  const PerplexitySums part = SumPerplexity(decoder, RandomText(), options,
                                            [&](int64_t targets) { done.push_back(targets); });
  EXPECT_EQ(part.tokens, 19);
  EXPECT_EQ(done, (std::vector<int64_t>{19}));
  EXPECT_EQ(NumTargets(RandomText(), options), 19);
  options.max_tokens = 0;
  EXPECT_NEAR(part.nats, SumPerplexity(decoder, RandomText(20), options).nats, 1e-11);
  options.max_tokens = 1000;
  EXPECT_EQ(SumPerplexity(decoder, RandomText(), options).tokens, kNumTokens - 1);
}

TEST(Perplexity, CountsCorrectTokens) {
  Decoder decoder = TinyDecoder("0_1_2_3");
  const EvalText text = RandomText();
  const DecoderRun run = ParallelRun(0, 1);
  const PerplexitySums sums = SumPerplexity(decoder, text, Windows(8, 0, run));
  at::NoGradGuard no_grad;
  const at::Tensor tokens = TokensOf(text);
  int64_t want = 0;
  for (int64_t begin = 0; begin < 40; begin += 8) {
    const at::Tensor logits =
        decoder->Logits(decoder->Hidden({tokens.narrow(0, begin, 8).unsqueeze(0), {}, {}}, run))[0];
    want += logits.argmax(1).eq(tokens.narrow(0, begin + 1, 8)).sum().item<int64_t>();
  }
  EXPECT_EQ(sums.correct, want);
}

TEST(Perplexity, RefusesOptionsOutOfRange) {
  Decoder decoder = TinyDecoder("0_1_2_3");
  const auto error = [&](const PerplexityOptions& options) {
    return ErrorOf([&] { SumPerplexity(decoder, RandomText(), options); });
  };
  EXPECT_EQ(error(Windows(0, 0, {})), "2: --seq-len: 0, but must be >= 1");
  EXPECT_EQ(error(Windows(8, 9, {})), "2: --stride: 9, but must be from 1 to the window length 8");
  PerplexityOptions options = Windows(8, 8, {});
  options.batch_size = 0;
  EXPECT_EQ(error(options), "2: --batch-size: 0, but must be >= 1");
  options = Windows(8, 8, {});
  options.max_tokens = -1;
  EXPECT_EQ(error(options), "2: --max-tokens: -1, but must be >= 0");
  EXPECT_EQ(ErrorOf([&] { SumPerplexity(decoder, RandomText(1), Windows(8, 8, {})); }),
            "2: --data: has 1 tokens; at least 2 are needed");
}

TEST(PerplexityFigures, FollowTheirDefinitions) {
  PerplexitySums sums;
  sums.nats = 60.0;
  sums.tokens = 20;
  sums.correct = 5;
  TextCounts counts;
  counts.bytes = 100;
  counts.words = 12;
  counts.line_ends = 3;
  const PerplexityFigures figures = Figures(sums, counts, false);
  EXPECT_DOUBLE_EQ(figures.nats_per_token, 3.0);
  EXPECT_DOUBLE_EQ(figures.token_perplexity, std::exp(3.0));
  EXPECT_DOUBLE_EQ(figures.accuracy, 0.25);
  EXPECT_DOUBLE_EQ(*figures.word_perplexity, std::exp(5.0));
  EXPECT_DOUBLE_EQ(*figures.byte_perplexity, std::exp(0.6));
  EXPECT_DOUBLE_EQ(*figures.bits_per_byte, 0.6 / std::log(2.0));
  EXPECT_DOUBLE_EQ(*Figures(sums, counts, true).word_perplexity, std::exp(4.0));
}

TEST(PerplexityFigures, LackWhatTheCountsLack) {
  PerplexitySums sums;
  sums.nats = 60.0;
  sums.tokens = 20;
  EXPECT_FALSE(Figures(sums, std::nullopt, false).word_perplexity.has_value());
  EXPECT_FALSE(Figures(sums, TextCounts(), false).bits_per_byte.has_value());
}

}  // namespace
}  // namespace ckv
