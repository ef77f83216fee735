// Equality of answers: every recorded pair, and rules one by one.

#include <gtest/gtest.h>

#include "conic/answer_parser.h"
#include "conic/answers.h"
#include "tests/conic/golden_rows.h"

namespace ckv::conic {
namespace {

class ConicAnswer : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam() && !HasExactArithmetic()) GTEST_SKIP() << "built without FLINT";
    arithmetic_ = GetParam() ? MakeExactArithmetic() : MakePointArithmetic();
  }
  bool Equal(const std::string& gold, const std::string& predicted) {
    return CheckAnswer(gold, predicted, arithmetic_.get()).equal;
  }
  // Either way round.
  void ExpectEach(bool equal, const std::vector<std::pair<const char*, const char*>>& pairs) {
    for (const auto& [a, b] : pairs) {
      EXPECT_EQ(Equal(a, b), equal) << a << " " << b;
      EXPECT_EQ(Equal(b, a), equal) << b << " " << a;
    }
  }
  std::unique_ptr<Arithmetic> arithmetic_;
};

TEST_P(ConicAnswer, RecordedPairsHaveTheirVerdicts) {
  const std::vector<std::string> files = GoldenFiles("answers", ".jsonl");
  if (files.empty()) GTEST_SKIP() << "no fixtures conic/answers*.jsonl";
  for (const std::string& file : files) {
    for (const Json& row : ReadRows(file)) {
      const std::string gold = row.at("gold");
      const std::string pred = row.at("pred");
      EXPECT_EQ(Equal(gold, pred), row.at("equal").get<bool>())
          << row.value("id", "") << " " << row.value("kind", "") << ": '" << gold << "' and '"
          << pred << "'";
    }
  }
}

TEST_P(ConicAnswer, NumbersAreEqualByValue) {
  EXPECT_TRUE(Equal("sqrt(2)+sqrt(3)", "sqrt(5+2*sqrt(6))"));
  EXPECT_TRUE(Equal("cbrt(2)", "2^(1/3)"));
  EXPECT_TRUE(Equal("1/(sqrt(3)-sqrt(2))", "sqrt(3)+sqrt(2)"));
  EXPECT_TRUE(Equal("Abs(-3)", "3"));
  EXPECT_TRUE(Equal("pi/4", "ApplyUnit(45, degree)"));
  EXPECT_FALSE(Equal("sqrt(2)+sqrt(3)", "sqrt(10)"));
  EXPECT_FALSE(Equal("pi", "3.14159265358979"));
  EXPECT_FALSE(Equal("a", "b"));
  EXPECT_TRUE(Equal("(a^2-b^2)/(a-b)", "a+b"));
  // However many roots there are, in whatever order.
  std::string sum;
  std::string turned;
  for (int i = 2; i < 20; ++i) {
    const std::string root = "sqrt(" + std::to_string(10 * i + 1) + ")*" + std::to_string(i);
    sum += (i > 2 ? "+" : "") + root;
    turned = std::to_string(i) + "*sqrt(" + std::to_string(10 * i + 1) + ")" +
             (turned.empty() ? "" : "+") + turned;
  }
  EXPECT_TRUE(Equal(sum, turned));
  EXPECT_FALSE(Equal("1/0+1", "1+1/0"));
}

TEST_P(ConicAnswer, OrderAndShapeCount) {
  EXPECT_FALSE(Equal("(1,2)", "{1,2}"));
  EXPECT_FALSE(Equal("1,2", "2,1"));
  EXPECT_TRUE(Equal("{(1,0),(-1,0)}", "(pm*1,0)"));
  EXPECT_TRUE(Equal("[0,pi/4)+[3*pi/4,pi)", "[3*pi/4, pi)+[0, pi/4)"));
  EXPECT_FALSE(Equal("(0,2)", "(0,1)+(1,2)"));
  EXPECT_TRUE(Equal("(0,2)&Negation(k=1)", "(0,1)+(1,2)"));
  EXPECT_TRUE(Equal("{1}", "1"));
  EXPECT_TRUE(Equal("{1,1}", "1"));
}

TEST_P(ConicAnswer, ANamedValueIsTheValue) {
  ExpectEach(true, {{"(1,2)", "P=(1,2)"},
                    {"P=(1,2)", "(2/2,2)"},
                    {"P=(1,2)", "P=(2/2,2)"},
                    {"{1,2}", "a={2,1}"},
                    {"a={1,2}", "a={2,1}"},
                    {"{1,2}={2,1}", "{1,2}={2,1} "},
                    {"[1,2]", "e=[1,2]"},
                    {"m=[1,2]", "[2/2,2]=m"},
                    {"m=(1,oo)", "m>1"},
                    {"(pm*1,0)", "P={(1,0),(-1,0)}"}});
  ExpectEach(false, {{"P=(1,2)", "Q=(1,2)"},
                     {"P=(1,2)", "(2,1)"},
                     {"(1,2)", "x=(1,2)"},
                     {"a={1,2}", "b={1,2}"},
                     {"e=[1,2]", "[1,2)"},
                     {"P=(1,2)", "P={1,2}"}});
}

TEST_P(ConicAnswer, LinearInequalitiesOfOneVariableAreSetsOfReals) {
  ExpectEach(true, {{"e<1", "2*e<2"},
                    {"e<1", "-e>-1"},
                    {"m>=sqrt(2)", "m-sqrt(2)>=0"},
                    {"m>1", "3*m>3"},
                    {"m>1&Negation(m=2)", "3*m>3&Negation(m=2)"},
                    {"y=x&m>0", "y=x&2*m>0"},
                    {"0<e<1", "0<2*e<2"},
                    {"(1,oo)", "2*m>2"}});
  ExpectEach(false, {{"e<1", "-e<-1"},
                     {"e<1", "2*e<=2"},
                     {"m>1", "m^2>m"},
                     {"m>0", "1/m>0"},
                     {"m>1", "0*m>-1"},
                     {"m>1", "2*m>3"}});
}

TEST_P(ConicAnswer, EquationsAreEqualUpToAFactorWithoutCoordinates) {
  EXPECT_TRUE(Equal("y=k*x", "2*k*x-2*y=0"));
  EXPECT_FALSE(Equal("y=x", "x*y=x^2"));
  EXPECT_FALSE(Equal("y=x", "y=-x"));
  EXPECT_FALSE(Equal("y^2=4*x", "4*x-y^2"));
}

TEST_P(ConicAnswer, UnreadablePredictionsAreWrongAndToldSo) {
  for (const char* text : {"$\\sqrt{2}$", "2 sqrt(2)", "2x", "(1,2", "the answer is 2", "1,", "[1]",
                           "x<y=3", "1;2;", "sqrt()", "sqrt(1,2)", "{1,2}+3"}) {
    const AnswerVerdict verdict = CheckAnswer("2", text, arithmetic_.get());
    EXPECT_FALSE(verdict.equal) << text;
    EXPECT_FALSE(verdict.readable) << text;
    EXPECT_NE(verdict.fault.find("column"), std::string::npos) << text << ": " << verdict.fault;
  }
  EXPECT_TRUE(CheckAnswer("椭圆", " 椭 圆", arithmetic_.get()).equal);
  EXPECT_FALSE(CheckAnswer("", "1", arithmetic_.get()).scored);
}

INSTANTIATE_TEST_SUITE_P(Arithmetic, ConicAnswer, ::testing::Bool(),
                         [](const auto& one) { return one.param ? "Exact" : "Points"; });

// A wrong digit behind the hundredth: only balls of growing precision tell.
TEST(ConicExactArithmetic, TellsNumbersApartThatDifferFarBehind) {
  if (!HasExactArithmetic()) GTEST_SKIP() << "built without FLINT";
  const std::unique_ptr<Arithmetic> exact = MakeExactArithmetic();
  const std::string third = "0." + std::string(200, '3');
  EXPECT_FALSE(CheckAnswer("1/3", third, exact.get()).equal);
  EXPECT_FALSE(CheckAnswer("1/3", third + "4", exact.get()).equal);
  const std::string root = "1.4142135623730950488016887242096980785696718753769480731766797379907";
  EXPECT_FALSE(CheckAnswer("sqrt(2)", root, exact.get()).equal);
  // Nested radicals that are equal need the bound on how near to zero a difference can be.
  EXPECT_TRUE(CheckAnswer("sqrt(11+6*sqrt(2))", "3+sqrt(2)", exact.get()).equal);
  EXPECT_TRUE(CheckAnswer("cbrt(7+5*sqrt(2))", "1+sqrt(2)", exact.get()).equal);
}

}  // namespace
}  // namespace ckv::conic
