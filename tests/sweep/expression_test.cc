#include "sweep/expression.h"

#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;

bool Holds(const std::string& text) {
  static const std::map<std::string, std::string> kKeys = {
      {"a.b", "6"}, {"lr", "3e-4"}, {"name", "\"0_1\""}, {"on", "true"}, {"word", "sdpa"}};
  return Expression(text, "s.yaml").Holds([](const std::string& key) {
    const auto found = kKeys.find(key);
    return found == kKeys.end() ? std::nullopt : std::optional<std::string>(found->second);
  });
}

TEST(Expression, Arithmetic) {
  EXPECT_TRUE(Holds("a.b * 2 + 1 == 13"));
  EXPECT_TRUE(Holds("1 + 2 * 3 - 4 / 2 == 5"));
  EXPECT_TRUE(Holds("10 - 3 - 2 == 5"));
  EXPECT_TRUE(Holds("(1 + 2) * 3 == 9"));
  EXPECT_TRUE(Holds("a.b % 4 == 2 and -a.b < 0"));
  EXPECT_TRUE(Holds("lr <= 1e-3"));
  EXPECT_FALSE(Holds("lr > 0.001"));
}

TEST(Expression, Conditions) {
  EXPECT_TRUE(Holds("on && !(a.b != 6)"));
  EXPECT_TRUE(Holds("not on or word == 'sdpa'"));
  EXPECT_TRUE(Holds("name == '0_1'"));
  EXPECT_TRUE(Holds("on or missing == 1"));  // the right side is not looked at
  EXPECT_FALSE(Holds("on == false"));
}

TEST(Expression, SaysWhatIsWrong) {
  const auto error = [](const std::string& text) { return ErrorOf([&] { Holds(text); }); };
  EXPECT_EQ(error("a.c > 1"), "2: s.yaml: in 'a.c > 1': there is no key 'a.c'");
  EXPECT_EQ(error("a.b"),
            "2: s.yaml: in 'a.b': a condition is needed where a number or text stands");
  EXPECT_EQ(error("a.b / 0 > 1"), "2: s.yaml: in 'a.b / 0 > 1': it divides by zero");
  EXPECT_EQ(error("word < 1"), "2: s.yaml: in 'word < 1': a number and a text have no order");
  EXPECT_EQ(error("(1 == 1"), "2: s.yaml: in '(1 == 1': a ')' is missing");
  EXPECT_EQ(error("1 == 1 2"), "2: s.yaml: in '1 == 1 2': '2' is not understood");
  EXPECT_EQ(error("1 =="), "2: s.yaml: in '1 ==': it ends where a value is needed");
  EXPECT_THAT(error(std::string(500, '(')), HasSubstr("nested too deeply"));
}

}  // namespace
}  // namespace ckv
