#include "data/pair_source.h"

#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class PairSourceTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& content) {
    WriteFileAtomically(dir_.File(name), content);
    return dir_.File(name);
  }
  // Pairs "p0" -> "t", "p1" -> "tt", ...
  std::string Counting(int count) {
    std::string lines;
    for (int i = 0; i < count; ++i) {
      lines += Str("{\"prompt\": \"p", i, "\", \"target\": \"",
                   std::string(static_cast<size_t>(i) + 1, 't'), "\"}\n");
    }
    return Write("counting.jsonl", lines);
  }
  std::unique_ptr<DataSource> Train(const BatchLayout& layout = {}) {
    return MakeTrainSource(config_, vocabulary_, layout, tokenizer_.get());
  }

  TempDir dir_;
  std::unique_ptr<Tokenizer> tokenizer_ = LoadTokenizer("byte");
  VocabularyInfo vocabulary_{tokenizer_->Fingerprint(), tokenizer_->vocab_size()};
  DataConfig config_ = [] {
    DataConfig config;
    config.kind = "pairs";
    config.seq_len = 32;
    config.shuffle = false;
    return config;
  }();
};

TEST_F(PairSourceTest, OnlyTargetsAndTheirEndHaveALoss) {
  config_.train =
      ConfigValue::Scalar(Write("a.jsonl", "{\"prompt\": \"ab\", \"target\": \"c\"}\n"));
  TokenBatch batch;
  ASSERT_TRUE(Train()->Next(&batch));
  ASSERT_EQ(batch.rows, 1);
  ASSERT_EQ(batch.cols, 8);
  const int64_t end = tokenizer_->eos_id();
  const int64_t none = kIgnoreTarget;
  // Read: a b blank c, told: nothing for b, then blank, c, end.
  EXPECT_THAT(batch.tokens, ElementsAre('a', 'b', ' ', 'c', 0, 0, 0, 0));
  EXPECT_THAT(batch.targets, ElementsAre(none, ' ', 'c', end, none, none, none, none));
  config_.prompt_loss = true;
  ASSERT_TRUE(Train()->Next(&batch));
  EXPECT_THAT(batch.targets, ElementsAre('b', ' ', 'c', end, none, none, none, none));
}

// Read: all tokens of the conversation; told: those of the answer and the token that ends it.
TEST_F(PairSourceTest, AChatTemplateStandsAroundPromptAndTarget) {
  config_.train =
      ConfigValue::Scalar(Write("a.jsonl", "{\"prompt\": \"ab\", \"target\": \"c\"}\n"));
  config_.chat_template = Write("chat.yaml",
                                "tokens: [\"<s>\", \"</s>\"]\nbegin: <s>\n"
                                "user: {prefix: \"Q \", suffix: \"\\n\"}\n"
                                "assistant: {prefix: \"A:\", suffix: \".</s>\\n\"}\n");
  TokenBatch batch;
  ASSERT_TRUE(Train()->Next(&batch));
  const int64_t end = tokenizer_->eos_id();
  const int64_t none = kIgnoreTarget;
  EXPECT_THAT(batch.tokens, ElementsAre(tokenizer_->bos_id(), 'Q', ' ', 'a', 'b', '\n', 'A', ':',
                                        ' ', 'c', '.', 0, 0, 0, 0, 0));
  EXPECT_THAT(batch.targets, ElementsAre(none, none, none, none, none, none, none, ' ', 'c', '.',
                                         end, none, none, none, none, none));
  EXPECT_EQ(Train()->num_tokens(), 4);
  config_.chat_template = Write("other.yaml", "tokens: [\"<|x|>\"]\n");
  EXPECT_THAT(ErrorOf([&] { Train(); }), HasSubstr("'tokens' names '<|x|>'"));
}

TEST_F(PairSourceTest, EveryPairComesOnceAnEpochInNewOrder) {
  config_.train = ConfigValue::Scalar(Counting(7));
  config_.shuffle = true;
  const std::unique_ptr<DataSource> source = Train({1});
  std::vector<std::vector<int64_t>> orders(2);
  for (std::vector<int64_t>& order : orders) {
    for (int i = 0; i < 7; ++i) {
      TokenBatch batch;
      ASSERT_TRUE(source->Next(&batch));
      order.push_back(batch.tokens[1]);
    }
    EXPECT_EQ(std::set<int64_t>(order.begin(), order.end()).size(), 7u);
  }
  EXPECT_NE(orders[0], orders[1]);
  EXPECT_EQ(source->epochs(32), 2.0);
}

TEST_F(PairSourceTest, RanksShareTheOrderAndAStateGoesOn) {
  config_.train = ConfigValue::Scalar(Counting(10));
  config_.shuffle = true;
  TokenBatch whole;
  const std::unique_ptr<DataSource> all = Train({4});
  ASSERT_TRUE(all->Next(&whole));
  for (int rank = 0; rank < 2; ++rank) {
    TokenBatch part;
    ASSERT_TRUE(Train({2, rank, 2})->Next(&part));
    for (int64_t row = 0; row < 2; ++row) {
      EXPECT_EQ(part.tokens[static_cast<size_t>(row * part.cols + 1)],
                whole.tokens[static_cast<size_t>((2 * rank + row) * whole.cols + 1)]);
    }
  }
  // A batch of so many samples over all ranks, as a run has it: 1, 1 and 2 of 4.
  int64_t seen = 0;
  for (int rank = 0; rank < 3; ++rank) {
    const std::unique_ptr<DataSource> source = Train({1, rank, 3, 4});
    TokenBatch part;
    ASSERT_TRUE(source->Next(&part));
    EXPECT_EQ(part.rows, rank == 2 ? 2 : 1);
    EXPECT_EQ(source->samples(), 4);
    for (int64_t row = 0; row < part.rows; ++row, ++seen) {
      EXPECT_EQ(part.tokens[static_cast<size_t>(row * part.cols + 1)],
                whole.tokens[static_cast<size_t>(seen * whole.cols + 1)]);
    }
  }
  EXPECT_EQ(seen, 4);
  const std::unique_ptr<DataSource> resumed = Train({4});
  resumed->Restore(all->State());
  TokenBatch next;
  TokenBatch again;
  ASSERT_TRUE(all->Next(&next));
  ASSERT_TRUE(resumed->Next(&again));
  EXPECT_EQ(next.tokens, again.tokens);
  config_.train = ConfigValue::Scalar(Counting(9));
  EXPECT_THAT(ErrorOf([&] { Train({4})->Restore(all->State()); }), StartsWith("3: "));
}

TEST_F(PairSourceTest, ValidationGivesEachPairOnce) {
  config_.valid = Counting(5);
  const auto source = MakeEvalSource(config_, vocabulary_, {2}, tokenizer_.get());
  TokenBatch batch;
  int64_t targets = 0;
  int calls = 0;
  while (source->Next(&batch)) {
    ++calls;
    for (const int64_t target : batch.targets) targets += target != kIgnoreTarget ? 1 : 0;
  }
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(targets, 5 * 2 + 1 + 2 + 3 + 4 + 5);  // blank, end, and 1 to 5 letters
  EXPECT_EQ(source->num_tokens(), targets);
}

TEST_F(PairSourceTest, BrokenFilesAreToldWithTheirLine) {
  const auto error_of = [&](const std::string& content) {
    config_.train = ConfigValue::Scalar(Write("broken.jsonl", content));
    const std::string error = ErrorOf([&] { Train(); });
    return error.substr(0, 3) + error.substr(error.find("broken.jsonl"));
  };
  EXPECT_EQ(error_of("{\"prompt\": \"a\", \"target\": \"b\"}\n{\"prompt\": \"a\"}\n"),
            "3: broken.jsonl: line 2: an object with a text 'target' is expected");
  EXPECT_EQ(error_of("{\"prompt\": \"\", \"target\": \"b\"}\n"),
            "3: broken.jsonl: line 1: the prompt is empty");
  EXPECT_EQ(error_of("{\"prompt\": \"" + std::string(40, 'a') + "\", \"target\": \"b\"}\n"),
            "2: broken.jsonl:1: the pair has 43 tokens, but 'data.seq_len' is 32, which allows 33 "
            "(pairs are not cut)");
  EXPECT_EQ(error_of("\n"), "2: broken.jsonl: there are no pairs");
  EXPECT_THAT(error_of("{\n"), StartsWith("3: "));
}

}  // namespace
}  // namespace ckv
