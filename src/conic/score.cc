#include "conic/score.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include <nlohmann/json.hpp>

#include "conic/align.h"
#include "conic/compare.h"
#include "conic/rebuild.h"
#include "conic/signature.h"
#include "text/utf8.h"

namespace ckv::conic {
namespace {

double HarmonicMean(double a, double b) { return a + b > 0.0 ? 2.0 * a * b / (a + b) : 0.0; }

bool IsOneCharacter(const std::string& name) { return NextCodePoint(name).length == name.size(); }

// One annotation on its way to statements.
struct Annotated {
  std::vector<Line> lines;
  std::vector<Declaration> declarations;
  Scope scope;
  Statements statements;
  AlignmentSide side;
  std::vector<LineFault> faults;

  explicit Annotated(std::string_view text) : lines(SplitLines(text)) {
    declarations = ReadDeclarations(lines, &faults);
  }

  void Read(Side which, const std::unordered_map<std::string, std::string>& common, Mode mode,
            TermPool* pool) {
    for (const Declaration& declaration : declarations) {
      const LabelId concept_label = pool->Label(declaration.concept_name);
      const bool shared = common.count(declaration.name) > 0;
      const TermId symbol =
          pool->MakeSymbol(declaration.name, concept_label, shared ? Side::kShared : which);
      scope.emplace(declaration.name, symbol);
      if (!shared) side.names.push_back(symbol);
    }
    statements = ReadStatements(lines, scope, mode, pool, &faults);
    const auto rebuilt = [&](TermId id) {
      const TermId result = Rebuild(id, pool);
      // Strict: which symbols a statement has is asked of what was written.
      const bool lost =
          mode == Mode::kStrict && SignatureOf(*pool, id).key != SignatureOf(*pool, result).key;
      return lost ? id : result;
    };
    for (const TermId fact : statements.facts) side.facts.push_back(rebuilt(fact));
    for (const TermId query : statements.queries) side.queries.push_back(rebuilt(query));
  }

  std::array<int64_t, 3> Counts() const {
    return {static_cast<int64_t>(declarations.size()),
            static_cast<int64_t>(statements.facts.size()),
            static_cast<int64_t>(statements.queries.size())};
  }
};

// Names of one character that both sides declare with the same concept. Strict: none, all names are
// to be aligned.
std::unordered_map<std::string, std::string> CommonNames(const Annotated& gold,
                                                         const Annotated& predicted, Mode mode) {
  std::unordered_map<std::string, std::string> common;
  if (mode == Mode::kStrict) return common;
  std::unordered_map<std::string, std::string> concepts;
  for (const Declaration& declaration : gold.declarations) {
    if (IsOneCharacter(declaration.name)) {
      concepts.emplace(declaration.name, declaration.concept_name);
    }
  }
  for (const Declaration& declaration : predicted.declarations) {
    const auto found = concepts.find(declaration.name);
    if (found != concepts.end() && found->second == declaration.concept_name) {
      common.emplace(declaration.name, declaration.concept_name);
    }
  }
  return common;
}

// Common names, and for each concept as many of the others as the smaller side has.
int64_t MatchedNames(const Annotated& gold, const Annotated& predicted, const TermPool& pool,
                     size_t num_common) {
  std::map<LabelId, std::pair<int64_t, int64_t>> counts;
  for (const TermId name : gold.side.names) ++counts[pool[name].concept_label].first;
  for (const TermId name : predicted.side.names) ++counts[pool[name].concept_label].second;
  auto matched = static_cast<int64_t>(num_common);
  for (const auto& [concept_label, sides] : counts) matched += std::min(sides.first, sides.second);
  return matched;
}

int64_t Sum(const std::array<int64_t, 3>& counts) { return counts[0] + counts[1] + counts[2]; }

}  // namespace

Ratios RatiosOf(int64_t common, int64_t num_gold, int64_t num_predicted) {
  Ratios ratios;
  const auto shared = static_cast<double>(common);
  ratios.precision = num_predicted > 0 ? shared / static_cast<double>(num_predicted) : 0.0;
  ratios.recall = num_gold > 0 ? shared / static_cast<double>(num_gold) : 1.0;
  ratios.f1 = HarmonicMean(ratios.precision, ratios.recall);
  return ratios;
}

QuestionScore ScoreQuestion(std::string_view gold, std::string_view predicted, Mode mode) {
  TermPool pool;
  Annotated gold_side(gold);
  Annotated predicted_side(predicted);
  const auto common = CommonNames(gold_side, predicted_side, mode);
  gold_side.Read(Side::kGold, common, mode, &pool);
  predicted_side.Read(Side::kPredicted, common, mode, &pool);

  Comparer comparer(&pool, mode);
  const Alignment alignment = Align(predicted_side.side, gold_side.side, &pool, &comparer);
  QuestionScore score;
  score.matched_names = MatchedNames(gold_side, predicted_side, pool, common.size());
  score.common = alignment.matched + score.matched_names;
  score.truncated = alignment.truncated;
  score.gold_counts = gold_side.Counts();
  score.predicted_counts = predicted_side.Counts();
  score.num_gold = Sum(score.gold_counts);
  score.num_predicted = Sum(score.predicted_counts);
  if (mode == Mode::kStrict) {
    score.num_predicted += static_cast<int64_t>(predicted_side.faults.size());
  }
  score.correct = score.common == score.num_gold && score.common == score.num_predicted;
  score.ratios = RatiosOf(score.common, score.num_gold, score.num_predicted);
  for (const auto& [left, right] : alignment.pairs) {
    score.alignment.emplace_back(pool.Text(pool[left].label), pool.Text(pool[right].label));
  }
  for (const auto* statements :
       {&predicted_side.statements.facts, &predicted_side.statements.queries}) {
    for (const TermId statement : *statements) {
      constexpr size_t kMaxDoubts = 20;
      for (std::string& doubt : Doubts(pool, statement)) {
        if (score.doubts.size() < kMaxDoubts) score.doubts.push_back(std::move(doubt));
      }
    }
  }
  score.gold_faults = std::move(gold_side.faults);
  score.predicted_faults = std::move(predicted_side.faults);
  return score;
}

StatementVerdict CompareStatements(const std::vector<std::string>& declarations, std::string_view a,
                                   std::string_view b, Mode mode) {
  TermPool pool;
  std::vector<LineFault> faults;
  std::string text;
  for (const std::string& declaration : declarations) text += declaration + "\n";
  Scope scope;
  for (const Declaration& declaration : ReadDeclarations(SplitLines(text), &faults)) {
    scope.emplace(declaration.name,
                  pool.MakeSymbol(declaration.name, pool.Label(declaration.concept_name)));
  }
  const auto read = [&](std::string_view line) {
    const Statements statements = ReadStatements(SplitLines(line), scope, mode, &pool, &faults);
    if (!statements.facts.empty()) return statements.facts.front();
    return statements.queries.empty() ? kNoTerm : statements.queries.front();
  };
  const TermId left = read(a);
  const TermId right = read(b);
  StatementVerdict verdict{left != kNoTerm, right != kNoTerm, false};
  if (verdict.a_readable && verdict.b_readable) {
    Comparer comparer(&pool, mode);
    const Alignment alignment = Align({{}, {left}, {}}, {{}, {right}, {}}, &pool, &comparer);
    verdict.equal = alignment.matched == 1;
  }
  return verdict;
}

void ScoreSummary::Add(const QuestionScore& score) {
  ++questions;
  correct += score.correct ? 1 : 0;
  common += score.common;
  num_gold += score.num_gold;
  num_predicted += score.num_predicted;
  truncated += score.truncated ? 1 : 0;
  unreadable_lines += static_cast<int64_t>(score.predicted_faults.size());
  without_statement += Sum(score.predicted_counts) == 0 ? 1 : 0;
  sums_.precision += score.ratios.precision;
  sums_.recall += score.ratios.recall;
  sums_.f1 += score.ratios.f1;
}

double ScoreSummary::Accuracy() const {
  return questions > 0 ? static_cast<double>(correct) / static_cast<double>(questions) : 0.0;
}

Ratios ScoreSummary::Micro() const {
  return questions > 0 ? RatiosOf(common, num_gold, num_predicted) : Ratios{};
}

Ratios ScoreSummary::Macro() const {
  if (questions == 0) return {};
  const auto n = static_cast<double>(questions);
  return {sums_.precision / n, sums_.recall / n, sums_.f1 / n};
}

OrderedJson ScoreSummary::ToJson() const {
  const Ratios micro = Micro();
  const Ratios macro = Macro();
  OrderedJson json;
  json["questions"] = questions;
  json["correct"] = correct;
  json["common"] = common;
  json["num_gold"] = num_gold;
  json["num_pred"] = num_predicted;
  json["accuracy"] = Accuracy();
  json["micro_precision"] = micro.precision;
  json["micro_recall"] = micro.recall;
  json["micro_f1"] = micro.f1;
  json["macro_precision"] = macro.precision;
  json["macro_recall"] = macro.recall;
  json["macro_f1"] = macro.f1;
  json["unreadable_lines"] = unreadable_lines;
  json["without_statement"] = without_statement;
  json["truncated"] = truncated;
  return json;
}

}  // namespace ckv::conic
