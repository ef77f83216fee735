#include "tasks/python_text.h"

#include <gtest/gtest.h>

#include "tasks/filters.h"

namespace ckv {
namespace {

TEST(PythonText, StripsUnicodeSpace) {
  EXPECT_EQ(Strip(" \t\xC2\xA0"
                  "a b\xE2\x80\xA8\n"),
            "a b");
  EXPECT_EQ(StripRight("a \x1c"), "a");
  EXPECT_EQ(StripLeft("\xE3\x80\x80x "), "x ");
  EXPECT_EQ(Strip("\xE2\x80\x8B"), "\xE2\x80\x8B");  // zero width space is none
  EXPECT_EQ(Strip(" \n "), "");
}

// What Python 3.11 gives.
TEST(PythonText, Case) {
  EXPECT_EQ(Capitalized("a Boy from PARIS"), "A boy from paris");
  EXPECT_EQ(Capitalized("\xC3\xA4RGER \xC3\x96L"), "\xC3\x84rger \xC3\xB6l");
  EXPECT_EQ(LowerCase("\xCE\x91\xD0\x96\xC5\xB8\xC4\xB9"), "\xCE\xB1\xD0\xB6\xC3\xBF\xC4\xBA");
  EXPECT_EQ(UpperCase("\xCE\xB1\xD1\x9F"), "\xCE\x91\xD0\x8F");
  EXPECT_EQ(LowerCase("3\xC3\x97\xE6\xB0\xB4"), "3\xC3\x97\xE6\xB0\xB4");
}

TEST(PythonText, CountsWordsAsASplitDoes) {
  EXPECT_EQ(NumSplitWords("a b"), 2);
  EXPECT_EQ(NumSplitWords(" a \n b "), 4);  // empty texts at both ends
  EXPECT_EQ(NumSplitWords(""), 1);
  EXPECT_EQ(NumCodePoints("a\xC3\xA4\xE6\xB0\xB4"), 3);
}

TEST(PythonText, ReplacesFromTheLeft) {
  EXPECT_EQ(ReplaceAll("aaa", "aa", "b"), "ba");
  EXPECT_EQ(ReplaceAll("a   b", "  ", " "), "a  b");
}

// What the harness's functions give.
TEST(Filters, HellaSwag) {
  EXPECT_EQ(CleanHellaSwag(" [header] How [title] Take  it [step] on [x\ny] "),
            " How. Take it on [x\ny]");
}

TEST(Filters, WikiText) {
  EXPECT_EQ(
      DetokenizeWikiText(" = A = \n \n The ( big ) 1 @,@ 000 dogs ' \" x \" , it 's 5 @.@ 2 . \n"),
      " = A =\n\nThe (big) 1,000 dogs'\"x\", it's 5.2.\n");
  EXPECT_EQ(DetokenizeWikiText("= = B = ="), "== B ==");
  EXPECT_EQ(DetokenizeWikiText("( )[ a"), "()[ a");
}

}  // namespace
}  // namespace ckv
