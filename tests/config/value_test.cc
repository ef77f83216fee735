#include "config/value.h"

#include <gtest/gtest.h>

#include "tests/temp_dir.h"

namespace ckv {
namespace {

ConfigValue At(ConfigValue value) {
  value.set_origin("a.yaml:3:7");
  return value;
}

ConfigValue Plain(const std::string& text) { return At(ConfigValue::Scalar(text)); }
ConfigValue Quoted(const std::string& text) { return At(ConfigValue::Scalar(text, true)); }

TEST(AsBool, TakesTrueAndFalseOnly) {
  EXPECT_TRUE(AsBool(Plain("true"), "a"));
  EXPECT_FALSE(AsBool(Plain("False"), "a"));
  EXPECT_EQ(ErrorOf([] { AsBool(Plain("yes"), "a.b"); }),
            "2: a.yaml:3:7: 'a.b' is 'yes' (a string), but must be true or false");
  EXPECT_EQ(ErrorOf([] { AsBool(Plain("1"), "a.b"); }),
            "2: a.yaml:3:7: 'a.b' is '1' (an integer), but must be true or false");
}

TEST(AsInt, TakesUnderscoresBetweenDigits) {
  EXPECT_EQ(AsInt(Plain("1_000_000"), "a"), 1000000);
  EXPECT_EQ(AsInt(Plain("-7"), "a"), -7);
  EXPECT_EQ(AsInt(Plain("+7"), "a"), 7);
  EXPECT_EQ(AsInt(Plain("0"), "a"), 0);
}

TEST(AsInt, TakesTheWholeRange) {
  EXPECT_EQ(AsInt(Plain("9223372036854775807"), "a"), INT64_MAX);
  EXPECT_EQ(AsInt(Plain("-9223372036854775808"), "a"), INT64_MIN);
  EXPECT_EQ(ErrorOf([] { AsInt(Plain("9223372036854775808"), "n"); }),
            "2: a.yaml:3:7: 'n' is '9223372036854775808' (an integer), but must be an integer of "
            "at most 64 bits");
}

TEST(AsInt, RefusesOtherSpellings) {
  for (const char* text : {"1.0", "1e3", "0x10", "012", "_1", "1_", "1__0", "-", "+", "", "1 2"}) {
    EXPECT_NE(ErrorOf([&] { AsInt(Plain(text), "n"); }), "") << text;
  }
}

TEST(AsInt, RefusesAQuotedNumber) {
  EXPECT_EQ(ErrorOf([] { AsInt(Quoted("3"), "n"); }),
            "2: a.yaml:3:7: 'n' is '3' (a quoted string), but must be an integer");
}

TEST(AsDouble, TakesIntegersAndFractions) {
  EXPECT_EQ(AsDouble(Plain("3"), "a"), 3.0);
  EXPECT_EQ(AsDouble(Plain("1_000"), "a"), 1000.0);
  EXPECT_EQ(AsDouble(Plain("3e-4"), "a"), 3e-4);
  EXPECT_EQ(AsDouble(Plain("+.5"), "a"), 0.5);
  EXPECT_EQ(AsDouble(Plain("-2.E3"), "a"), -2000.0);
  EXPECT_EQ(AsDouble(Plain("5e-324"), "a"), 5e-324);
}

TEST(AsDouble, RefusesWhatIsNoFiniteNumber) {
  for (const char* text : {"inf", "nan", ".inf", ".nan", "-.inf", ".", "e5", "1e", "1_0.5", "0x1p3",
                           "1.5f", "--1", ""}) {
    EXPECT_NE(ErrorOf([&] { AsDouble(Plain(text), "x"); }), "") << text;
  }
  EXPECT_EQ(ErrorOf([] { AsDouble(Plain("1e999"), "x"); }),
            "2: a.yaml:3:7: 'x' is '1e999' (a number), but must be a number that a double can "
            "hold");
}

TEST(AsString, TakesEveryScalar) {
  EXPECT_EQ(AsString(Plain("0_6_6"), "a"), "0_6_6");
  EXPECT_EQ(AsString(Plain("true"), "a"), "true");
  EXPECT_EQ(AsString(Quoted(""), "a"), "");
}

TEST(AsString, NamesWhatIsNoScalar) {
  EXPECT_EQ(ErrorOf([] { AsString(At(ConfigValue::List()), "a"); }),
            "2: a.yaml:3:7: 'a' is a list, but must be a string");
  EXPECT_EQ(ErrorOf([] { AsString(At(ConfigValue::Map()), "a"); }),
            "2: a.yaml:3:7: 'a' is a map, but must be a string");
  EXPECT_EQ(ErrorOf([] { AsString(At(ConfigValue()), "a"); }),
            "2: a.yaml:3:7: 'a' is null, but must be a string");
  EXPECT_EQ(ErrorOf([] { AsString(At(ConfigValue::NoValue()), "a"); }),
            "2: a.yaml:3:7: 'a' has no value, but must be a string");
}

TEST(ConfigValue, MessagesStayOnOneShortLine) {
  const std::string error = ErrorOf([] { AsInt(Plain("a\nb" + std::string(500, 'x')), "n"); });
  EXPECT_EQ(error.find('\n'), std::string::npos);
  EXPECT_LT(error.size(), 160u);
}

TEST(ConfigValue, QuotingCountsOnlyWhereItChangesTheType) {
  EXPECT_EQ(Plain("abc"), Quoted("abc"));
  EXPECT_NE(Plain("12"), Quoted("12"));
  EXPECT_NE(Plain("true"), Quoted("true"));
  EXPECT_NE(Plain("abc"), Plain("abd"));
}

TEST(ConfigValue, EqualityIgnoresOrigins) {
  EXPECT_EQ(ConfigValue::List({Plain("a")}), ConfigValue::List({ConfigValue::Scalar("a")}));
  EXPECT_NE(ConfigValue::Map({{"k", Plain("a")}}), ConfigValue::Map({{"j", Plain("a")}}));
  EXPECT_NE(ConfigValue::Map(), ConfigValue::List());
}

TEST(ConfigValue, FindGivesTheEntryOfAMap) {
  const ConfigValue map = ConfigValue::Map({{"a", Plain("1")}, {"b", Plain("2")}});
  ASSERT_NE(map.Find("b"), nullptr);
  EXPECT_EQ(map.Find("b")->text(), "2");
  EXPECT_EQ(map.Find("c"), nullptr);
  EXPECT_EQ(Plain("x").Find("a"), nullptr);
}

}  // namespace
}  // namespace ckv
