// The benchmark's own scorer, row by row: counts, verdicts, statement pairs, trees, summaries.

#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "conic/annotation.h"
#include "conic/problems.h"
#include "conic/score.h"
#include "tests/conic/golden_rows.h"

namespace ckv::conic {
namespace {

void ExpectSummary(const ScoreSummary& summary, const Json& expected, const std::string& where) {
  const OrderedJson found = summary.ToJson();
  for (const char* key : {"questions", "correct", "common", "num_gold", "num_pred"}) {
    EXPECT_EQ(found.at(key).get<int64_t>(), expected.at(key).get<int64_t>()) << where << " " << key;
  }
  // Sums of a few thousand doubles, rounded by another order of adding.
  for (const char* key : {"accuracy", "micro_precision", "micro_recall", "micro_f1",
                          "macro_precision", "macro_recall", "macro_f1"}) {
    EXPECT_NEAR(found.at(key).get<double>(), expected.at(key).get<double>(), 1e-12)
        << where << " " << key;
  }
}

void ExpectScore(const QuestionScore& score, const Json& expected, const std::string& where) {
  EXPECT_EQ(score.common, expected.at("common").get<int64_t>()) << where;
  EXPECT_EQ(score.num_gold, expected.at("num_gold").get<int64_t>()) << where;
  EXPECT_EQ(score.num_predicted, expected.at("num_pred").get<int64_t>()) << where;
  EXPECT_EQ(score.correct, expected.at("correct").get<bool>()) << where;
  EXPECT_NEAR(score.ratios.precision, expected.at("precision").get<double>(), 1e-12) << where;
  EXPECT_NEAR(score.ratios.recall, expected.at("recall").get<double>(), 1e-12) << where;
  EXPECT_NEAR(score.ratios.f1, expected.at("f1").get<double>(), 1e-12) << where;
  EXPECT_FALSE(score.truncated) << where;
  if (!expected.contains("matched_vars")) return;
  EXPECT_EQ(score.matched_names, expected.at("matched_vars").get<int64_t>()) << where;
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(score.gold_counts[i], expected.at("gold_counts")[i].get<int64_t>()) << where;
    EXPECT_EQ(score.predicted_counts[i], expected.at("pred_counts")[i].get<int64_t>()) << where;
  }
}

TEST(ConicScoreGolden, QuestionsHaveTheAuthorsCounts) {
  const std::vector<std::string> files = GoldenFiles("metric", ".jsonl");
  if (files.empty()) GTEST_SKIP() << "no fixtures conic/metric*.jsonl";
  for (const std::string& file : files) {
    std::map<std::string, ScoreSummary> summaries;
    for (const Json& row : ReadRows(file)) {
      const std::string gold = row.at("gold");
      const std::string pred = row.at("pred");
      const QuestionScore score = ScoreQuestion(gold, pred, Mode::kCompat);
      const std::string kind = row.value("kind", "");
      ExpectScore(score, row.at("expected"),
                  Str(row.value("id", ""), " ", kind, "\n  ", gold, "\n  ", pred));
      summaries["all"].Add(score);
      summaries[kind].Add(score);
    }
    const std::string summary_file = file.substr(0, file.size() - 6) + "_summary.json";
    if (!FileExists(summary_file)) continue;
    const Json expected = ReadJsonFile(summary_file);
    for (const auto& [kind, numbers] : expected.items()) {
      if (summaries.count(kind) > 0) ExpectSummary(summaries.at(kind), numbers, kind);
    }
  }
}

TEST(ConicScoreGolden, AWholeSplitFromTheDataFileHasTheAuthorsCounts) {
  const std::string data = JoinPath(DataFolder(), "dev.json");
  const std::vector<std::string> files = GoldenFiles("corpus_dev", ".jsonl");
  if (files.empty() || !FileExists(data)) GTEST_SKIP() << "no fixtures or no data";
  const std::vector<Problem> problems = ReadProblems(data);
  for (const std::string& file : files) {
    ScoreSummary summary;
    for (const Json& row : ReadRows(file)) {
      const Problem& problem = problems.at(row.at("index").get<size_t>());
      const QuestionScore score = ScoreQuestion(MakePrompt(problem, Task::kParsing).target,
                                                row.at("pred").get<std::string>(), Mode::kCompat);
      ExpectScore(score, row.at("expected"), Str("dev row ", row.at("index").get<int64_t>()));
      summary.Add(score);
    }
    const std::string summary_file = file.substr(0, file.size() - 6) + "_summary.json";
    if (FileExists(summary_file)) ExpectSummary(summary, ReadJsonFile(summary_file), file);
  }
}

TEST(ConicScoreGolden, StatementPairsHaveTheAuthorsVerdicts) {
  const std::vector<std::string> files = GoldenFiles("statements", ".jsonl");
  if (files.empty()) GTEST_SKIP() << "no fixtures conic/statements*.jsonl";
  for (const std::string& file : files) {
    for (const Json& row : ReadRows(file)) {
      const auto declarations = row.at("declarations").get<std::vector<std::string>>();
      const std::string a = row.at("a");
      const std::string b = row.at("b");
      const StatementVerdict verdict = CompareStatements(declarations, a, b, Mode::kCompat);
      const std::string where = Str(row.value("id", ""), "\n  ", a, "\n  ", b);
      EXPECT_EQ(verdict.a_readable, row.at("a_ok").get<bool>()) << where;
      EXPECT_EQ(verdict.b_readable, row.at("b_ok").get<bool>()) << where;
      EXPECT_EQ(verdict.equal, row.at("equal").get<bool>()) << where;
    }
  }
}

// Statements that count and never match; how they print does not matter.
bool NeverMatches(const std::string& tree) {
  for (const char* part : {"builtin.BooleanTrue", "builtin.BooleanFalse", "builtin.floor",
                           "builtin.Mod", "builtin.Or", "builtin.Not"}) {
    if (tree.find(part) != std::string::npos) return true;
  }
  return tree == "True";
}

TEST(ConicScoreGolden, TreesAreTheAuthors) {
  const std::vector<std::string> files = GoldenFiles("parse", ".jsonl");
  if (files.empty()) GTEST_SKIP() << "no fixtures conic/parse*.jsonl";
  for (const std::string& file : files) {
    for (const Json& row : ReadRows(file)) {
      TermPool pool;
      std::vector<LineFault> faults;
      std::string text;
      for (const Json& line : row.at("declarations")) text += line.get<std::string>() + "\n";
      Scope scope;
      for (const Declaration& declaration : ReadDeclarations(SplitLines(text), &faults)) {
        scope[declaration.name] =
            pool.MakeSymbol(declaration.name, pool.Label(declaration.concept_name));
      }
      const std::string a = row.at("a");
      const Statements read = ReadStatements(SplitLines(a), scope, Mode::kCompat, &pool, &faults);
      const bool readable = read.facts.size() + read.queries.size() == 1;
      ASSERT_EQ(readable, row.at("a_ok").get<bool>()) << a;
      if (!readable) continue;
      const std::string tree = row.at("tree");
      const TermId id = read.facts.empty() ? read.queries.front() : read.facts.front();
      if (NeverMatches(tree)) {
        EXPECT_TRUE(pool[id].hopeless) << a;
      } else {
        EXPECT_EQ(ToText(pool, id), tree) << a;
      }
    }
  }
}

TEST(ConicPromptGolden, PromptsAndTargetsAreTheAuthors) {
  const std::vector<std::string> files = GoldenFiles("prompts", ".jsonl");
  if (files.empty() || !IsDirectory(DataFolder())) GTEST_SKIP() << "no fixtures or no data";
  std::map<std::string, std::vector<Problem>> splits;
  for (const std::string& file : files) {
    for (const Json& row : ReadRows(file)) {
      const std::string split = row.at("split");
      if (splits.count(split) == 0) {
        splits[split] = ReadProblems(JoinPath(DataFolder(), split + ".json"));
      }
      const Problem& problem = splits[split].at(row.at("index").get<size_t>());
      EXPECT_EQ(StatementString(problem), row.at("expr").get<std::string>());
      const PromptAndTarget parsing = MakePrompt(problem, Task::kParsing);
      EXPECT_EQ(parsing.prompt, row.at("parsing_clm").at("input").get<std::string>());
      EXPECT_EQ(parsing.target, row.at("parsing_clm").at("labels").get<std::string>());
      EXPECT_EQ(Spaced(problem.text), row.at("parsing_encdec").at("input").get<std::string>());
      const PromptAndTarget answer = MakePrompt(problem, Task::kAnswer);
      EXPECT_EQ(answer.prompt, row.at("mathqa_clm").at("input").get<std::string>());
      EXPECT_EQ(answer.target, row.at("mathqa_clm").at("labels").get<std::string>());
      EXPECT_EQ(ReasoningInstruction(problem.text), row.at("zero_shot").get<std::string>());
    }
  }
}

}  // namespace
}  // namespace ckv::conic
