#include "config/yaml_writer.h"

#include <cmath>
#include <cstring>
#include <limits>

#include <gtest/gtest.h>

#include "base/random.h"
#include "config/yaml_reader.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

TEST(StringYaml, LeavesCommonTextPlain) {
  for (const char* text : {"cosine", "configs/base/tiny.yaml", "/data/x", "two words", "_x"}) {
    EXPECT_EQ(StringYaml(text), text);
  }
}

TEST(StringYaml, QuotesWhatYamlWouldReadOtherwise) {
  EXPECT_EQ(StringYaml(""), "\"\"");
  EXPECT_EQ(StringYaml("null"), "\"null\"");
  EXPECT_EQ(StringYaml("No"), "\"No\"");
  EXPECT_EQ(StringYaml("12"), "\"12\"");
  EXPECT_EQ(StringYaml("a: b"), "\"a: b\"");
  EXPECT_EQ(StringYaml("a "), "\"a \"");
  EXPECT_EQ(StringYaml("say \"x\\y\""), "\"say \\\"x\\\\y\\\"\"");
  EXPECT_EQ(StringYaml("a\nb\tc"), "\"a\\nb\\tc\"");
  EXPECT_EQ(StringYaml("\x7f\xc2\x85\xe2\x80\xa8"), "\"\\x7f\\x85\\u2028\"");
  EXPECT_EQ(StringYaml("\xc3\xa9"), "\"\xc3\xa9\"");
}

TEST(StringYaml, RefusesWhatIsNotUtf8) {
  EXPECT_EQ(ErrorOf([] { StringYaml("a\xff"); }),
            "2: 'a\\xff' is not UTF-8, so YAML cannot hold it");
}

// Any text of any characters must come back from YAML as it was.
TEST(StringYaml, ReadsBackEqualForAnyUtf8) {
  Random random(7);
  const std::string special = ":#-?[]{},&*!|>'\"%@`\\ \n\t\r~=<_0.eE+";
  for (int round = 0; round < 5000; ++round) {
    std::string text;
    const uint64_t length = random.Below(12);
    for (uint64_t i = 0; i < length; ++i) {
      switch (random.Below(5)) {
        case 0:
          text += static_cast<char>(random.Below(128));
          break;
        case 1:
          text += static_cast<char>(0xc2 + random.Below(30));
          text += static_cast<char>(0x80 + random.Below(64));
          break;
        case 2:
          text += static_cast<char>(0xe1 + random.Below(12));
          text += static_cast<char>(0x80 + random.Below(64));
          text += static_cast<char>(0x80 + random.Below(64));
          break;
        case 3:
          text += "\xf0\x9f\x98\x80";
          break;
        default:
          text += special[random.Below(special.size())];
      }
    }
    const ConfigValue value = ReadYaml("k: " + StringYaml(text) + "\n", "t.yaml");
    ASSERT_EQ(AsString(*value.Find("k"), "k"), text) << StringYaml(text);
    ASSERT_EQ(ReadYaml("[" + StringYaml(text) + "]", "t.yaml").items().at(0).text(), text);
  }
}

TEST(DoubleYaml, IsShortAndReadsAsAFraction) {
  EXPECT_EQ(DoubleYaml(0.1), "0.1");
  EXPECT_EQ(DoubleYaml(1), "1.0");
  EXPECT_EQ(DoubleYaml(-0.0), "-0.0");
  EXPECT_EQ(DoubleYaml(3e-4), "3e-4");
  EXPECT_EQ(DoubleYaml(1e5), "1e5");
  EXPECT_EQ(DoubleYaml(1e100), "1e100");
  EXPECT_EQ(DoubleYaml(1.0 / 3), "0.3333333333333333");
}

TEST(DoubleYaml, RefusesInfinity) {
  EXPECT_NE(ErrorOf([] { DoubleYaml(std::numeric_limits<double>::infinity()); }), "");
}

TEST(DoubleYaml, ReadsBackToTheLastBit) {
  Random random(11);
  for (int round = 0; round < 20000; ++round) {
    const uint64_t bits = random.Next();
    double number = 0;
    std::memcpy(&number, &bits, sizeof(number));
    if (!std::isfinite(number)) continue;
    const double back = AsDouble(ConfigValue::Scalar(DoubleYaml(number)), "x");
    ASSERT_EQ(std::memcmp(&back, &number, sizeof(number)), 0) << DoubleYaml(number);
  }
}

TEST(FlowYaml, WritesNestedValuesOnOneLine) {
  const ConfigValue value = ReadYaml("a: [1, x, '2', {b: ~}]\nc d: []\n", "t.yaml");
  EXPECT_EQ(FlowYaml(value), "{a: [1, x, \"2\", {b: null}], c d: []}");
}

TEST(ShortText, CutsAndEscapes) {
  EXPECT_EQ(ShortText("abc\n\xff"), "abc\\n\\xff");
  EXPECT_EQ(ShortText("abcdef", 3), "abc...");
  EXPECT_EQ(ShortText("abc", 3), "abc");
}

TEST(FindInvalidUtf8, FindsTheFirstFault) {
  EXPECT_EQ(FindInvalidUtf8("a\xc3\xa9z"), std::string_view::npos);
  EXPECT_EQ(FindInvalidUtf8("a\xc3"), 1u);
  EXPECT_EQ(FindInvalidUtf8("\xc0\xaf"), 0u);          // overlong
  EXPECT_EQ(FindInvalidUtf8("\xed\xa0\x80"), 0u);      // surrogate
  EXPECT_EQ(FindInvalidUtf8("\xf4\x90\x80\x80"), 0u);  // beyond U+10FFFF
}

}  // namespace
}  // namespace ckv
