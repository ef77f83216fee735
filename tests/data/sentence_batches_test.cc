#include "data/sentence_batches.h"

#include <algorithm>
#include <numeric>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/random.h"
#include "base/target.h"
#include "data/spanning_tree.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;

// Sentences of the given lengths; word i of sentence s is 1 + 10 s + i, its label i.
std::vector<EncodedSentence> Numbered(const std::vector<int64_t>& lengths) {
  std::vector<EncodedSentence> data;
  for (size_t s = 0; s < lengths.size(); ++s) {
    EncodedSentence sentence;
    sentence.labels.resize(1);
    for (int64_t i = 0; i < lengths[s]; ++i) {
      sentence.ids.push_back(1 + 10 * static_cast<int64_t>(s) + i);
      sentence.labels[0].push_back(i);
    }
    data.push_back(std::move(sentence));
  }
  return data;
}

std::vector<int64_t> AllOf(const std::vector<EncodedSentence>& data) {
  std::vector<int64_t> members(data.size());
  std::iota(members.begin(), members.end(), int64_t{0});
  return members;
}

TEST(SentenceBatches, WeightsAreMeansOfSentencesAndOfMicroBatches) {
  auto data = Numbered({4, 1, 2});
  data[0].labels[0][1] = LabelSet::kUnknownClass;
  SentenceBatchOptions options;
  options.micro_rows = 2;
  const std::vector<SentenceBatch> batches = MakeSentenceBatches(data, AllOf(data), options, 1);
  ASSERT_EQ(batches.size(), 1u);
  const SentenceBatch& batch = batches[0];
  EXPECT_EQ(batch.rows, 3);
  EXPECT_EQ(batch.cols, 4);
  EXPECT_EQ(batch.positions, (std::vector<int64_t>{0, 1, 2, 3, 4, 8, 9}));
  EXPECT_EQ(batch.targets[0], (std::vector<int64_t>{0, kIgnoreTarget, 2, 3, 0, 0, 1}));
  EXPECT_EQ(batch.weights, (std::vector<double>{0.125, 0.125, 0.125, 0.125, 0.5, 0.5, 0.5}));
}

TEST(SentenceBatches, GroupsByLengthChangeNoWeight) {
  std::vector<int64_t> lengths;
  Random random(3);
  for (int i = 0; i < 64; ++i) lengths.push_back(1 + static_cast<int64_t>(random.Below(40)));
  const auto data = Numbered(lengths);
  SentenceBatchOptions options;
  options.micro_rows = 16;
  options.by_length = true;
  options.max_cells = 300;
  const std::vector<SentenceBatch> groups = MakeSentenceBatches(data, AllOf(data), options, 1);
  EXPECT_GT(groups.size(), 4u);
  double total = 0.0;
  int64_t cells = 0, words = 0;
  std::multiset<int64_t> seen;
  for (const SentenceBatch& batch : groups) {
    EXPECT_LE(batch.rows * batch.cols, 300);
    total += std::accumulate(batch.weights.begin(), batch.weights.end(), 0.0);
    cells += batch.rows * batch.cols;
    words += std::accumulate(batch.lengths.begin(), batch.lengths.end(), int64_t{0});
    seen.insert(batch.sentences.begin(), batch.sentences.end());
  }
  EXPECT_NEAR(total, 4.0, 1e-12);  // four micro-batches of mean 1
  EXPECT_LT(static_cast<double>(cells), 1.3 * static_cast<double>(words));
  EXPECT_EQ(seen.size(), 64u);
  EXPECT_EQ(std::set<int64_t>(seen.begin(), seen.end()).size(), 64u);
}

TEST(SentenceBatches, FewShapesHoldTheSameWords) {
  std::set<std::vector<int64_t>> shapes;
  Random random(5);
  for (int round = 0; round < 50; ++round) {
    std::vector<int64_t> lengths;
    const int count = round % 5 == 0 ? 41 : 64;
    for (int i = 0; i < count; ++i) {
      lengths.push_back(1 + static_cast<int64_t>(random.Below(i % 8 == 0 ? 60 : 20)));
    }
    const auto data = Numbered(lengths);
    SentenceBatchOptions options;
    options.micro_rows = 16;
    options.row_unit = 16;
    options.max_cells = 4096;
    std::multiset<int64_t> seen;
    double total = 0.0;
    for (const SentenceBatch& batch : MakeSentenceBatches(data, AllOf(data), options, 1)) {
      shapes.insert({batch.rows, batch.cols, static_cast<int64_t>(batch.positions.size())});
      EXPECT_EQ(batch.rows % 16, 0);
      EXPECT_LE(batch.rows * batch.cols, 4096);
      ASSERT_EQ(static_cast<int64_t>(batch.lengths.size()), batch.rows);
      ASSERT_EQ(static_cast<int64_t>(batch.positions.size()), batch.rows * batch.cols);
      ASSERT_EQ(batch.targets[0].size(), batch.weights.size());
      seen.insert(batch.sentences.begin(), batch.sentences.end());
      const int64_t words = std::accumulate(batch.lengths.begin(), batch.lengths.end(), int64_t{0});
      EXPECT_EQ(std::count_if(batch.weights.begin(), batch.weights.end(),
                              [](double weight) { return weight > 0.0; }),
                words);
      for (size_t i = 0; i < batch.weights.size(); ++i) {
        EXPECT_EQ(batch.weights[i] > 0.0, batch.targets[0][i] != kIgnoreTarget);
      }
      total += std::accumulate(batch.weights.begin(), batch.weights.end(), 0.0);
    }
    EXPECT_EQ(seen.size(), lengths.size());
    EXPECT_NEAR(total, static_cast<double>((count + 15) / 16), 1e-12);
  }
  EXPECT_LE(shapes.size(), 25u);
}

TEST(SentenceBatches, FewShapesRoundTheNumberOfMaskedWordsUp) {
  const auto data = Numbered(std::vector<int64_t>(30, 10));
  SentenceBatchOptions options;
  options.task = SentenceTask::kMasked;
  options.mask_id = 9999;
  const SentenceBatch exact = MakeSentenceBatches(data, AllOf(data), options, 7).at(0);
  options.row_unit = 8;
  const SentenceBatch batch = MakeSentenceBatches(data, AllOf(data), options, 7).at(0);
  EXPECT_EQ(batch.rows, 32);
  EXPECT_EQ(batch.cols, 12);
  EXPECT_EQ(batch.positions.size() % (32 * 12 / 16), 0u);
  EXPECT_GE(batch.positions.size(), exact.positions.size());
  EXPECT_LT(batch.positions.size(), exact.positions.size() + 32 * 12 / 16);
  EXPECT_EQ(std::count_if(batch.weights.begin(), batch.weights.end(),
                          [](double weight) { return weight > 0.0; }),
            static_cast<int64_t>(exact.positions.size()));
}

TEST(SentenceBatches, MasksWordsByChanceButNeverUnknownOnes) {
  std::vector<EncodedSentence> data = Numbered(std::vector<int64_t>(200, 10));
  for (EncodedSentence& sentence : data) sentence.ids[3] = 0;
  SentenceBatchOptions options;
  options.task = SentenceTask::kMasked;
  options.mask_id = 9999;
  options.micro_rows = 100;
  const SentenceBatch batch = MakeSentenceBatches(data, AllOf(data), options, 7).at(0);
  const auto masked = static_cast<double>(batch.positions.size());
  EXPECT_NEAR(masked / (200.0 * 9.0), 0.3, 0.03);
  for (size_t i = 0; i < batch.positions.size(); ++i) {
    EXPECT_EQ(batch.ids[static_cast<size_t>(batch.positions[i])], 9999);
    EXPECT_NE(batch.positions[i] % 10, 3);
    EXPECT_NE(batch.targets[0][i], 0);
  }
  EXPECT_EQ(static_cast<double>(std::count(batch.ids.begin(), batch.ids.end(), 9999)), masked);
  EXPECT_NEAR(std::accumulate(batch.weights.begin(), batch.weights.end(), 0.0), 2.0, 1e-9);
  // The same draw gives the same masks, another one others; vocabularies do not move them.
  EXPECT_EQ(MakeSentenceBatches(data, AllOf(data), options, 7).at(0).positions, batch.positions);
  EXPECT_NE(MakeSentenceBatches(data, AllOf(data), options, 8).at(0).positions, batch.positions);
}

TEST(SentenceOrder, FirstEpochInFileOrderThenShuffled) {
  SentenceOrder order(10, 4, 3, /*shuffle=*/true);
  EXPECT_EQ(order.BatchesPerEpoch(), 3);
  std::vector<int64_t> first, second;
  for (int i = 0; i < 3; ++i) {
    for (const int64_t s : order.Next()) first.push_back(s);
  }
  EXPECT_EQ(order.epoch(), 0);
  std::set<uint64_t> draws;
  for (int i = 0; i < 3; ++i) {
    for (const int64_t s : order.Next()) second.push_back(s);
    draws.insert(order.draw());
  }
  EXPECT_EQ(order.epoch(), 1);
  EXPECT_EQ(draws.size(), 3u);
  EXPECT_TRUE(std::is_sorted(first.begin(), first.end()));
  EXPECT_NE(first, second);
  std::sort(second.begin(), second.end());
  EXPECT_EQ(first, second);
}

TEST(SentenceOrder, GoesOnWhereItStood) {
  SentenceOrder order(10, 4, 3, true);
  for (int i = 0; i < 5; ++i) order.Next();
  SentenceOrder other(10, 4, 3, true);
  other.Restore(ParseJson(order.State().dump(), "x"));
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(order.Next(), other.Next());
    EXPECT_EQ(order.draw(), other.draw());
  }
  SentenceOrder longer(11, 4, 3, true);
  EXPECT_THAT(ErrorOf([&] { longer.Restore(order.State()); }), HasSubstr("belongs to other data"));
}

// Every assignment of heads, for small sentences.
double BestTreeByTrial(const std::vector<std::vector<double>>& scores,
                       const std::vector<double>& root_scores) {
  const auto n = static_cast<int64_t>(scores.size());
  double best = -1e300;
  std::vector<int64_t> heads(static_cast<size_t>(n), -1);
  const auto is_tree = [&] {
    if (std::count(heads.begin(), heads.end(), -1) != 1) return false;
    for (int64_t i = 0; i < n; ++i) {
      int64_t at = i;
      for (int64_t steps = 0; at >= 0 && steps <= n; ++steps) at = heads[static_cast<size_t>(at)];
      if (at >= 0) return false;
    }
    return true;
  };
  while (true) {
    bool valid = true;
    double total = 0.0;
    for (int64_t i = 0; i < n; ++i) {
      const auto at = static_cast<size_t>(i);
      valid &= heads[at] != i;
      total += heads[at] < 0 ? root_scores[at] : scores[at][static_cast<size_t>(heads[at])];
    }
    if (valid && is_tree()) best = std::max(best, total);
    size_t digit = 0;
    while (digit < heads.size() && ++heads[digit] == n) heads[digit++] = -1;
    if (digit == heads.size()) return best;
  }
}

TEST(SpanningTree, IsTheBestOfAllTrees) {
  Random random(11);
  for (int trial = 0; trial < 200; ++trial) {
    const auto n = 1 + static_cast<size_t>(random.Below(5));
    std::vector<std::vector<double>> scores(n, std::vector<double>(n));
    std::vector<double> root(n);
    for (size_t i = 0; i < n; ++i) {
      for (double& score : scores[i]) score = random.Uniform() * 10.0 - 7.0;
      root[i] = trial % 2 == 0 ? 0.0 : random.Uniform() * 4.0 - 2.0;
    }
    const std::vector<int64_t> heads = MaximumSpanningTree(scores, root);
    ASSERT_EQ(heads.size(), n);
    EXPECT_EQ(std::count(heads.begin(), heads.end(), -1), 1);
    double total = 0.0;
    for (size_t i = 0; i < n; ++i) {
      int64_t at = static_cast<int64_t>(i);
      for (size_t steps = 0; at >= 0; ++steps) {
        ASSERT_LE(steps, n) << "a cycle";
        at = heads[static_cast<size_t>(at)];
      }
      total += heads[i] < 0 ? root[i] : scores[i][static_cast<size_t>(heads[i])];
    }
    EXPECT_NEAR(total, BestTreeByTrial(scores, root), 1e-9) << "trial " << trial;
  }
}

TEST(SpanningTree, TakesLongSentences) {
  const size_t n = 150;
  Random random(2);
  std::vector<std::vector<double>> scores(n, std::vector<double>(n));
  for (auto& row : scores) {
    for (double& score : row) score = -random.Uniform() * 20.0;
  }
  const std::vector<int64_t> heads = MaximumSpanningTree(scores, std::vector<double>(n, 0.0));
  EXPECT_EQ(std::count(heads.begin(), heads.end(), -1), 1);
}

}  // namespace
}  // namespace ckv
