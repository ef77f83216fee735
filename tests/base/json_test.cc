#include "base/json.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/temp_dir.h"

namespace ckv {
namespace {

TEST(ParseJson, ReadsAValue) {
  const Json value = ParseJson(R"({"a": [1, 2.5, "x"]})", "t.json");
  EXPECT_EQ(value["a"][0], 1);
  EXPECT_EQ(value["a"][2], "x");
}

TEST(ParseJson, NamesLineAndColumnOfAFault) {
  const std::string error = ErrorOf([] { ParseJson("{\n  \"a\": ]\n}", "t.json"); });
  EXPECT_EQ(error.find("3: t.json: line 2, column 8: not valid JSON"), 0u) << error;
}

TEST(ParseJson, RefusesDuplicateKeys) {
  EXPECT_EQ(ErrorOf([] { ParseJson(R"({"a": {"b": 1, "b": 2}})", "t.json"); }),
            "3: t.json: JSON key 'b' occurs twice in one object");
}

TEST(ParseJson, AllowsEqualKeysInDifferentObjects) {
  EXPECT_EQ(ErrorOf([] { ParseJson(R"([{"a": 1}, {"a": {"a": 2}}])", "t.json"); }), "");
}

TEST(ParseJson, RefusesDeepNesting) {
  const std::string deep = std::string(100000, '[') + std::string(100000, ']');
  const std::string error = ErrorOf([&] { ParseJson(deep, "t.json"); });
  EXPECT_NE(error.find("nested deeper"), std::string::npos) << error;
}

TEST(ParseJson, RefusesInvalidUtf8AndTrailingText) {
  EXPECT_EQ(ErrorOf([] { ParseJson("\"\xff\"", "t.json"); }).substr(0, 9), "3: t.json");
  EXPECT_EQ(ErrorOf([] { ParseJson("{} x", "t.json"); }).substr(0, 9), "3: t.json");
}

TEST(ParseJson, RefusesNulBytesWhereverTheyAre) {
  using namespace std::string_literals;
  using namespace std::string_view_literals;
  for (const std::string_view text :
       {"{}\0"sv, "{}\0garbage"sv, "[1,\n\0 2]"sv, "\"a\0b\""sv, "\0"sv, "\0{}"sv}) {
    const std::string error = ErrorOf([&] { ParseJson(text, "t.json"); });
    EXPECT_EQ(error.substr(0, 16), "3: t.json: line ") << text;
    EXPECT_NE(error.find("a NUL byte"), std::string::npos) << error;
  }
  EXPECT_EQ(ErrorOf([] { ParseJson("[1,\n\0 2]"sv, "t.json"); }),
            "3: t.json: line 2, column 1: not valid JSON: a NUL byte");
  EXPECT_EQ(ParseJson(R"("a\u0000b")", "t.json").get<std::string>(), "a\0b"s);
}

}  // namespace
}  // namespace ckv
