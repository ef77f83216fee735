#include "gen/beam_search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "gen/generator.h"
#include "tests/model/tiny_decoder.h"
#include "tests/temp_dir.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

constexpr int64_t kToyVocabulary = 5;
constexpr int32_t kToyStop = 4;
constexpr int64_t kToyTokens = 4;

Decoder ToyDecoder(const std::string& sharing) {
  DecoderConfig config = TinyConfig(sharing);
  config.vocab_size = kToyVocabulary;
  return TinyDecoder(config, 3);
}

BeamOptions ToyOptions(int64_t beams, int64_t results, double length_penalty) {
  BeamOptions options;
  options.num_beams = beams;
  options.num_results = results;
  options.length_penalty = length_penalty;
  options.max_new_tokens = kToyTokens;
  options.stop_ids = {kToyStop};
  return options;
}

struct Scored {
  std::vector<int32_t> tokens;
  double sum = 0.0;
  double length = 0.0;  // the stop id counts
  double Score(double length_penalty) const { return sum / std::pow(length, length_penalty); }
};

// Every continuation of up to kToyTokens tokens, by one pass over prompt and continuation each.
class Exhaustive {
 public:
  Exhaustive(Decoder& decoder, const std::vector<int32_t>& prompt)
      : decoder_(decoder), prompt_(prompt) {
    Visit({}, 0.0);
  }

  std::vector<Scored> Ranked(double length_penalty) const {
    std::vector<Scored> ranked = all_;
    std::sort(ranked.begin(), ranked.end(), [&](const Scored& a, const Scored& b) {
      return a.Score(length_penalty) > b.Score(length_penalty);
    });
    return ranked;
  }

 private:
  void Visit(const std::vector<int32_t>& tokens, double sum) {
    std::vector<int32_t> ids = prompt_;
    ids.insert(ids.end(), tokens.begin(), tokens.end());
    at::NoGradGuard no_grad;
    DecoderRun run;
    run.order = DecoderRun::Order::kSequential;
    const at::Tensor hidden =
        decoder_->Hidden({at::tensor(ids, at::kLong).unsqueeze(0), {}, {}}, run);
    const at::Tensor log_probs = decoder_->Logits(hidden.select(1, -1))[0].log_softmax(0);
    for (int32_t id = 0; id < kToyVocabulary; ++id) {
      const double total = sum + log_probs[id].item<double>();
      std::vector<int32_t> longer = tokens;
      if (id != kToyStop) longer.push_back(id);
      if (id == kToyStop || static_cast<int64_t>(longer.size()) == kToyTokens) {
        all_.push_back({longer, total, static_cast<double>(tokens.size() + 1)});
      } else {
        Visit(longer, total);
      }
    }
  }

  Decoder& decoder_;
  std::vector<int32_t> prompt_;
  std::vector<Scored> all_;
};

class BeamSearchTest : public ::testing::TestWithParam<const char*> {};

// With as many beams as there are prefixes nothing is cut off.
TEST_P(BeamSearchTest, WithEnoughBeamsIsExhaustive) {
  Decoder decoder = ToyDecoder(GetParam());
  const std::vector<int32_t> prompt = {1, 0, 2, 2, 3};
  const Exhaustive exhaustive(decoder, prompt);
  for (const double penalty : {1.0, 0.0, 2.0, -1.0}) {
    const std::vector<Scored> want = exhaustive.Ranked(penalty);
    ASSERT_EQ(want.size(), 1u + 4 + 16 + 64 * 5);
    const std::vector<BeamResult> got = BeamSearch(decoder, prompt, ToyOptions(64, 20, penalty));
    ASSERT_EQ(got.size(), 20u);
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].generation.tokens, want[i].tokens) << penalty << " " << i;
      EXPECT_NEAR(got[i].score, want[i].Score(penalty), 1e-11);  // fp64
    }
  }
}

// Steps read the keys of the beam that they go on from, also when beams change places.
TEST_P(BeamSearchTest, LogProbabilitiesAreThoseOfTheContinuationAlone) {
  Decoder decoder = TinyDecoder(GetParam());
  BeamOptions options;
  options.num_beams = 5;
  options.num_results = 5;
  options.max_new_tokens = 9;
  const std::vector<int32_t> prompt = {3, 1, 4, 1, 5};
  const std::vector<BeamResult> got = BeamSearch(decoder, prompt, options);
  ASSERT_EQ(got.size(), 5u);
  for (size_t i = 0; i < got.size(); ++i) {
    const Generation& one = got[i].generation;
    ASSERT_EQ(one.tokens.size(), 9u);
    std::vector<int32_t> ids = prompt;
    ids.insert(ids.end(), one.tokens.begin(), one.tokens.end());
    at::NoGradGuard no_grad;
    DecoderRun run;
    run.order = DecoderRun::Order::kSequential;
    const at::Tensor log_probs =
        decoder->Logits(decoder->Hidden({at::tensor(ids, at::kLong).unsqueeze(0), {}, {}}, run))[0]
            .log_softmax(1);
    double sum = 0.0;
    for (int64_t k = 0; k < 9; ++k) {
      const double want = log_probs[4 + k][one.tokens[static_cast<size_t>(k)]].item<double>();
      EXPECT_NEAR(one.log_probs[static_cast<size_t>(k)], want, 1e-11);
      sum += want;
    }
    EXPECT_NEAR(got[i].score, sum / 9.0, 1e-11);
    if (i > 0) {
      EXPECT_GE(got[i - 1].score, got[i].score);
    }
  }
}

TEST_P(BeamSearchTest, OneBeamIsGreedy) {
  Decoder decoder = TinyDecoder(GetParam());
  BeamOptions options;
  options.num_beams = 1;
  options.max_new_tokens = 12;
  GenerateOptions greedy;
  greedy.max_new_tokens = 12;
  greedy.sampling.temperature = 0.0;
  const std::vector<int32_t> prompt = {3, 1, 4};
  EXPECT_EQ(BeamSearch(decoder, prompt, options)[0].generation.tokens,
            Generate(decoder, {{prompt, 0}}, greedy)[0].tokens);
}

INSTANTIATE_TEST_SUITE_P(Specs, BeamSearchTest,
                         ::testing::Values("0_1_2_3", "0_0_2_2", "0_3_3_3_4", "2_2_2_5_5_5",
                                           "0_3s_3_3s_4", "0_3/0_3/0_3_4"));

TEST(BeamSearch, EndsAContinuationThatIsComplete) {
  Decoder decoder = TinyDecoder("0_3_3_3_4");
  BeamOptions options;
  options.num_beams = 8;
  options.num_results = 8;
  options.max_new_tokens = 6;
  options.length_penalty = 0.0;
  const std::vector<int32_t> best = BeamSearch(decoder, {1}, options)[0].generation.tokens;
  ASSERT_EQ(best.size(), 6u);
  const std::vector<int32_t> end = {best[2], best[3]};
  options.is_complete = [&](const std::vector<int32_t>& tokens) {
    return tokens.size() >= 2 && std::equal(end.begin(), end.end(), tokens.end() - 2);
  };
  size_t complete = 0;
  for (const BeamResult& result : BeamSearch(decoder, {1}, options)) {
    const std::vector<int32_t>& tokens = result.generation.tokens;
    const auto found = std::search(tokens.begin(), tokens.end(), end.begin(), end.end());
    const bool ends = found != tokens.end();
    EXPECT_EQ(result.generation.finish, ends ? FinishReason::kStopText : FinishReason::kMaxTokens);
    EXPECT_TRUE(!ends || found + 2 == tokens.end());
    complete += ends ? 1 : 0;
  }
  EXPECT_GT(complete, 0u);
}

TEST(BeamSearch, EndsWhereThePositionsEnd) {
  DecoderConfig config = TinyConfig("0_3_3_3_4");
  config.max_position_embeddings = 6;
  Decoder decoder = TinyDecoder(config);
  BeamOptions options;
  options.max_new_tokens = 9;
  const Generation got = BeamSearch(decoder, {1, 2, 3, 4}, options)[0].generation;
  EXPECT_EQ(got.tokens.size(), 3u);
  EXPECT_EQ(got.finish, FinishReason::kContextFull);
}

TEST(BeamSearch, ChoosesOnlyIdsThatTheTokenizerHas) {
  Decoder decoder = TinyDecoder("0_1_2_3");
  BeamOptions options;
  options.num_beams = options.num_results = 25;
  options.max_new_tokens = 2;
  options.num_ids = 7;
  for (const BeamResult& result : BeamSearch(decoder, {1, 2}, options)) {
    for (const int32_t id : result.generation.tokens) EXPECT_LT(id, 7);
  }
}

TEST(BeamSearch, RefusesBadOptions) {
  Decoder decoder = ToyDecoder("0_1_2_3");
  const auto error = [&](const BeamOptions& options) {
    return ErrorOf([&] { BeamSearch(decoder, {1}, options); });
  };
  EXPECT_EQ(error(ToyOptions(0, 1, 1.0)), "2: --beams: 0, but must be >= 1");
  EXPECT_EQ(error(ToyOptions(2, 3, 1.0)), "2: --samples: 3, but must be from 1 to the 2 beams");
  EXPECT_EQ(error(ToyOptions(2, 1, std::nan(""))),
            "2: --length-penalty: nan, but must be a number");
  BeamOptions options = ToyOptions(2, 1, 1.0);
  options.max_new_tokens = 0;
  EXPECT_EQ(error(options), "2: --max-tokens: 0, but must be >= 1");
}

TEST(BeamSearch, ReportsOutputThatIsNotANumber) {
  Decoder decoder = ToyDecoder("0_1_2_3");
  {
    at::NoGradGuard no_grad;
    decoder->head_weight()[0].fill_(std::numeric_limits<double>::quiet_NaN());
  }
  EXPECT_EQ(ErrorOf([&] { BeamSearch(decoder, {1}, ToyOptions(2, 1, 1.0)); }),
            "5: step 0: the model's output is not a number");
}

}  // namespace
}  // namespace ckv
