// Scores of predicted annotations against gold ones: statements in common, accuracy and F1.
//
// Source: the Conic10K benchmark's scorer; docs/conic10k.md says what Mode::kStrict repairs.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "conic/annotation.h"

namespace ckv::conic {

struct Ratios {
  double precision = 0.0;
  double recall = 0.0;
  double f1 = 0.0;
};

// precision 0 without predictions, recall 1 without gold, f1 0 if both are 0.
Ratios RatiosOf(int64_t common, int64_t num_gold, int64_t num_predicted);

struct QuestionScore {
  int64_t common = 0;
  int64_t num_gold = 0;
  int64_t num_predicted = 0;
  int64_t matched_names = 0;             // the part of `common` that is declared names
  std::array<int64_t, 3> gold_counts{};  // declared names, readable facts, readable queries
  std::array<int64_t, 3> predicted_counts{};
  bool correct = false;
  Ratios ratios;
  bool truncated = false;  // a limit was met: `common` is the best found
  // Lines that could not be read.
  std::vector<LineFault> gold_faults;
  std::vector<LineFault> predicted_faults;
  std::vector<std::string> doubts;  // about the prediction
  // Names that the alignment matched, predicted and gold, where they are not the same by rule.
  std::vector<std::pair<std::string, std::string>> alignment;
};

QuestionScore ScoreQuestion(std::string_view gold, std::string_view predicted, Mode mode);

// Whether two statements are equal, with the same names on both sides and no alignment. A query's
// "= ?" is taken off first.
struct StatementVerdict {
  bool a_readable = false;
  bool b_readable = false;
  bool equal = false;
};
StatementVerdict CompareStatements(const std::vector<std::string>& declarations, std::string_view a,
                                   std::string_view b, Mode mode);

// Sums over questions.
struct ScoreSummary {
  int64_t questions = 0;
  int64_t correct = 0;
  int64_t common = 0;
  int64_t num_gold = 0;
  int64_t num_predicted = 0;
  int64_t truncated = 0;
  int64_t unreadable_lines = 0;   // of predictions
  int64_t without_statement = 0;  // predictions of which nothing could be read

  void Add(const QuestionScore& score);
  double Accuracy() const;
  Ratios Micro() const;
  Ratios Macro() const;
  // The numbers under the names of the benchmark's summaries.
  OrderedJson ToJson() const;

 private:
  Ratios sums_;
};

}  // namespace ckv::conic
