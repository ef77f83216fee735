// What statements read as, and what is said about those that cannot be read.

#include "conic/parser.h"

#include <gtest/gtest.h>

#include "base/str.h"
#include "conic/annotation.h"

namespace ckv::conic {
namespace {

std::string Tree(const std::string& text, Mode mode = Mode::kCompat) {
  TermPool pool;
  ReadFault fault;
  const std::optional<TermId> id = ReadStatement(text, {}, mode, &pool, &fault);
  return id.has_value() ? ToText(pool, *id) : Str("column ", fault.offset + 1, ": ", fault.what);
}

TEST(ConicParser, KeepsWhatIsWritten) {
  EXPECT_EQ(Tree("1+1"), "(+ 1 1)");
  EXPECT_EQ(Tree("a+(b+c)-d"), "(+ a b c (* -1 d))");
  EXPECT_EQ(Tree("a/b/c"), "(* a (^ b -1) (^ c -1))");
  EXPECT_EQ(Tree("2^-a^b"), "(^ 2 (* -1 (^ a b)))");
  EXPECT_EQ(Tree("x * *2"), "(^ x 2)");
  EXPECT_EQ(Tree("sqrt(x)+cbrt(y)"), "(+ (^ x 1/2) (^ y 1/3))");
  EXPECT_EQ(Tree("120000"), "120000");
  EXPECT_EQ(Tree("1e3"), "float:1000.0");
}

TEST(ConicParser, CarriesSignsOut) {
  EXPECT_EQ(Tree("--a"), "a");
  EXPECT_EQ(Tree("-(-2*a)"), "(* 2 a)");
  EXPECT_EQ(Tree("-(a*2)"), "(* -1 a 2)");
  EXPECT_EQ(Tree("-(2*3*a)"), "(* -6 a)");
  EXPECT_EQ(Tree("-(0.5*a)"), "(* float:-0.5 a)");
  EXPECT_EQ(Tree("-a*b"), "(* (* -1 a) b)");
}

TEST(ConicParser, EqualsSignsSpanTheirGroup) {
  EXPECT_EQ(Tree("f(y=1, x>0)"), "(f (Eq y 1 (> x 0)))");
  EXPECT_EQ(Tree("f(y=1, x>0)", Mode::kStrict), "(f (Eq y 1) (> x 0))");
  EXPECT_EQ(Tree("a="), "(Eq a)");
  EXPECT_EQ(Tree("{y=1,2}"), "(set (Eq y 1 2))");
  EXPECT_EQ(Tree("a>b>0"), "(> a b)");
  EXPECT_EQ(Tree("a>b>0", Mode::kStrict), "(And (> a b) (> b 0))");
  EXPECT_EQ(Tree("x > =1", Mode::kStrict), "(>= x 1)");
  EXPECT_EQ(Tree("x=1 .5", Mode::kStrict), "(Eq x float:1.5)");
}

TEST(ConicParser, FaultsNamePlaceAndExpectation) {
  EXPECT_EQ(Tree("f(a, b"),
            "column 7: ')' is expected, which closes '(' at column 2; found the end of the line");
  EXPECT_EQ(Tree("f(a b)"), "column 5: an operator is expected, found 'b'");
  EXPECT_EQ(Tree("a + * b"), "column 5: a number, a name or a bracket is expected, found '*'");
  EXPECT_EQ(Tree("2x"), "column 2: a name right after a number; write '*' between them");
  EXPECT_EQ(Tree("x = $y"), "column 5: '$' is no character of the language");
  EXPECT_EQ(Tree("(a > b)*2"), "column 8: a comparison cannot be an operand of '*'");
  EXPECT_EQ(Tree("sqrt(a, b)"), "column 1: 'sqrt' takes one argument, found 2");
  EXPECT_EQ(Tree("Point(a)"), "column 1: 'Point' cannot be called");
  EXPECT_EQ(Tree("a if b"), "column 3: an operator is expected, found 'if'");
  EXPECT_EQ(Tree("a = b)"), "column 6: an operator, '=', ',' or the end is expected, found ')'");
  // Places are those of the text as given, not as rewritten.
  EXPECT_EQ(Tree("lambda^2 + F_{1} $"), "column 18: '$' is no character of the language");
}

TEST(ConicParser, FaultsOfLinesCountLinesAndColumns) {
  std::vector<LineFault> faults;
  TermPool pool;
  const std::vector<Line> lines = SplitLines("a = 1; f(\n  g(x) = ? $ = ?\n P Q: Point");
  ReadDeclarations(lines, &faults);
  ReadStatements(lines, {}, Mode::kCompat, &pool, &faults);
  ASSERT_EQ(faults.size(), 3u);
  EXPECT_EQ(faults[0].ToString(), "line 3, column 2: a name of letters, digits and _ is expected");
  EXPECT_EQ(faults[1].line, 1u);
  EXPECT_EQ(faults[1].column, 10u);
  EXPECT_EQ(faults[2].ToString(), "line 2, column 12: '$' is no character of the language");
}

TEST(ConicParser, NestingIsBounded) {
  for (const char* piece : {"(", "[", "{", "f(", "-(", "a^(", "((("}) {
    std::string text;
    for (int i = 0; i < 100000; ++i) text += piece;
    EXPECT_NE(Tree(text).find("nested"), std::string::npos) << piece;
  }
  for (const char* piece : {"a^", "a&", "a|", "~"}) {
    std::string text;
    for (int i = 0; i < 100000; ++i) text += piece;
    EXPECT_NE(Tree(text + "a").find("nested"), std::string::npos) << piece;
  }
  EXPECT_EQ(Tree(std::string(100000, '-') + "a"), "a");
}

}  // namespace
}  // namespace ckv::conic
