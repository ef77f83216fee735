#include "data/source.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/random.h"
#include "tests/data/packing.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;

// Large enough that a token's id is its position.
constexpr VocabularyInfo kIds = {9, 100000};

class SourceTest : public ::testing::Test {
 protected:
  SourceTest() {
    config_.seq_len = 8;
    config_.seed = 5;
  }

  // A data set in the test's folder and its path.
  std::string Dataset(const std::string& name, const std::vector<int64_t>& documents,
                      int64_t first = 0) {
    WriteCountingDataset(dir_.File(name), documents, kIds, first, /*shard_tokens=*/50);
    return dir_.File(name);
  }
  void TrainOn(const std::string& path) { config_.train = ConfigValue::Scalar(path); }
  void TrainOnMixture(const std::vector<std::pair<std::string, double>>& parts) {
    std::vector<ConfigValue> items;
    for (const auto& [path, weight] : parts) {
      items.push_back(ConfigValue::Map(
          {{"path", ConfigValue::Scalar(path)}, {"weight", ConfigValue::Scalar(Str(weight))}}));
    }
    config_.train = ConfigValue::List(items);
  }
  std::unique_ptr<DataSource> Train(const BatchLayout& layout = {}) {
    return MakeTrainSource(config_, kIds, layout);
  }
  std::unique_ptr<DataSource> Eval(const BatchLayout& layout = {}) {
    return MakeEvalSource(config_, kIds, layout);
  }

  TempDir dir_;
  DataConfig config_;
};

// The first tokens of the rows of the next `calls` batches.
std::vector<int64_t> RowStarts(DataSource* source, int calls) {
  std::vector<int64_t> starts;
  TokenBatch batch;
  for (int i = 0; i < calls; ++i) {
    EXPECT_TRUE(source->Next(&batch));
    for (int64_t row = 0; row < batch.rows; ++row) {
      starts.push_back(batch.tokens[static_cast<size_t>(row * batch.cols)]);
    }
  }
  return starts;
}

// 7 samples for 3 ranks: 2, 2 and 3 of them; 2 for 3: one rank has a row without targets.
TEST_F(SourceTest, ATotalIsSharedByAllRanks) {
  TrainOn(Dataset("a", {400}));
  const auto whole = Train({7});
  const std::vector<int64_t> starts = RowStarts(whole.get(), 2);
  std::vector<std::unique_ptr<DataSource>> ranks;
  for (int rank = 0; rank < 3; ++rank) ranks.push_back(Train({1, rank, 3, 7}));
  std::vector<int64_t> together;
  for (int call = 0; call < 2; ++call) {
    for (const auto& rank : ranks) {
      for (const int64_t start : RowStarts(rank.get(), 1)) together.push_back(start);
    }
  }
  EXPECT_EQ(together, starts);
  for (const auto& rank : ranks) EXPECT_EQ(rank->State(), whole->State());
  int64_t rows_with_targets = 0;
  for (int rank = 0; rank < 3; ++rank) {
    TokenBatch batch;
    ASSERT_TRUE(Train({1, rank, 3, 2})->Next(&batch));
    EXPECT_EQ(batch.rows, 1);
    rows_with_targets += batch.targets[0] != kIgnoreTarget ? 1 : 0;
  }
  EXPECT_EQ(rows_with_targets, 2);
}

TEST_F(SourceTest, ABatchIsSplitRowByRow) {
  config_.reset_attention = true;
  TrainOn(Dataset("a", {5, 60, 3, 90}));
  TokenBatch batch;
  ASSERT_TRUE(Train({5})->Next(&batch));
  for (const int64_t count : {1, 2, 5, 7}) {
    const std::vector<TokenBatch> parts = SplitRows(batch, count);
    ASSERT_EQ(parts.size(), static_cast<size_t>(count));
    TokenBatch joined;
    for (const TokenBatch& part : parts) {
      if (part.targets[static_cast<size_t>(part.cols) - 2] == kIgnoreTarget &&
          part.targets[0] == kIgnoreTarget && part.tokens[0] == 0 && part.tokens[1] == 0) {
        continue;  // a row that fills up
      }
      joined.tokens.insert(joined.tokens.end(), part.tokens.begin(), part.tokens.end());
      joined.targets.insert(joined.targets.end(), part.targets.begin(), part.targets.end());
      joined.segments.insert(joined.segments.end(), part.segments.begin(), part.segments.end());
    }
    EXPECT_EQ(joined.tokens, batch.tokens) << count;
    EXPECT_EQ(joined.targets, batch.targets) << count;
    EXPECT_EQ(joined.segments, batch.segments) << count;
  }
}

TEST_F(SourceTest, TargetsAreTheNextTokens) {
  TrainOn(Dataset("a", {100}));
  const std::unique_ptr<DataSource> source = Train({3, 0, 1});
  TokenBatch batch;
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(source->Next(&batch));
    ASSERT_EQ(batch.rows, 3);
    ASSERT_EQ(batch.cols, 8);
    EXPECT_TRUE(batch.segments.empty());
    for (size_t t = 0; t < batch.tokens.size(); ++t) {
      ASSERT_EQ(batch.targets[t], batch.tokens[t] + 1);
      if (t % 8 != 0) {
        ASSERT_EQ(batch.tokens[t], batch.tokens[t - 1] + 1);
      }
    }
  }
}

TEST_F(SourceTest, FileOrderCoversTheDataInEachEpoch) {
  TrainOn(Dataset("a", {65}));
  config_.shuffle = false;
  EXPECT_EQ(RowStarts(Train().get(), 10),
            (std::vector<int64_t>{0, 8, 16, 24, 32, 40, 48, 56, 0, 8}));
  EXPECT_EQ(Train()->num_tokens(), 64);
}

// 12 windows and 3 tokens to spare: each epoch is all windows once, in another order, shifted.
TEST_F(SourceTest, EachEpochIsAnotherOrderOfAllWindows) {
  TrainOn(Dataset("a", {100}));
  const std::unique_ptr<DataSource> source = Train();
  std::set<std::vector<int64_t>> orders;
  std::set<int64_t> shifts;
  for (int epoch = 0; epoch < 30; ++epoch) {
    std::vector<int64_t> starts = RowStarts(source.get(), 12);
    orders.insert(starts);
    std::sort(starts.begin(), starts.end());
    shifts.insert(starts[0]);
    for (size_t i = 0; i < starts.size(); ++i) {
      ASSERT_EQ(starts[i], starts[0] + 8 * static_cast<int64_t>(i));
    }
  }
  EXPECT_EQ(orders.size(), 30u);
  EXPECT_EQ(shifts, (std::set<int64_t>{0, 1, 2, 3}));
}

TEST_F(SourceTest, TheSeedMakesTheOrder) {
  TrainOn(Dataset("a", {2000}));
  const std::vector<int64_t> starts = RowStarts(Train().get(), 50);
  EXPECT_EQ(RowStarts(Train().get(), 50), starts);
  config_.seed = 6;
  EXPECT_NE(RowStarts(Train().get(), 50), starts);
}

TEST_F(SourceTest, MixesByWeight) {
  TrainOnMixture({{Dataset("a", {100}), 3},
                  {Dataset("b", {300}, 10000), 1},
                  {Dataset("c", {90}, 20000), 0.5}});
  const std::unique_ptr<DataSource> source = Train();
  std::map<int64_t, int> counts;
  for (int i = 1; i <= 900; ++i) {
    ++counts[RowStarts(source.get(), 1)[0] / 10000];
    // Never more than one sample off its share.
    ASSERT_LT(std::abs(counts[0] - i * 3 / 4.5), 1.0) << i;
    ASSERT_LT(std::abs(counts[1] - i * 1 / 4.5), 1.0) << i;
    ASSERT_LT(std::abs(counts[2] - i * 0.5 / 4.5), 1.0) << i;
  }
}

// The rank layouts a run may have, with 12 samples a step in all of them.
const std::vector<std::pair<int64_t, int>> kLayouts = {{12, 1}, {6, 2}, {3, 4}, {1, 12}};

TEST_F(SourceTest, RanksShareOneGlobalOrder) {
  TrainOnMixture({{Dataset("a", {100}), 2}, {Dataset("b", {300}, 10000), 1}});
  const std::vector<int64_t> expected = RowStarts(Train({12, 0, 1}).get(), 10);
  for (const auto& [rows, world] : kLayouts) {
    std::vector<std::unique_ptr<DataSource>> ranks;
    for (int rank = 0; rank < world; ++rank) ranks.push_back(Train({rows, rank, world}));
    std::vector<int64_t> seen;
    for (int step = 0; step < 10; ++step) {
      for (const auto& source : ranks) {
        const std::vector<int64_t> starts = RowStarts(source.get(), 1);
        seen.insert(seen.end(), starts.begin(), starts.end());
      }
    }
    EXPECT_EQ(seen, expected) << world;
    for (const auto& source : ranks) EXPECT_EQ(source->State(), ranks[0]->State());
  }
}

// After any step, in the middle of epochs and mixtures, any other layout goes on as if nothing had
// happened.
TEST_F(SourceTest, ResumesAnywhereOnAnyNumberOfRanks) {
  TrainOnMixture({{Dataset("a", {100}), 2}, {Dataset("b", {130}, 10000), 1}});
  const std::vector<int64_t> expected = RowStarts(Train({12, 0, 1}).get(), 12);
  const std::unique_ptr<DataSource> first = Train({4, 1, 3});
  for (int stop = 0; stop <= 10; ++stop) {
    const Json state = Json::parse(first->State().dump());  // as through a file
    for (const auto& [rows, world] : kLayouts) {
      std::vector<int64_t> seen;
      for (int rank = 0; rank < world; ++rank) {
        const std::unique_ptr<DataSource> source = Train({rows, rank, world});
        source->Restore(state);
        EXPECT_EQ(source->samples(), 12 * stop);
        const std::vector<int64_t> starts = RowStarts(source.get(), 1);
        seen.insert(seen.end(), starts.begin(), starts.end());
      }
      const auto at = expected.begin() + 12 * stop;
      ASSERT_EQ(seen, std::vector<int64_t>(at, at + 12)) << stop << " " << world;
    }
    RowStarts(first.get(), 1);
  }
}

TEST_F(SourceTest, ResumesAtEverySample) {
  TrainOn(Dataset("a", {100}));
  const std::vector<int64_t> expected = RowStarts(Train().get(), 40);
  for (int stop = 0; stop < 40; ++stop) {
    const std::unique_ptr<DataSource> source = Train();
    RowStarts(source.get(), stop);
    const std::unique_ptr<DataSource> resumed = Train();
    resumed->Restore(source->State());
    const std::vector<int64_t> rest = RowStarts(resumed.get(), 40 - stop);
    ASSERT_TRUE(std::equal(rest.begin(), rest.end(), expected.begin() + stop)) << stop;
  }
}

TEST_F(SourceTest, RefusesAStateOfAnotherRun) {
  TrainOn(Dataset("a", {100}));
  Json state = Train()->State();
  config_.seq_len = 16;
  EXPECT_EQ(ErrorOf([&] { Train()->Restore(state); }),
            "3: data position: was saved with seq_len 8, but this run has 16");
  config_.seq_len = 8;
  config_.seed = 1;
  EXPECT_EQ(ErrorOf([&] { Train()->Restore(state); }),
            "3: data position: was saved with seed 5, but this run has 1");
  config_.seed = 5;
  EXPECT_EQ(ErrorOf([&] { Train()->Restore(Json()); }), "3: data position: is not a JSON object");
  state["samples"] = 1;
  EXPECT_EQ(ErrorOf([&] { Train()->Restore(state); }),
            "3: data position: 'counts' do not add up to 'samples'");
  state["counts"] = {-1};
  EXPECT_EQ(ErrorOf([&] { Train()->Restore(state); }), "3: data position: 'counts' is not a count");
  state["counts"] = {1, 2};
  EXPECT_EQ(ErrorOf([&] { Train()->Restore(state); }),
            "3: data position: 'counts' is not a list of 1 counts");
  state.erase("seed");
  EXPECT_EQ(ErrorOf([&] { Train()->Restore(state); }),
            "3: data position: was saved with seed \"nothing\", but this run has 5");
  TrainOn(Dataset("b", {100}, 1));
  EXPECT_THAT(ErrorOf([&] { Train()->Restore(state); }), HasSubstr("was saved with datasets "));
}

// Documents of 5, 1, 2 and 30 tokens, in windows of 8.
TEST_F(SourceTest, ResetAttentionNumbersDocumentsAndDropsTargetsAcrossThem) {
  TrainOn(Dataset("a", {5, 1, 2, 30}));
  config_.shuffle = false;
  config_.reset_attention = true;
  TokenBatch batch;
  const std::unique_ptr<DataSource> source = Train({2, 0, 1});
  ASSERT_TRUE(source->Next(&batch));
  EXPECT_EQ(batch.segments, (std::vector<int64_t>{0, 0, 0, 0, 0, 1, 2, 2,  //
                                                  0, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(batch.targets,
            (std::vector<int64_t>{1, 2, 3, 4, kIgnoreTarget, kIgnoreTarget, 7, kIgnoreTarget,  //
                                  9, 10, 11, 12, 13, 14, 15, 16}));
}

// Against a plain walk over all tokens.
TEST_F(SourceTest, SegmentsAgreeWithDocumentsForRandomData) {
  Random random(8);
  std::vector<int64_t> documents;
  std::vector<int64_t> document_of;
  while (document_of.size() < 800) {
    documents.push_back(1 + static_cast<int64_t>(random.Below(20)));
    document_of.insert(document_of.end(), static_cast<size_t>(documents.back()),
                       static_cast<int64_t>(documents.size()));
  }
  TrainOn(Dataset("a", documents));
  config_.reset_attention = true;
  config_.seq_len = 37;
  const std::unique_ptr<DataSource> source = Train({4, 0, 1});
  TokenBatch batch;
  for (int call = 0; call < 20; ++call) {
    ASSERT_TRUE(source->Next(&batch));
    for (size_t t = 0; t < batch.tokens.size(); ++t) {
      const auto token = static_cast<size_t>(batch.tokens[t]);
      const bool ends = document_of[token] != document_of[token + 1];
      ASSERT_EQ(batch.targets[t], ends ? kIgnoreTarget : batch.tokens[t] + 1);
      const int64_t expected =
          t % 37 == 0
              ? 0
              : batch.segments[t - 1] + (document_of[token] != document_of[token - 1] ? 1 : 0);
      ASSERT_EQ(batch.segments[t], expected);
    }
  }
}

TEST_F(SourceTest, RefusesSequencesLongerThanTheData) {
  const std::string path = Dataset("a", {100});
  TrainOn(path);
  config_.seq_len = 99;
  EXPECT_EQ(ErrorOf([&] { Train(); }), "");
  config_.seq_len = 100;
  EXPECT_EQ(ErrorOf([&] { Train(); }),
            Str("2: ", path, ": data.seq_len 100 needs at least 101 tokens, but there are 100"));
  config_.seq_len = 95;
  config_.valid_percent = 10;
  EXPECT_EQ(ErrorOf([&] { Train(); }),
            Str("2: ", path,
                ": data.seq_len 95 needs at least 96 tokens, but there are 90 besides "
                "the held-out ones"));
}

TEST_F(SourceTest, ValidationCoversEachTokenOnce) {
  config_.valid = Dataset("v", {30, 41, 9});
  for (const bool reset : {false, true}) {
    config_.reset_attention = reset;
    for (int64_t seq_len = 1; seq_len <= 90; ++seq_len) {
      config_.seq_len = seq_len;
      for (const auto& [rows, world] : {std::pair<int64_t, int>{1, 1}, {3, 1}, {2, 3}}) {
        std::vector<int> seen(80, 0);
        std::set<int> calls;
        for (int rank = 0; rank < world; ++rank) {
          const std::unique_ptr<DataSource> source = Eval({rows, rank, world});
          EXPECT_EQ(source->num_tokens(), 79);
          TokenBatch batch;
          int count = 0;
          while (source->Next(&batch)) {
            ++count;
            ASSERT_TRUE(batch.rows >= 1 && batch.rows <= rows && batch.cols == seq_len);
            for (size_t t = 0; t < batch.targets.size(); ++t) {
              if (batch.targets[t] == kIgnoreTarget) continue;
              ASSERT_EQ(batch.targets[t], batch.tokens[t] + 1);
              ++seen[static_cast<size_t>(batch.targets[t])];
            }
          }
          calls.insert(count);
          EXPECT_FALSE(source->Next(&batch));
          source->Restore(Eval({rows, rank, world})->State());
          EXPECT_TRUE(source->Next(&batch));
        }
        ASSERT_EQ(calls.size(), 1u) << "ranks differ in calls";
        for (int token = 0; token < 80; ++token) {
          const bool starts = token == 30 || token == 71;
          ASSERT_EQ(seen[static_cast<size_t>(token)], token == 0 || (reset && starts) ? 0 : 1)
              << token << " seq_len " << seq_len;
        }
      }
    }
  }
}

TEST_F(SourceTest, ValidationMayTakeASample) {
  config_.valid = Dataset("v", {801});
  config_.valid_tokens = 45;
  const std::unique_ptr<DataSource> source = Eval({2, 0, 1});
  EXPECT_EQ(source->num_tokens(), 40);
  EXPECT_EQ(RowStarts(source.get(), 3), (std::vector<int64_t>{0, 160, 320, 480, 640}));
  TokenBatch batch;
  EXPECT_FALSE(source->Next(&batch));
}

// The held-out end begins with a document, and training never sees it.
TEST_F(SourceTest, HoldsOutTheEndOfTheTrainingData) {
  TrainOn(Dataset("a", {40, 43, 4, 113}));
  config_.valid_percent = 60;
  config_.shuffle = false;
  config_.seq_len = 1;
  EXPECT_EQ(RowStarts(Eval().get(), 1), (std::vector<int64_t>{83}));
  EXPECT_EQ(Eval()->num_tokens(), 200 - 83 - 1);
  EXPECT_EQ(Train()->num_tokens(), 82);
  for (const int64_t start : RowStarts(Train().get(), 300)) ASSERT_LT(start, 82);
  config_.valid_percent = 10;  // no document starts there
  EXPECT_EQ(RowStarts(Eval().get(), 1), (std::vector<int64_t>{180}));
}

TEST_F(SourceTest, SaysWhenThereIsNothingToValidateOn) {
  const std::string path = Dataset("a", {100});
  TrainOn(path);
  EXPECT_EQ(Eval(), nullptr);
  config_.valid_percent = 1;
  EXPECT_EQ(ErrorOf([&] { Eval(); }),
            Str("2: ", path, ": validation needs at least 2 tokens, but there is 1"));
}

}  // namespace
}  // namespace ckv
