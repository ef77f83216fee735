#include "gen/session.h"

#include <gtest/gtest.h>

#include "gen/generator.h"
#include "tests/model/tiny_decoder.h"
#include "tests/temp_dir.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

std::vector<int32_t> SessionIds(int64_t count, uint64_t seed) {
  const at::Tensor ids = RandomIds({count}, 31, seed).to(at::kInt);
  return {ids.data_ptr<int32_t>(), ids.data_ptr<int32_t>() + count};
}

void Append(std::vector<int32_t>* text, const std::vector<int32_t>& more) {
  text->insert(text->end(), more.begin(), more.end());
}

class SessionTest : public ::testing::TestWithParam<const char*> {};

// Turn by turn in one cache a conversation goes as it would if each turn began anew. (Passes enough
// for all prompts: fewer would be exact in neither.)
TEST_P(SessionTest, GivesWhatANewCacheGivesButComputesOnlyWhatIsNew) {
  DecoderConfig config = TinyConfig(GetParam());
  config.forward_passes = 60;
  config.backward_passes = 1;
  Decoder decoder = TinyDecoder(config);
  GenerateOptions options;
  options.max_new_tokens = 6;
  options.sampling.temperature = 1.5;
  options.sampling.repetition_penalty = 1.2;
  GenerationSession session(decoder, 80);
  std::vector<int32_t> text = SessionIds(7, 1);
  int64_t computed = 7;
  for (uint64_t turn = 0; turn < 4; ++turn) {
    const GenerateRequest request{text, turn};
    const Generation got = session.Continue(request, options);
    const Generation anew = Generate(decoder, {request}, options)[0];
    EXPECT_EQ(got.tokens, anew.tokens);
    for (size_t i = 0; i < got.tokens.size(); ++i) {
      EXPECT_NEAR(got.log_probs[i], anew.log_probs[i], 1e-11);  // fp64
    }
    EXPECT_EQ(session.num_computed(), computed);
    Append(&text, got.tokens);
    Append(&text, SessionIds(5, turn + 2));
    computed = 6;  // five new ones and the last answer's last, which was never read
  }
}

INSTANTIATE_TEST_SUITE_P(Specs, SessionTest,
                         ::testing::Values("0_1_2_3", "0_0_2_2", "0_3_3_3_4", "0_3s_3_3s_4"));

TEST(GenerationSession, StartsAnewWhereTheTextDiffers) {
  Decoder decoder = TinyDecoder("0_1_2_3");
  GenerateOptions options;
  options.max_new_tokens = 3;
  GenerationSession session(decoder, 40);
  std::vector<int32_t> text = SessionIds(9, 1);
  session.Continue({text, 0}, options);
  text[4] = (text[4] + 1) % 31;
  const Generation got = session.Continue({text, 5}, options);
  EXPECT_EQ(session.num_computed(), 9);
  EXPECT_EQ(got.tokens, Generate(decoder, {{text, 5}}, options)[0].tokens);
  // The same text again: nothing new is there to ask the model with.
  EXPECT_EQ(session.Continue({text, 5}, options).tokens, got.tokens);
  EXPECT_EQ(session.num_computed(), 9);
}

TEST(GenerationSession, EndsWhereItsCacheEnds) {
  Decoder decoder = TinyDecoder("0_3_3_3_4");
  GenerateOptions options;
  options.max_new_tokens = 9;
  GenerationSession session(decoder, 10);
  const Generation got = session.Continue({SessionIds(8, 1), 0}, options);
  EXPECT_EQ(got.tokens.size(), 3u);  // the last is never read
  EXPECT_EQ(got.finish, FinishReason::kContextFull);
  EXPECT_EQ(ErrorOf([&] {
              session.Continue({SessionIds(11, 1), 0}, options);
            }),
            "2: prompt: has 11 tokens, but the cache holds 10");
}

}  // namespace
}  // namespace ckv
