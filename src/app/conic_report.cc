#include "app/conic_report.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/progress.h"
#include "conic/answers.h"
#include "conic/score.h"

namespace ckv {
namespace {

using conic::AnswerVerdict;
using conic::QuestionScore;

std::string Percent(double share) { return Fixed(100.0 * share, 2) + " %"; }

// --- semantic parsing ----------------------------------------------------------------------------

OrderedJson QuestionJson(size_t index, const QuestionScore& score) {
  OrderedJson row;
  row["index"] = index;
  row["common"] = score.common;
  row["num_gold"] = score.num_gold;
  row["num_pred"] = score.num_predicted;
  row["correct"] = score.correct;
  row["precision"] = score.ratios.precision;
  row["recall"] = score.ratios.recall;
  row["f1"] = score.ratios.f1;
  row["matched_vars"] = score.matched_names;
  row["gold_counts"] = score.gold_counts;
  row["pred_counts"] = score.predicted_counts;
  if (score.truncated) row["truncated"] = true;
  for (const conic::LineFault& fault : score.predicted_faults) {
    row["unreadable"].push_back(fault.ToString());
  }
  for (const std::string& doubt : score.doubts) row["doubts"].push_back(doubt);
  for (const auto& [left, right] : score.alignment) row["alignment"][left] = right;
  return row;
}

std::string SummaryText(const conic::ScoreSummary& summary, const std::string& title) {
  const conic::Ratios micro = summary.Micro();
  const conic::Ratios macro = summary.Macro();
  return Str(title, ": ", summary.questions, " questions, ", summary.correct, " correct\n",
             "  accuracy  ", Percent(summary.Accuracy()), "\n", "  micro     F1 ",
             Percent(micro.f1), "  precision ", Percent(micro.precision), "  recall ",
             Percent(micro.recall), "\n", "  macro     F1 ", Percent(macro.f1), "  precision ",
             Percent(macro.precision), "  recall ", Percent(macro.recall), "\n", "  unreadable ",
             summary.unreadable_lines, " lines; ", summary.without_statement,
             " predictions without any statement; ", summary.truncated,
             " questions with a search that was cut off\n");
}

ConicReport CheckParsing(const ConicCheck& check) {
  ConicReport report;
  conic::ScoreSummary all;
  conic::ScoreSummary kept;
  ProgressBar progress("score", check.gold.size(), "questions");
  for (size_t i = 0; i < check.gold.size(); ++i) {
    const QuestionScore score =
        conic::ScoreQuestion(check.gold[i].gold, check.predicted[i], check.mode);
    all.Add(score);
    if (!check.leaked.empty() && !check.leaked[i]) kept.Add(score);
    report.rows.push_back(QuestionJson(i, score));
    progress.Update(i + 1);
  }
  progress.Finish();
  report.summary["task"] = "parsing";
  report.summary["mode"] = check.mode == conic::Mode::kStrict ? "strict" : "compat";
  report.summary["all"] = all.ToJson();
  report.text = SummaryText(all, "all rows");
  if (!check.leaked.empty()) {
    report.summary["without_leaked"] = kept.ToJson();
    report.text += SummaryText(kept, "rows whose text is not in train");
  }
  return report;
}

// --- mathQA --------------------------------------------------------------------------------------

struct AnswerCounts {
  int64_t rows = 0;  // with a gold answer
  int64_t equal = 0;
  int64_t unreadable = 0;
  int64_t empty = 0;

  double Accuracy() const {
    return rows > 0 ? static_cast<double>(equal) / static_cast<double>(rows) : 0.0;
  }
  void Add(const AnswerVerdict& verdict, bool is_empty) {
    ++rows;
    equal += verdict.equal ? 1 : 0;
    unreadable += verdict.readable || is_empty ? 0 : 1;
    empty += is_empty ? 1 : 0;
  }
  OrderedJson ToJson() const {
    return {{"rows", rows},
            {"equal", equal},
            {"accuracy", Accuracy()},
            {"unreadable", unreadable},
            {"empty", empty}};
  }
  std::string ToText(const std::string& title) const {
    return Str(title, ": ", rows, " rows with an answer, ", equal, " equal\n  accuracy  ",
               Percent(Accuracy()), "\n  unreadable ", unreadable, ", empty ", empty, "\n");
  }
};

ConicReport CheckAnswers(const ConicCheck& check) {
  const bool exact =
      check.arithmetic == "exact" || (check.arithmetic == "auto" && conic::HasExactArithmetic());
  const std::unique_ptr<conic::Arithmetic> arithmetic =
      exact ? conic::MakeExactArithmetic() : conic::MakePointArithmetic();
  const std::unique_ptr<conic::Arithmetic> points = conic::MakePointArithmetic();
  ConicReport report;
  AnswerCounts all;
  AnswerCounts kept;
  int64_t disagreements = 0;
  ProgressBar progress("score", check.gold.size(), "answers");
  for (size_t i = 0; i < check.gold.size(); ++i) {
    const AnswerVerdict verdict =
        conic::CheckAnswer(check.gold[i].gold, check.predicted[i], arithmetic.get());
    OrderedJson row;
    row["index"] = i;
    row["scored"] = verdict.scored;
    row["equal"] = verdict.equal;
    row["readable"] = verdict.readable;
    if (!verdict.fault.empty()) row["unreadable"].push_back(verdict.fault);
    if (verdict.scored) {
      const bool is_empty = conic::Trim(check.predicted[i]).empty();
      all.Add(verdict, is_empty);
      if (!check.leaked.empty() && !check.leaked[i]) kept.Add(verdict, is_empty);
      if (exact) {
        const bool second =
            conic::CheckAnswer(check.gold[i].gold, check.predicted[i], points.get()).equal;
        if (second != verdict.equal) {
          row["points_say_equal"] = second;
          ++disagreements;
        }
      }
    }
    report.rows.push_back(std::move(row));
    progress.Update(i + 1);
  }
  progress.Finish();
  report.summary["task"] = check.task == conic::Task::kAnswer ? "answer" : "reasoning";
  report.summary["arithmetic"] = exact ? "exact" : "points";
  report.summary["all"] = all.ToJson();
  report.text = all.ToText("all rows");
  if (!check.leaked.empty()) {
    report.summary["without_leaked"] = kept.ToJson();
    report.text += kept.ToText("rows whose text is not in train");
  }
  if (exact) {
    report.summary["points_disagree"] = disagreements;
    if (disagreements > 0) {
      report.text += Str("values at points say otherwise for ", disagreements, " rows\n");
    }
  } else {
    report.text += "compared by values at points: this is no proof of equality\n";
  }
  return report;
}

}  // namespace

ConicReport CheckConic(const ConicCheck& check) {
  CKV_CHECK(check.gold.size() == check.predicted.size(), "gold and predictions differ in number");
  return check.task == conic::Task::kParsing ? CheckParsing(check) : CheckAnswers(check);
}

conic::Task ConicTask(const std::string& name) {
  if (name == "parsing") return conic::Task::kParsing;
  if (name == "answer") return conic::Task::kAnswer;
  if (name == "reasoning") return conic::Task::kReasoning;
  throw ConfigError("--task", Str("'", name, "' must be parsing, answer or reasoning"));
}

}  // namespace ckv
