// Reading data and prediction files, and what is said about broken ones.

#include "conic/predictions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/temp_dir.h"

namespace ckv::conic {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ConicFiles : public ::testing::Test {
 protected:
  std::string Write(const std::string& content) {
    const std::string path = dir_.File("file" + std::to_string(number_++));
    WriteFileAtomically(path, content);
    return path;
  }
  std::string MessageOf(const std::string& content, size_t num_gold) {
    try {
      ReadPredictions(Write(content), num_gold);
    } catch (const FormatError& error) {
      return error.what();
    }
    return "no error";
  }
  TempDir dir_;
  int number_ = 0;
};

TEST_F(ConicFiles, PredictionsAreLinesStringsOrObjects) {
  EXPECT_THAT(ReadPredictions(Write("a\n\nc\n"), 3).rows, ElementsAre("a", "", "c"));
  EXPECT_THAT(ReadPredictions(Write("\"a;b\"\n\"c\\nd\"\n"), 2).rows, ElementsAre("a;b", "c\nd"));
  const PredictionFile file =
      ReadPredictions(Write("{\"index\": 2, \"pred\": \"z\"}\n{\"index\": 0, \"text\": \"x\"}"), 3);
  EXPECT_THAT(file.rows, ElementsAre("x", "", "z"));
  EXPECT_EQ(file.missing, 1);
  // A mark in front of UTF-8, a list, statements that look like JSON.
  EXPECT_THAT(ReadPredictions(Write("\xef\xbb\xbf\"a\"\n"), 1).rows, ElementsAre("a"));
  EXPECT_THAT(ReadPredictions(Write("\xef\xbb\xbf"
                                    "a\nb\n"),
                              2)
                  .rows,
              ElementsAre("a", "b"));
  EXPECT_THAT(ReadPredictions(Write("[\"a\", {\"pred\": \"b\"}]\n"), 2).rows,
              ElementsAre("a", "b"));
  EXPECT_THAT(ReadPredictions(Write("[{\"index\": 1, \"pred\": \"b\"},\n\"c\"]"), 3).rows,
              ElementsAre("", "b", "c"));
  EXPECT_THAT(ReadPredictions(Write("{A, B} = f(C)\n[1, 2] = I\n"), 2).rows,
              ElementsAre("{A, B} = f(C)", "[1, 2] = I"));
  EXPECT_THAT(ReadPredictions(Write("[1, 2] = I\n"), 1).rows, ElementsAre("[1, 2] = I"));
}

TEST_F(ConicFiles, BrokenPredictionsAreToldWithTheirLine) {
  EXPECT_THAT(MessageOf("{\"pred\": 3}\n", 1), HasSubstr("line 1"));
  EXPECT_THAT(MessageOf("{\"pred\": \"a\"}\n{", 2), HasSubstr("line 2"));
  EXPECT_THAT(MessageOf("{\"pred\": \"a\", \"index\": 5}", 2), HasSubstr("from 0 to 1"));
  EXPECT_THAT(MessageOf("{\"pred\": \"a\", \"index\": 0}\n{\"pred\": \"a\", \"index\": 0}", 2),
              HasSubstr("a second prediction for row 0"));
  EXPECT_THAT(MessageOf("a\nb\nc\n", 2), HasSubstr("more predictions than the 2 gold rows"));
  EXPECT_THAT(MessageOf("a\n", 2), HasSubstr("1 predictions for 2 gold rows"));
}

TEST_F(ConicFiles, GoldIsReadFromBothForms) {
  const std::string row =
      "{\"text\": \"T\", \"fact_expressions\": \"G: Ellipse;a > 1\", \"query_expressions\": "
      "\"a\", \"answer_expressions\": \" 3 \", \"fact_spans\": \"[[[0, 1]], []]\", "
      "\"query_spans\": \"[[]]\", \"process\": \"\"}";
  const std::string path = Write("[" + row + "]");
  EXPECT_EQ(ReadGold(path, Task::kParsing, false).at(0).gold, "G: Ellipse;a > 1;a = ?");
  EXPECT_EQ(ReadGold(path, Task::kParsing, true).at(0).gold, "G : Ellipse ; a >1 ; a = ?");
  EXPECT_EQ(ReadGold(path, Task::kAnswer, true).at(0).gold, "3");
  EXPECT_EQ(ReadProblems(path).at(0).fact_spans.at(0).at(0), Span(0, 1));
  EXPECT_EQ(ReadGold(Write("{\"gold\": \"a\"}\n{\"gold\": \"b\"}\n"), Task::kAnswer, false).size(),
            2u);
}

TEST_F(ConicFiles, ABrokenDataFileIsToldByRowAndField) {
  try {
    ReadProblems(Write("[{\"text\": 3}]"));
    FAIL() << "no error";
  } catch (const FormatError& error) {
    EXPECT_THAT(error.what(), HasSubstr("row 0"));
    EXPECT_THAT(error.what(), HasSubstr("'text' must be a string, not number"));
  }
}

TEST(ConicPrompts, OutputsAreReadBetweenTheirMarks) {
  EXPECT_EQ(ReadOutput(" a : B</s> \" is more", Task::kParsing), "a : B");
  EXPECT_EQ(ReadOutput(" 3</s>", Task::kAnswer), "3");
  EXPECT_EQ(ReadOutput("【解析】x【答案】1<eoa>【答案】 2 <eoa>y", Task::kReasoning), "2");
  EXPECT_EQ(ReadOutput("【答案】2", Task::kReasoning), "2");
  EXPECT_EQ(ReadOutput("2", Task::kReasoning), "");
}

TEST(ConicPrompts, SpacingParsesDigitsTightly) {
  EXPECT_EQ(Spaced("x^2>=1.5;  y=( 3)"), "x ^2 > =1 .5 ; y = (3 ) ");
}

}  // namespace
}  // namespace ckv::conic
