#include "tasks/metrics.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/statistics.h"

namespace ckv {
namespace {

double RatioOf(const std::vector<DocumentScore>& scores) {
  double value = 0.0;
  double weight = 0.0;
  for (const DocumentScore& score : scores) {
    value += score.value;
    weight += score.weight;
  }
  return weight > 0.0 ? value / weight : 0.0;
}

double FigureOf(const Metric& metric, double ratio) {
  switch (metric.sum) {
    case Metric::Sum::kMean:
      return ratio;
    case Metric::Sum::kPerplexity:
      return std::exp(-ratio);
    case Metric::Sum::kBitsPerByte:
      return -ratio / std::log(2.0);
  }
  return ratio;
}

// By how much the figure grows with the ratio.
double SlopeOf(const Metric& metric, double ratio) {
  switch (metric.sum) {
    case Metric::Sum::kMean:
      return 1.0;
    case Metric::Sum::kPerplexity:
      return -std::exp(-ratio);
    case Metric::Sum::kBitsPerByte:
      return -1.0 / std::log(2.0);
  }
  return 1.0;
}

bool IsZeroOrOne(const std::vector<DocumentScore>& scores) {
  return std::all_of(scores.begin(), scores.end(), [](const DocumentScore& score) {
    return score.weight == 1.0 && (score.value == 0.0 || score.value == 1.0);
  });
}

}  // namespace

bool Metric::IsOf(const std::string& kind) const {
  return (" " + std::string(kinds) + " ").find(" " + kind + " ") != std::string::npos;
}

const std::vector<Metric>& AllMetrics() {
  using Sum = Metric::Sum;
  static const std::vector<Metric> metrics = {
      {"acc", Sum::kMean, true, "multiple_choice log_likelihood", false,
       "the likeliest choice is right; of log_likelihood: each token is the likeliest"},
      {"acc_norm", Sum::kMean, true, "multiple_choice", false,
       "the choice with the largest log-likelihood a byte is right"},
      {"acc_bytes", Sum::kMean, true, "multiple_choice", false,
       "acc_norm under the name that it has in lm-evaluation-harness"},
      {"acc_chars", Sum::kMean, true, "multiple_choice", false,
       "the same a character, which lm-evaluation-harness calls acc_norm"},
      {"exact_match", Sum::kMean, true, "generate multiple_choice", false,
       "the answer is the target; of multiple_choice: greedy decoding gives the right choice"},
      {"perplexity", Sum::kPerplexity, false, "log_likelihood", false,
       "exp of minus the mean log-likelihood of a target"},
      {"word_perplexity", Sum::kPerplexity, false, "rolling", true,
       "exp of minus the log-likelihood a word"},
      {"byte_perplexity", Sum::kPerplexity, false, "rolling", true,
       "exp of minus the log-likelihood a byte"},
      {"bits_per_byte", Sum::kBitsPerByte, false, "rolling", true,
       "minus the log-likelihood a byte, in bits"},
  };
  return metrics;
}

const Metric* FindMetric(const std::string& name) {
  for (const Metric& metric : AllMetrics()) {
    if (metric.name == name) return &metric;
  }
  return nullptr;
}

std::string MetricNames() {
  std::string names;
  for (const Metric& metric : AllMetrics()) names += Str(names.empty() ? "" : ", ", metric.name);
  return names;
}

MetricFigure Aggregate(const Metric& metric, const std::vector<DocumentScore>& scores) {
  CKV_CHECK(!scores.empty(), "no documents");
  const double ratio = RatioOf(scores);
  MetricFigure figure;
  figure.value = FigureOf(metric, ratio);
  if (metric.weighted || scores.size() < 2) return figure;
  std::vector<double> values;
  for (const DocumentScore& score : scores) values.push_back(score.value);
  figure.stderr_of_value = std::abs(SlopeOf(metric, ratio)) * StandardError(values);
  return figure;
}

PairedFigure ComparePaired(const Metric& metric, const std::vector<DocumentScore>& left,
                           const std::vector<DocumentScore>& right) {
  CKV_CHECK(left.size() == right.size() && !left.empty(), left.size(), " and ", right.size());
  PairedFigure paired;
  const double left_ratio = RatioOf(left);
  const double right_ratio = RatioOf(right);
  paired.difference = FigureOf(metric, right_ratio) - FigureOf(metric, left_ratio);

  // A ratio of sums moves by (value - ratio weight) / mean weight with a document.
  std::vector<double> moves;
  double weight = 0.0;
  for (const DocumentScore& score : left) weight += score.weight;
  weight /= static_cast<double>(left.size());
  for (size_t i = 0; i < left.size(); ++i) {
    const double of_right =
        SlopeOf(metric, right_ratio) * (right[i].value - right_ratio * right[i].weight);
    const double of_left =
        SlopeOf(metric, left_ratio) * (left[i].value - left_ratio * left[i].weight);
    moves.push_back((of_right - of_left) / std::max(weight, 1e-300));
    paired.left_only += left[i].value > right[i].value ? 1 : 0;
    paired.right_only += right[i].value > left[i].value ? 1 : 0;
  }
  paired.stderr_of_difference = left.size() > 1 ? StandardError(moves) : 0.0;
  if (IsZeroOrOne(left) && IsZeroOrOne(right)) {
    paired.p_value = McNemarExact(paired.left_only, paired.right_only);
  } else {
    paired.left_only = paired.right_only = 0;
    paired.p_value = PairedP(paired.difference, paired.stderr_of_difference,
                             static_cast<double>(left.size() - 1));
  }
  return paired;
}

}  // namespace ckv
