#include "tasks/metrics.h"

#include <cmath>

#include <gtest/gtest.h>

#include "base/statistics.h"

namespace ckv {
namespace {

std::vector<DocumentScore> Scores(const std::vector<double>& values) {
  std::vector<DocumentScore> scores;
  for (const double value : values) scores.push_back({value, 1.0});
  return scores;
}

TEST(Metrics, MeanAndPerplexity) {
  const MetricFigure acc = Aggregate(*FindMetric("acc"), Scores({1, 0, 0, 1}));
  EXPECT_DOUBLE_EQ(acc.value, 0.5);
  EXPECT_DOUBLE_EQ(*acc.stderr_of_value, std::sqrt(1.0 / 3.0 / 4.0));
  const MetricFigure perplexity = Aggregate(*FindMetric("perplexity"), Scores({-1, -3}));
  EXPECT_DOUBLE_EQ(perplexity.value, std::exp(2.0));
  EXPECT_DOUBLE_EQ(*perplexity.stderr_of_value, std::exp(2.0) * 1.0);
  EXPECT_FALSE(Aggregate(*FindMetric("acc"), Scores({1})).stderr_of_value.has_value());
}

TEST(Metrics, WeightedOnesDivideBySumsOfWeights) {
  const std::vector<DocumentScore> scores = {{-10.0, 4.0}, {-2.0, 2.0}};
  EXPECT_DOUBLE_EQ(Aggregate(*FindMetric("word_perplexity"), scores).value, std::exp(2.0));
  EXPECT_DOUBLE_EQ(Aggregate(*FindMetric("bits_per_byte"), scores).value, 2.0 / std::log(2.0));
  EXPECT_FALSE(Aggregate(*FindMetric("byte_perplexity"), scores).stderr_of_value.has_value());
}

TEST(Metrics, PairedAccuracies) {
  const PairedFigure paired =
      ComparePaired(*FindMetric("acc"), Scores({1, 1, 0, 0, 0}), Scores({1, 0, 1, 1, 1}));
  EXPECT_DOUBLE_EQ(paired.difference, 0.4);
  EXPECT_EQ(paired.left_only, 1);
  EXPECT_EQ(paired.right_only, 3);
  EXPECT_DOUBLE_EQ(paired.p_value, McNemarExact(1, 3));
  EXPECT_DOUBLE_EQ(paired.stderr_of_difference, StandardError({0, -1, 1, 1, 1}));
}

TEST(Metrics, PairedPerplexities) {
  const Metric& metric = *FindMetric("word_perplexity");
  const std::vector<DocumentScore> left = {{-10.0, 4.0}, {-2.0, 2.0}, {-9.0, 3.0}};
  EXPECT_EQ(ComparePaired(metric, left, left).p_value, 1.0);
  std::vector<DocumentScore> right = left;
  for (DocumentScore& score : right) score.value *= 1.1;  // equally worse everywhere
  const PairedFigure paired = ComparePaired(metric, left, right);
  EXPECT_GT(paired.difference, 0.0);
  EXPECT_DOUBLE_EQ(paired.difference, std::exp(21.0 * 1.1 / 9.0) - std::exp(21.0 / 9.0));
}

TEST(Metrics, BelongToKindsOfTasks) {
  for (const Metric& metric : AllMetrics()) {
    EXPECT_TRUE(metric.IsOf("multiple_choice") || metric.IsOf("log_likelihood") ||
                metric.IsOf("rolling") || metric.IsOf("generate"))
        << metric.name;
  }
  EXPECT_FALSE(FindMetric("acc")->IsOf("rolling"));
  EXPECT_EQ(FindMetric("accuracy"), nullptr);
}

}  // namespace
}  // namespace ckv
