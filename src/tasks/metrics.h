// The metrics of tasks: a document's score, and what all documents' scores make.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ckv {

// A document's share: a metric is a function of the sums of both over the documents.
struct DocumentScore {
  double value = 0.0;
  double weight = 1.0;
};

struct Metric {
  enum class Sum { kMean, kPerplexity, kBitsPerByte };

  const char* name;
  Sum sum;
  bool higher_is_better;
  const char* kinds;  // of tasks that have it, separated by blanks
  bool weighted;      // documents count by their words or bytes, and there is no standard error
  const char* help;

  bool IsOf(const std::string& kind) const;
};

const std::vector<Metric>& AllMetrics();
// nullptr: there is no such metric.
const Metric* FindMetric(const std::string& name);
// "acc, acc_norm, ...".
std::string MetricNames();

struct MetricFigure {
  double value = 0.0;
  std::optional<double> stderr_of_value;  // nullopt: not known
};

// Sum of values over sum of weights; exp of minus it for perplexities, minus it over log 2 for bits
// a byte. The standard error of a mean is that of a sample (n - 1); that of a perplexity is the
// mean's times the perplexity. Requires a document.
MetricFigure Aggregate(const Metric& metric, const std::vector<DocumentScore>& scores);

// Whether two runs differ, document by document.
struct PairedFigure {
  double difference = 0.0;  // of the figures, right less left
  // Of the difference, from the differences of documents; for ratios by linearisation.
  double stderr_of_difference = 0.0;
  // Two-sided: exact (McNemar) where every score is 0 or 1, else Student's t of the differences.
  double p_value = 1.0;
  int64_t left_only = 0;  // documents on which only one is right, where every score is 0 or 1
  int64_t right_only = 0;
};

// Requires the same documents on both sides, at least one.
PairedFigure ComparePaired(const Metric& metric, const std::vector<DocumentScore>& left,
                           const std::vector<DocumentScore>& right);

}  // namespace ckv
