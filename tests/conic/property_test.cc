// What holds for any gold annotation and prediction: on rows of the data drawn afresh each run.

#include <map>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "conic/problems.h"
#include "conic/score.h"
#include "tests/conic/golden_rows.h"

namespace ckv::conic {
namespace {

std::string Join(const std::vector<std::string>& pieces) {
  std::string text;
  for (const std::string& piece : pieces) text += (text.empty() ? "" : ";") + piece;
  return text;
}

class ConicProperty : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string dev = JoinPath(DataFolder(), "dev.json");
    if (!FileExists(dev)) GTEST_SKIP() << "no data";
    problems_ = ReadProblems(dev);
    const unsigned seed = std::random_device{}();
    RecordProperty("seed", std::to_string(seed));
    random_.seed(seed);
  }

  std::string Gold() { return StatementString(problems_[random_() % problems_.size()]); }

  // A prediction that shares much with the gold annotation: some statements of another row for some
  // of its own.
  std::string Prediction(const std::string& gold) {
    std::vector<std::string> pieces = Pieces(gold);
    const std::vector<std::string> others = Pieces(Gold());
    for (std::string& piece : pieces) {
      if (random_() % 5 == 0) piece = others[random_() % others.size()];
    }
    return Join(pieces);
  }

  std::string Shuffled(const std::string& text) {
    std::vector<std::string> pieces = Pieces(text);
    std::shuffle(pieces.begin(), pieces.end(), random_);
    return Join(pieces);
  }

  static void ExpectSameCounts(const QuestionScore& a, const QuestionScore& b,
                               const std::string& where) {
    EXPECT_EQ(a.common, b.common) << where;
    EXPECT_EQ(a.num_gold, b.num_gold) << where;
    EXPECT_EQ(a.num_predicted, b.num_predicted) << where;
  }

  std::vector<Problem> problems_;
  std::mt19937 random_;
};

TEST_F(ConicProperty, CountsDependOnWhatIsSaidNotHow) {
  for (int round = 0; round < 250; ++round) {
    const std::string gold = Gold();
    const std::string pred = Prediction(gold);
    const std::string where = "\n  " + gold + "\n  " + pred;
    const QuestionScore score = ScoreQuestion(gold, pred, Mode::kCompat);
    const QuestionScore own = ScoreQuestion(gold, gold, Mode::kCompat);
    EXPECT_TRUE(own.correct) << gold;
    EXPECT_EQ(own.ratios.f1, 1.0) << gold;
    EXPECT_LE(score.common, std::min(score.num_gold, score.num_predicted)) << where;
    // A shuffled redeclaration may change which concept is the last; such rows are left out.
    std::set<std::string> names;
    bool redeclared = false;
    for (const std::string& piece : Pieces(pred)) {
      const size_t colon = piece.find(':');
      if (colon != std::string::npos) {
        redeclared = !names.insert(Trim(piece.substr(0, colon))).second || redeclared;
      }
    }
    if (!redeclared) {
      ExpectSameCounts(score, ScoreQuestion(gold, Shuffled(pred), Mode::kCompat), where);
    }
    ExpectSameCounts(score, ScoreQuestion(Shuffled(gold), pred, Mode::kCompat), where);
    const QuestionScore turned = ScoreQuestion(pred, gold, Mode::kCompat);
    EXPECT_EQ(turned.common, score.common) << where;
    EXPECT_EQ(turned.num_gold, score.num_predicted) << where;
    EXPECT_EQ(turned.num_predicted, score.num_gold) << where;
    ExpectSameCounts(score, ScoreQuestion(gold, pred + ";2 x (;)(", Mode::kCompat), where);

    QuestionScore more = ScoreQuestion(gold, pred + ";neverSaid(x, 271)", Mode::kCompat);
    EXPECT_EQ(more.num_predicted, score.num_predicted + 1) << where;
    --more.num_predicted;
    ExpectSameCounts(score, more, where);
  }
}

TEST_F(ConicProperty, MergedDeclarationsAndRenamedNamesChangeNothing) {
  for (int round = 0; round < 250; ++round) {
    const std::string gold = Gold();
    const std::string pred = Prediction(gold);
    const std::string where = "\n  " + gold + "\n  " + pred;
    const QuestionScore score = ScoreQuestion(gold, pred, Mode::kCompat);

    std::map<std::string, std::string> by_concept;
    std::vector<std::string> merged;
    std::map<std::string, std::string> concepts;
    std::vector<std::string> rest;
    for (const std::string& piece : Pieces(pred)) {
      const size_t colon = piece.find(':');
      if (colon == std::string::npos) {
        rest.push_back(piece);
      } else {
        concepts[Trim(piece.substr(0, colon))] = Trim(piece.substr(colon + 1));
      }
    }
    for (const auto& [name, concept_name] : concepts) {
      std::string& names = by_concept[concept_name];
      names += (names.empty() ? "" : ", ") + name;
    }
    for (const auto& [concept_name, names] : by_concept) {
      merged.push_back(names + ": " + concept_name);
    }
    merged.insert(merged.end(), rest.begin(), rest.end());
    ExpectSameCounts(score, ScoreQuestion(gold, Join(merged), Mode::kCompat), where);

    // Names of two or more characters under new ones, word by word.
    std::string renamed;
    std::string word;
    int number = 0;
    std::map<std::string, std::string> new_names;
    for (const auto& [name, concept_name] : concepts) {
      if (name.size() > 1) new_names[name] = "fresh" + std::to_string(number++);
    }
    for (const char c : pred + ";") {
      if (std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_') {
        word += c;
        continue;
      }
      const auto found = new_names.find(word);
      renamed += (found != new_names.end() ? found->second : word) + c;
      word.clear();
    }
    ExpectSameCounts(score, ScoreQuestion(gold, renamed, Mode::kCompat), where + "\n  " + renamed);
  }
}

TEST_F(ConicProperty, ARepeatedFactCountsOnceMoreAtMost) {
  for (int round = 0; round < 100; ++round) {
    const std::string gold = Gold();
    const std::string pred = Prediction(gold);
    const QuestionScore score = ScoreQuestion(gold, pred, Mode::kCompat);
    for (const std::string& piece : Pieces(pred)) {
      if (piece.find_first_of(":?") != std::string::npos) continue;
      const QuestionScore more = ScoreQuestion(gold, pred + ";" + piece, Mode::kCompat);
      const int64_t added = more.num_predicted - score.num_predicted;
      EXPECT_LE(added, 1) << piece;
      EXPECT_GE(more.common, score.common) << piece;
      EXPECT_LE(more.common, score.common + added) << gold << "\n  " << pred << "\n  " << piece;
      break;
    }
  }
}

TEST(ConicData, EveryRowOfTheReleaseIsCorrectAgainstItself) {
  struct Split {
    const char* name;
    int64_t unspaced;  // sum of num_gold
    int64_t spaced;
    size_t wrong;  // row that holds "= False", which never matches; none if beyond the end
  };
  constexpr size_t kNone = SIZE_MAX;
  for (const Split& split : {Split{"train", 81810, 81743, 633}, Split{"dev", 10674, 10667, kNone},
                             Split{"test", 22093, 22071, kNone}}) {
    const std::string path = JoinPath(DataFolder(), Str(split.name, ".json"));
    if (!FileExists(path)) GTEST_SKIP() << "no data";
    const std::vector<Problem> problems = ReadProblems(path);
    for (const bool spaced : {false, true}) {
      int64_t total = 0;
      for (size_t i = 0; i < problems.size(); ++i) {
        std::string text = StatementString(problems[i]);
        if (spaced) text = Spaced(text);
        const QuestionScore score = ScoreQuestion(text, text, Mode::kCompat);
        total += score.num_gold;
        EXPECT_EQ(score.correct, i != split.wrong) << split.name << " row " << i << ": " << text;
        if (i == split.wrong) {
          EXPECT_EQ(score.common, 14);
          EXPECT_EQ(score.num_gold, 15);
        }
      }
      EXPECT_EQ(total, spaced ? split.spaced : split.unspaced) << split.name;
    }
  }
}

TEST(ConicData, SpansStandForEveryPiece) {
  const std::string path = JoinPath(DataFolder(), "dev.json");
  if (!FileExists(path)) GTEST_SKIP() << "no data";
  for (const Problem& problem : ReadProblems(path)) {
    EXPECT_EQ(problem.fact_spans.size(), Pieces(problem.facts).size());
    EXPECT_EQ(problem.query_spans.size(), Pieces(problem.queries).size());
  }
}

}  // namespace
}  // namespace ckv::conic
