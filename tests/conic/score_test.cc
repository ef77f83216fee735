// Scores: the search for names, limits, and the repairs of the strict mode.

#include "conic/score.h"

#include <random>

#include <gtest/gtest.h>

namespace ckv::conic {
namespace {

// common, num_gold, num_pred
using Numbers = std::array<int64_t, 3>;

Numbers Score(const std::string& gold, const std::string& pred, Mode mode = Mode::kCompat) {
  const QuestionScore score = ScoreQuestion(gold, pred, mode);
  EXPECT_FALSE(score.truncated);
  return {score.common, score.num_gold, score.num_predicted};
}

constexpr Mode kStrict = Mode::kStrict;

TEST(ConicStrict, UnreadableLinesCount) {
  EXPECT_EQ(Score("a: Real;a>0", "a: Real;a>0;((;2x"), (Numbers{2, 2, 2}));
  EXPECT_EQ(Score("a: Real;a>0", "a: Real;a>0;((;2x", kStrict), (Numbers{2, 2, 4}));
}

TEST(ConicStrict, SpacedSignsAndDecimalsAreRead) {
  EXPECT_EQ(Score("a: Real;a>=1.5", "a : Real ; a > =1 .5"), (Numbers{1, 2, 1}));
  EXPECT_EQ(Score("a: Real;a>=1.5", "a : Real ; a > =1 .5", kStrict), (Numbers{2, 2, 2}));
}

TEST(ConicStrict, AllNamesAreSearched) {
  const std::string gold = "A: Point;B: Point;l: Line;Distance(A, l) = 2;Distance(B, l) = 3";
  const std::string pred = "A: Point;B: Point;l: Line;Distance(B, l) = 2;Distance(A, l) = 3";
  EXPECT_EQ(Score(gold, pred), (Numbers{3, 5, 5}));
  EXPECT_EQ(Score(gold, pred, kStrict), (Numbers{5, 5, 5}));
}

// "x - x + y is not y" in both modes, whatever else strict repairs.
TEST(ConicStrict, TheSymbolsThatAreWrittenMustAgree) {
  for (const Mode mode : {Mode::kCompat, kStrict}) {
    EXPECT_EQ(Score("A: Point;f(x-x+A)", "A: Point;f(A)", mode), (Numbers{1, 2, 2}));
    EXPECT_EQ(Score("a: Real;x-x+a = 1", "a: Real;a = 1", mode), (Numbers{1, 2, 2}));
    EXPECT_EQ(Score("A: Point;f(x-x+A)", "A: Point;f(x-x+A)", mode), (Numbers{2, 2, 2}));
  }
  EXPECT_EQ(Score("A: Point;f(x-x+A)", "B: Point;f(x-x+B)", kStrict), (Numbers{2, 2, 2}));
}

TEST(ConicScore, AStatementThatIsOnlyATupleNeverMatches) {
  for (const char* text : {"(a,b)", "a,b", "(1, 2)", "(a,)", "(a,b) = ?"}) {
    const Numbers numbers = Score(text, text);
    EXPECT_EQ(numbers[0], 0) << text;
    EXPECT_EQ(numbers[1], 1) << text;
  }
  EXPECT_EQ(Score("f((a,b))", "f((a,b))"), (Numbers{1, 1, 1}));
}

TEST(ConicStrict, TruthValuesRelationsAndEquationsAreRepaired) {
  EXPECT_EQ(Score("f(x) = False", "f(x) = False"), (Numbers{0, 1, 1}));
  EXPECT_EQ(Score("f(x) = False", "f(x) = False", kStrict), (Numbers{1, 1, 1}));
  EXPECT_EQ(Score("a > b", "b < a"), (Numbers{0, 1, 1}));
  EXPECT_EQ(Score("a > b", "b < a", kStrict), (Numbers{1, 1, 1}));
  EXPECT_EQ(Score("a > b", "b <= a", kStrict), (Numbers{0, 1, 1}));
  EXPECT_EQ(Score("x^2/4 + y^2 = 1", "x^2 + 4*y^2 = 4"), (Numbers{0, 1, 1}));
  EXPECT_EQ(Score("x^2/4 + y^2 = 1", "x^2 + 4*y^2 = 4", kStrict), (Numbers{1, 1, 1}));
  EXPECT_EQ(Score("Expression(G) = (y = 2*x)", "Expression(G) = (y - 2*x = 0)", kStrict),
            (Numbers{1, 1, 1}));
  EXPECT_EQ(Score("x^2/4 + y^2 = 1", "x^2 + 4*y^2 = 5", kStrict), (Numbers{0, 1, 1}));
  EXPECT_EQ(Score("y = x", "x*y = x^2", kStrict), (Numbers{0, 1, 1}));
  EXPECT_EQ(Score("E1 = 1", "E1 = 1"), (Numbers{0, 0, 0}));
  EXPECT_EQ(Score("E1 = 1", "E1 = 1", kStrict), (Numbers{1, 1, 1}));
  EXPECT_EQ(Score("Or = Expr", "Or = Expr", kStrict), (Numbers{1, 1, 1}));
  EXPECT_EQ(Score("E(a) = 1", "E(a) = 1", kStrict), (Numbers{1, 1, 1}));
  EXPECT_EQ(Score("a > b > 0", "0 < b < a", kStrict), (Numbers{1, 1, 1}));
  EXPECT_EQ(Score("a > b > 0", "0 < a < b", kStrict), (Numbers{0, 1, 1}));
  // With calls in them, of names to be aligned, too.
  const std::string names = "G: Ellipse;A, B: Point;a: Real;";
  const std::string others = "H: Ellipse;P, Q: Point;b: Real;";
  for (const auto& [gold, pred] : std::vector<std::pair<std::string, std::string>>{
           {"Length(G) = 4", "Length(H)-4 = 0"},
           {"Length(G) = 4", "2*Length(H) = 8"},
           {"Length(G) = 4", "-Length(H) = -4"},
           {"Distance(A,B) = a", "2*Distance(Q,P) = 2*b"},
           {"Length(G)+Area(G) = a", "2*b = 2*Area(H)+2*Length(H)"}}) {
    EXPECT_EQ(Score(names + gold, others + pred, kStrict), (Numbers{5, 5, 5})) << pred;
  }
  EXPECT_EQ(Score("a: Real;b: Real;a = b", "c: Real;d: Real;2*c = 2*d", kStrict),
            (Numbers{3, 3, 3}));
  EXPECT_EQ(Score("a: Real;b: Real;a = b", "c: Real;d: Real;2*c = 3*d", kStrict),
            (Numbers{2, 3, 3}));
  for (const auto& [gold, pred] : std::vector<std::pair<std::string, std::string>>{
           {"Length(G) = 4", "Length(H) = 5"},
           {"Length(G) = 4", "4*Length(H) = 1"},
           {"Length(G)+Area(G) = a", "Length(H)-Area(H) = b"}}) {
    EXPECT_EQ(Score(names + gold, others + pred, kStrict), (Numbers{4, 5, 5})) << pred;
  }
}

TEST(ConicAlignment, RepeatedAndReorderedStatementsMatchOnce) {
  EXPECT_EQ(Score("P1: Point;f(P1);f(P1)", "Q1: Point;f(Q1)"), (Numbers{2, 3, 2}));
  EXPECT_EQ(Score("P1: Point;f(P1)", "Q1: Point;f(Q1);f(Q1);f(Q1)"), (Numbers{2, 2, 4}));
  EXPECT_EQ(Score("P1: Point;P2: Point;f(P1, P2);g(P2)", "Q1: Point;Q2: Point;f(Q2, Q1);g(Q1)"),
            (Numbers{4, 4, 4}));
  EXPECT_EQ(Score("P1: Point;P2: Point;f(P1, P2);g(P2)", "Q1: Point;Q2: Point;f(Q1, Q2);g(Q1)"),
            (Numbers{3, 4, 4}));
}

// The best over all one-to-one maps, by trying them all.
int64_t MatchedByForce(const std::vector<std::pair<int, int>>& gold,
                       const std::vector<std::pair<int, int>>& pred, int num_names) {
  std::vector<int> image(static_cast<size_t>(num_names));
  for (int i = 0; i < num_names; ++i) image[static_cast<size_t>(i)] = i;
  int64_t best = 0;
  do {
    std::vector<bool> taken(gold.size(), false);
    int64_t matched = 0;
    for (const auto& [a, b] : pred) {
      for (size_t j = 0; j < gold.size(); ++j) {
        if (taken[j] || gold[j].first != image[static_cast<size_t>(a)] ||
            gold[j].second != image[static_cast<size_t>(b)]) {
          continue;
        }
        taken[j] = true;
        ++matched;
        break;
      }
    }
    best = std::max(best, matched);
  } while (std::next_permutation(image.begin(), image.end()));
  return best;
}

TEST(ConicAlignment, IsTheBestOfAllAlignments) {
  std::mt19937 random(std::random_device{}());
  for (int round = 0; round < 60; ++round) {
    const int num_names = 2 + static_cast<int>(random() % 6);
    const auto make = [&](size_t count) {
      std::vector<std::pair<int, int>> arrows;
      for (size_t i = 0; i < count; ++i) {
        arrows.emplace_back(random() % static_cast<unsigned>(num_names),
                            random() % static_cast<unsigned>(num_names));
      }
      return arrows;
    };
    const auto write = [&](const std::vector<std::pair<int, int>>& arrows, const char* prefix) {
      std::string text;
      for (int i = 0; i < num_names; ++i) text += Str(prefix, i, ": Point;");
      for (const auto& [a, b] : arrows) text += Str("VectorOf(", prefix, a, ", ", prefix, b, ");");
      return text;
    };
    const auto gold = make(1 + random() % 14);
    const auto pred = make(1 + random() % 14);
    const std::string gold_text = write(gold, "gold");
    const std::string pred_text = write(pred, "pred");
    EXPECT_EQ(Score(gold_text, pred_text)[0], num_names + MatchedByForce(gold, pred, num_names))
        << gold_text << "\n"
        << pred_text;
  }
}

TEST(ConicAlignment, TwelveRenamedNamesOfOneConceptAreFound) {
  const std::string letters = "ABCDEFGHIJKL";
  std::string gold;
  std::string pred;
  for (size_t i = 0; i < letters.size(); ++i) {
    gold += Str(letters[i], ": Point;");
    pred += Str("name", i, ": Point;");
  }
  for (size_t i = 0; i < letters.size(); ++i) {
    const size_t next = (i + 1) % letters.size();
    const size_t other = (5 * i + 2) % letters.size();
    gold += Str("LineSegmentOf(", letters[i], ", ", letters[next], ") = ", i % 3, ";");
    pred += Str("LineSegmentOf(name", i, ", name", next, ") = ", i % 3, ";");
    gold += Str("IsPerpendicular(LineOf(", letters[i], ", ", letters[other], "), l);");
    pred += Str("IsPerpendicular(LineOf(name", i, ", name", other, "), l);");
  }
  EXPECT_EQ(Score(gold, pred), (Numbers{36, 36, 36}));
}

// Inputs that would stop the authors' scorer: each is scored. ckv bench conic measures how quickly,
// on larger ones.
TEST(ConicHostile, EveryInputIsScored) {
  const std::string gold =
      "G: Ellipse;F1: Point;F2: Point;Focus(G) = {F1, F2};Eccentricity(G) = 1/2;Expression(G) = ?";
  std::vector<std::string> inputs;
  inputs.emplace_back(200000, '(');
  inputs.emplace_back(200000, ')');
  inputs.emplace_back("Eccentricity(G) = 9^9^9^9;x = 10^(10^(10^10))");
  std::string many;
  for (int i = 0; i < 3000; ++i) many += Str("P", i, ": Point;f(P", i, ");");
  inputs.push_back(many);
  many.clear();
  for (int i = 0; i < 20000; ++i) many += Str("Eccentricity(G) = ", i, "/7;");
  inputs.push_back("G: Ellipse;" + many);
  inputs.emplace_back("\xff\xfe\x80G: Ell\xc3ipse;\xc3(");
  inputs.emplace_back(std::string("G: Ellipse;Focus(G)\0 = 1", 24));
  inputs.push_back(std::string(100000, 'x') + ": Point;f(" + std::string(100000, 'x') + ")");
  inputs.push_back(std::string(100000, '(') + "1" + std::string(100000, ')'));
  inputs.push_back("Eccentricity(G) = " + std::string(100000, '9'));
  std::string sum = "x";
  for (int i = 0; i < 10000; ++i) sum += Str("+f(", i, ")");
  inputs.push_back(sum);
  inputs.emplace_back("__import__(\"os\").system(\"true\");exec(x);open(x)");
  for (const std::string& input : inputs) {
    for (const Mode mode : {Mode::kCompat, Mode::kStrict}) {
      const QuestionScore score = ScoreQuestion(gold, input, mode);
      EXPECT_LE(score.common, score.num_gold);
      EXPECT_LE(score.common, score.num_predicted);
      const QuestionScore own = ScoreQuestion(input, input, mode);
      EXPECT_LE(own.common, own.num_gold);
    }
  }
  const QuestionScore code = ScoreQuestion(gold, inputs.back(), Mode::kCompat);
  EXPECT_EQ(code.num_predicted, 2);  // exec(x) and open(x) are operators of those names
}

}  // namespace
}  // namespace ckv::conic
