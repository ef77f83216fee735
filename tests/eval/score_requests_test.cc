#include "eval/score_requests.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "base/random.h"
#include "eval/request_tokens.h"
#include "eval/score_rows.h"
#include "tests/model/tiny_decoder.h"
#include "tests/temp_dir.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

const char* const kScoreSpecs[] = {"0_1_2_3", "0_0_2_2", "0_3_3_3_4", "0_3s_3_3s_4", "0_0s_2_2s"};

std::vector<int32_t> RandomTokens(Random& random, int64_t count) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i) tokens.push_back(static_cast<int32_t>(random.Below(31)));
  return tokens;
}

// Documents of several continuations each, behind a start that all have in common.
std::vector<ScoreRequest> SomeRequests(int64_t common) {
  Random random(5);
  const std::vector<int32_t> start = RandomTokens(random, common);
  std::vector<ScoreRequest> requests;
  for (int64_t group = 0; group < 9; ++group) {
    std::vector<int32_t> context = start;
    const auto more = RandomTokens(random, 1 + static_cast<int64_t>(random.Below(30)));
    context.insert(context.end(), more.begin(), more.end());
    for (int64_t i = 0; i < 1 + group % 4; ++i) {
      requests.push_back(
          {{context, RandomTokens(random, 1 + static_cast<int64_t>(random.Below(6)))}, group});
    }
    // Another target behind an input that was there, and none at all.
    requests.push_back(requests.back());
    int32_t& last = requests.back().tokens.continuation.back();
    last = (last + 1) % 31;
    requests.push_back({{context, {}}, group});
  }
  return requests;
}

// The same by hand: each request as one row, with log softmax of the logits.
TokenScore ScoreAlone(Decoder& decoder, const ScoreRequest& request, int64_t max_length,
                      const DecoderRun& run) {
  at::NoGradGuard no_grad;
  std::vector<int32_t> all = request.tokens.context;
  const std::vector<int32_t>& wanted = request.tokens.continuation;
  all.insert(all.end(), wanted.begin(), wanted.end());
  const auto most = static_cast<size_t>(max_length + 1);
  if (all.size() > most) all.erase(all.begin(), all.end() - static_cast<std::ptrdiff_t>(most));
  all.pop_back();
  const Tensor ids = at::tensor(std::vector<int64_t>(all.begin(), all.end()), at::kLong);
  const Tensor logits =
      decoder->Logits(decoder->Hidden({ids.unsqueeze(0), {}, {}}, run)).squeeze(0);
  const Tensor log_probs = at::log_softmax(logits, -1);
  TokenScore score;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const Tensor row = log_probs[static_cast<int64_t>(all.size() - wanted.size() + i)];
    score.log_prob += row[wanted[i]].item<double>();
    score.greedy = score.greedy && row.argmax().item<int64_t>() == wanted[i];
  }
  return score;
}

class ScoreRequestsTest : public ::testing::TestWithParam<const char*> {};

TEST_P(ScoreRequestsTest, EachScoreIsThatOfItsRequestAlone) {
  Decoder decoder = TinyDecoder(GetParam(), 1);
  for (const auto order : {DecoderRun::Order::kParallel, DecoderRun::Order::kSequential}) {
    for (const int64_t common : {0, 40}) {
      for (const int64_t batch_tokens : {1, 60, 100000}) {
        const std::vector<ScoreRequest> requests = SomeRequests(common);
        ScoreOptions options;
        options.batch_tokens = batch_tokens;
        options.run.order = order;
        std::vector<int> reported(requests.size(), 0);
        const std::vector<TokenScore> scores = ScoreRequests(
            decoder, requests, options,
            [&](const std::vector<size_t>& done, const std::vector<TokenScore>& values) {
              ASSERT_EQ(done.size(), values.size());
              for (const size_t request : done) ++reported[request];
            });
        ASSERT_EQ(scores.size(), requests.size());
        for (size_t i = 0; i < requests.size(); ++i) {
          EXPECT_EQ(reported[i], 1);
          if (requests[i].tokens.continuation.empty()) {
            EXPECT_EQ(scores[i].log_prob, 0.0);
            continue;
          }
          const TokenScore alone = ScoreAlone(
              decoder, requests[i], decoder->config().max_position_embeddings, options.run);
          EXPECT_NEAR(scores[i].log_prob, alone.log_prob, 1e-10) << i;  // fp64
          EXPECT_EQ(scores[i].greedy, alone.greedy) << i;
        }
      }
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Specs, ScoreRequestsTest, ::testing::ValuesIn(kScoreSpecs));

TEST(ScoreRequests, KeepTheEndOfWhatIsTooLong) {
  Decoder decoder = TinyDecoder("0_1_2_3", 1);
  Random random(1);
  const std::vector<ScoreRequest> requests = {
      {{RandomTokens(random, 20), RandomTokens(random, 5)}, 0},
      {{RandomTokens(random, 12), RandomTokens(random, 4)}, 1},
      {{RandomTokens(random, 3), RandomTokens(random, 14)}, 2}};
  ScoreOptions options;
  options.max_length = 15;
  const std::vector<TokenScore> scores = ScoreRequests(decoder, requests, options);
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_NEAR(scores[i].log_prob, ScoreAlone(decoder, requests[i], 15, {}).log_prob, 1e-10);
  }
  options.max_length = decoder->config().max_position_embeddings + 1;
  EXPECT_EQ(ErrorOf([&] { ScoreRequests(decoder, requests, options); }).substr(0, 16),
            "2: --max-length:");
}

TEST(ScoreRequests, BatchInvariantScoresAreEqualToTheLastBit) {
  Decoder decoder = TinyDecoder("0_1_2_3", 1);
  decoder->to(at::kFloat);
  std::vector<ScoreRequest> requests = SomeRequests(40);
  ScoreOptions options;
  options.batch_invariant = true;
  const std::vector<TokenScore> all = ScoreRequests(decoder, requests, options);
  for (const size_t i : {size_t{0}, size_t{7}, requests.size() - 3}) {
    EXPECT_EQ(ScoreRequests(decoder, {requests[i]}, options)[0].log_prob, all[i].log_prob);
  }
}

TEST(ScoreRequests, RefuseTokensOutsideTheVocabulary) {
  Decoder decoder = TinyDecoder("0_1_2_3", 1);
  EXPECT_EQ(ErrorOf([&] {
              ScoreRequests(decoder, {{{{1}, {4000}}, 0}}, {});
            }).substr(0, 34),
            "2: token 4000 is outside the model");
}

TEST(ScoreRows, WhatRequestsShareIsRunOnce) {
  std::vector<ScoreRequest> requests;
  std::vector<int32_t> context(100, 7);
  for (int32_t i = 0; i < 4; ++i) requests.push_back({{context, {i, i, i}}, 0});
  requests.push_back({{context, {0, 0, 5}}, 0});  // the first one's input
  const std::vector<ScoreRow> rows = MakeRows(requests, 1000);
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0].targets.size(), 2u);
  const std::vector<RowGroup> groups = MakeGroups(rows, /*share=*/true, /*common=*/0);
  ASSERT_EQ(groups.size(), 1u);
  EXPECT_EQ(groups[0].shared, 96);  // of 99 tokens before the first scored position
  EXPECT_EQ(groups[0].tail(), 6);
  EXPECT_EQ(MakeGroups(rows, /*share=*/false, 0).size(), 4u);
}

TEST(RequestTokens, TheContinuationIsWhatComesBehindTheContextsTokens) {
  const std::unique_ptr<Tokenizer> bytes = LoadTokenizer("byte");
  const RequestTokens tokens = EncodeRequest(*bytes, false, "ab \n", " c");
  EXPECT_EQ(tokens.context, (std::vector<int32_t>{'a', 'b'}));
  EXPECT_EQ(tokens.continuation, (std::vector<int32_t>{' ', '\n', ' ', 'c'}));
  const RequestTokens begun = EncodeRequest(*bytes, true, "ab", "c");
  EXPECT_EQ(begun.context, (std::vector<int32_t>{256, 'a', 'b'}));
  const RequestTokens bare = EncodeRequest(*bytes, false, "", "c");
  EXPECT_EQ(bare.context, (std::vector<int32_t>{256}));
  EXPECT_EQ(bare.continuation, (std::vector<int32_t>{'c'}));
}

TEST(RequestTokens, MarksOfTheVocabularyAreTokens) {
  const std::unique_ptr<Tokenizer> bytes = LoadTokenizer("byte");
  const RequestTokens tokens = EncodeRequest(*bytes, false, "a</s>b", "<s></s>c<s");
  EXPECT_EQ(tokens.context, (std::vector<int32_t>{'a', 257, 'b'}));
  EXPECT_EQ(tokens.continuation, (std::vector<int32_t>{256, 257, 'c', '<', 's'}));
  EXPECT_EQ(RollingWindows(*bytes, false, "</s>", 3)[0].continuation, (std::vector<int32_t>{257}));
}

TEST(RequestTokens, WindowsPredictEveryTokenOnce) {
  const std::unique_ptr<Tokenizer> bytes = LoadTokenizer("byte");
  const std::vector<RequestTokens> windows = RollingWindows(*bytes, false, "abcdefgh", 3);
  ASSERT_EQ(windows.size(), 3u);
  EXPECT_EQ(windows[0].context, (std::vector<int32_t>{256}));
  EXPECT_EQ(windows[0].continuation, (std::vector<int32_t>{'a', 'b', 'c'}));
  EXPECT_EQ(windows[1].context, (std::vector<int32_t>{'c'}));
  EXPECT_EQ(windows[2].context, (std::vector<int32_t>{'e', 'f'}));  // as long as fits
  EXPECT_EQ(windows[2].continuation, (std::vector<int32_t>{'g', 'h'}));
  EXPECT_TRUE(RollingWindows(*bytes, false, "", 3).empty());
}

}  // namespace
}  // namespace ckv
