#include "config/yaml_reader.h"

#include <chrono>

#include <gtest/gtest.h>

#include "tests/temp_dir.h"

namespace ckv {
namespace {

std::string Repeat(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

std::string ReadError(const std::string& text) {
  return ErrorOf([&] { ReadYaml(text, "t.yaml"); });
}

// The message of the guard, whatever the place.
bool RefusedAsDeep(const std::string& text) {
  const std::string error = ReadError(text);
  return error.rfind("2: t.yaml:", 0) == 0 && error.find("nested") != std::string::npos;
}

TEST(ReadYaml, ReadsMapsListsAndScalars) {
  const ConfigValue value = ReadYaml("a: 1\nb:\n  - x\n  - 'y z'\nc: {d: true}\n", "t.yaml");
  ASSERT_EQ(value.kind(), ConfigValue::Kind::kMap);
  EXPECT_EQ(AsInt(*value.Find("a"), "a"), 1);
  EXPECT_EQ(value.Find("b")->items()[1].text(), "y z");
  EXPECT_TRUE(value.Find("b")->items()[1].quoted());
  EXPECT_FALSE(value.Find("b")->items()[0].quoted());
  EXPECT_TRUE(AsBool(*value.Find("c")->Find("d"), "c.d"));
}

TEST(ReadYaml, RemembersPlacesOfKeysAndValues) {
  const ConfigValue value = ReadYaml("a:\n  key: 1\n  list: [x,\n    y]\n", "t.yaml");
  const ConfigValue& key = *value.Find("a")->Find("key");
  EXPECT_EQ(value.origin(), "t.yaml:1:1");
  EXPECT_EQ(key.key_origin(), "t.yaml:2:3");
  EXPECT_EQ(key.origin(), "t.yaml:2:8");
  EXPECT_EQ(value.Find("a")->Find("list")->items()[1].origin(), "t.yaml:4:5");
}

TEST(ReadYaml, KeepsPlacesBehindAByteOrderMark) {
  const ConfigValue value = ReadYaml(
      "\xef\xbb\xbf"
      "a: null\nb: 2\n",
      "t.yaml");
  EXPECT_EQ(value.Find("a")->origin(), "t.yaml:1:4");
  EXPECT_FALSE(value.Find("a")->has_no_value());
}

TEST(ReadYaml, GivesNullForAnEmptyDocument) {
  for (const char* text : {"", "\n\n", "# only a comment\n", "---\n"}) {
    EXPECT_TRUE(ReadYaml(text, "t.yaml").is_null()) << text;
  }
  EXPECT_EQ(ReadYaml("", "t.yaml").origin(), "t.yaml:1:1");
}

TEST(ReadYaml, TellsAWrittenNullFromAMissingValue) {
  const ConfigValue value =
      ReadYaml("a:\nnull_like: ~\nb: null\nc:   # later\nnone: {x: , y: null}\nlast:", "t.yaml");
  EXPECT_TRUE(value.Find("a")->has_no_value());
  EXPECT_FALSE(value.Find("null_like")->has_no_value());
  EXPECT_FALSE(value.Find("b")->has_no_value());
  EXPECT_TRUE(value.Find("c")->has_no_value());
  EXPECT_TRUE(value.Find("none")->Find("x")->has_no_value());
  EXPECT_FALSE(value.Find("none")->Find("y")->has_no_value());
  EXPECT_TRUE(value.Find("last")->has_no_value());
  EXPECT_TRUE(value.Find("last")->is_null());
}

TEST(ReadYaml, PlacesAMissingValueAtItsKey) {
  EXPECT_EQ(ReadYaml("x: 1\na:\n\n\nb: 2\n", "t.yaml").Find("a")->origin(), "t.yaml:2:1");
}

TEST(ReadYaml, ReadsBlockScalarsAsStrings) {
  const ConfigValue value = ReadYaml("a: |\n  12\nb: >-\n  x\n  y\n", "t.yaml");
  EXPECT_EQ(value.Find("a")->text(), "12\n");
  EXPECT_TRUE(value.Find("a")->quoted());
  EXPECT_EQ(value.Find("b")->text(), "x y");
}

TEST(ReadYaml, TakesTheStringTag) {
  EXPECT_TRUE(ReadYaml("a: !!str 12\n", "t.yaml").Find("a")->quoted());
}

TEST(ReadYaml, RefusesDuplicateKeys) {
  EXPECT_EQ(ReadError("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n"), "2: t.yaml:5:3: key 'c' occurs twice");
  EXPECT_EQ(ReadError("{a: 1, 'a': 2}"), "2: t.yaml:1:8: key 'a' occurs twice");
}

TEST(ReadYaml, RefusesASecondDocument) {
  EXPECT_EQ(ReadError("a: 1\n---\nb: 2\n"), "2: t.yaml:2:1: a second document (only one is read)");
}

TEST(ReadYaml, RefusesTextBehindTheValue) {
  EXPECT_EQ(ReadError("'a' 'b'\n"), "2: t.yaml:1:5: unexpected text after the value");
}

TEST(ReadYaml, RefusesKeysThatAreNotText) {
  EXPECT_EQ(ReadError("? [a, b]\n: 1\n"),
            "2: t.yaml:1:3: a key must be text, not a list or a map (is a bracket left open?)");
  EXPECT_EQ(ReadError("{a: 1}: 2\n"),
            "2: t.yaml:1:1: a key must be text, not a list or a map (is a bracket left open?)");
  EXPECT_EQ(ReadError("~: 2\n"), "2: t.yaml:1:1: a key without a name");
  EXPECT_EQ(ReadError("a: &x k\n*x : 2\n"), "2: t.yaml:2:1: an alias cannot be a key");
  EXPECT_EQ(ReadError("&x a: 1\n"), "2: t.yaml:1:1: a key cannot have an anchor");
}

TEST(ReadYaml, RefusesMergeKeysAndTags) {
  EXPECT_EQ(ReadError("a: &x {b: 1}\nc:\n  <<: *x\n"),
            "2: t.yaml:3:3: merge keys ('<<') are not supported");
  EXPECT_EQ(ReadError("a: !!float 3\n"),
            "2: t.yaml:1:4: tag 'tag:yaml.org,2002:float' is not supported");
  EXPECT_EQ(ReadError("a: !python/object:os.system [x]\n"),
            "2: t.yaml:1:4: tag '!python/object:os.system' is not supported");
}

TEST(ReadYaml, GivesTheParsersReasonAndPlace) {
  EXPECT_EQ(ReadError("a: [1, 2\nb: 3\n"),
            "2: t.yaml:2:2: not valid YAML: end of sequence flow not found");
  EXPECT_EQ(ReadError("a: 1\nb: *nobody\n"),
            "2: t.yaml:2:4: not valid YAML: the referenced anchor is not defined");
}

TEST(ReadYaml, ExplainsTabs) {
  EXPECT_EQ(ReadError("a:\n\tb: 1\n"),
            "2: t.yaml:2:3: not valid YAML: illegal map value (the line is indented with a tab; "
            "YAML wants spaces)");
}

TEST(ReadYaml, RefusesWhatIsNotText) {
  EXPECT_EQ(ReadError("a: 1\nb: \xff\n"), "2: t.yaml:2:4: not UTF-8");
  EXPECT_EQ(ReadError(std::string("a: \0b", 5)),
            "2: t.yaml:1:4: a control character (write it as an escape in double quotes)");
  EXPECT_EQ(ReadError("a: \x04"),
            "2: t.yaml:1:4: a control character (write it as an escape in double quotes)");
}

TEST(ReadYaml, CopiesAliases) {
  const ConfigValue value = ReadYaml("a: &x {b: [1, 2]}\nc: *x\nd: [*x]\n", "t.yaml");
  EXPECT_EQ(*value.Find("c"), *value.Find("a"));
  EXPECT_EQ(value.Find("d")->items()[0], *value.Find("a"));
  EXPECT_EQ(value.Find("c")->key_origin(), "t.yaml:2:1");
}

TEST(ReadYaml, RefusesAnAliasToItsOwnParent) {
  EXPECT_EQ(ReadError("a: &x [1, *x]\n"), "2: t.yaml:1:11: an alias to a value that contains it");
  EXPECT_EQ(ReadError("&x a: 1\n"), "2: t.yaml:1:1: a key cannot have an anchor");
  EXPECT_EQ(ReadError("--- &x\na: *x\n"), "2: t.yaml:2:4: an alias to a value that contains it");
}

TEST(ReadYaml, RefusesAnAliasBomb) {
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 9; ++i) {
    bomb += Str("a", i, ": &a", i, " [", Repeat(Str("*a", i - 1, ", "), 9), "*a", i - 1, "]\n");
  }
  EXPECT_EQ(ReadError(bomb), "2: t.yaml:5:45: more than 100000 values");
}

TEST(ReadYaml, RefusesManyAliases) {
  EXPECT_EQ(ReadError("a: &x 1\nb: [" + Repeat("*x, ", 101) + "]\n"),
            "2: t.yaml:2:405: more than 100 aliases");
}

TEST(ReadYaml, RefusesLongTextMultipliedByAliases) {
  EXPECT_EQ(ReadError("a: &x " + std::string(500000, 'y') + "\nb: [*x, *x, *x]\n"),
            "2: t.yaml:2:13: aliases stand for more than 1048576 bytes");
}

TEST(ReadYaml, AllowsTheGreatestDepthAndNoMore) {
  EXPECT_EQ(ReadError(Repeat("[", 64) + Repeat("]", 64)), "");
  EXPECT_EQ(ReadError(Repeat("[", 65) + Repeat("]", 65)),
            "2: t.yaml:1:65: nested deeper than 64 levels");
}

TEST(ReadYaml, CountsTheDepthOfAliases) {
  const std::string deep = Repeat("[", 40) + Repeat("]", 40);
  EXPECT_EQ(ReadError("a: &x " + deep + "\nb: " + Repeat("[", 30) + "*x" + Repeat("]", 30) + "\n"),
            "2: t.yaml:2:34: nested deeper than 64 levels");
}

// Each would overflow the stack of a recursive parser that only counts while it builds.
TEST(ReadYaml, RefusesDeepFlowNesting) {
  EXPECT_TRUE(RefusedAsDeep(Repeat("[", 100000)));
  EXPECT_TRUE(RefusedAsDeep(Repeat("{", 100000)));
  EXPECT_TRUE(RefusedAsDeep(Repeat("{a: ", 100000)));
  EXPECT_TRUE(RefusedAsDeep(Repeat("[{a: ", 100000)));
  EXPECT_TRUE(RefusedAsDeep(Repeat("[\n", 100000)));
  // Brackets in quotes hide the depth from the scan of the raw text.
  EXPECT_TRUE(RefusedAsDeep(Repeat("[ \"]\", ", 50000) + Repeat("]", 50000)));
}

TEST(ReadYaml, RefusesDeepBlockNesting) {
  EXPECT_TRUE(RefusedAsDeep(Repeat("- ", 100000)));
  EXPECT_TRUE(RefusedAsDeep(Repeat("- ", 900)));
  EXPECT_TRUE(RefusedAsDeep(Repeat("? ", 10000)) ||
              ReadError(Repeat("? ", 10000)).find("must be text") != std::string::npos);
  EXPECT_EQ(ReadError(Repeat("? ", 900)),
            "2: t.yaml:1:3: a key must be text, not a list or a map (is a bracket left open?)");
  std::string maps;
  for (int i = 0; i < 1000; ++i) maps += std::string(static_cast<size_t>(i), ' ') + "a:\n";
  EXPECT_TRUE(RefusedAsDeep(maps));
}

TEST(ReadYaml, RefusesLargeText) {
  EXPECT_EQ(ReadError(std::string((1 << 20) + 1, ' ')), "2: t.yaml: larger than 1048576 bytes");
}

TEST(ReadYaml, RefusesManyValues) {
  const std::string error = ReadError("[" + Repeat("x,", 100001) + "]");
  EXPECT_NE(error.find("more than 100000 values"), std::string::npos) << error;
}

TEST(ReadYaml, RefusesLongKeys) {
  EXPECT_EQ(ReadError(std::string(513, 'k') + ": 1\n"),
            "2: t.yaml:1:1: a key of more than 512 bytes");
}

// Quadratic work on 256 KiB would take minutes; each of these takes some hundredths of a second.
TEST(ReadYaml, TakesLimitedTimeForRepetitiveText) {
  const auto start = std::chrono::steady_clock::now();
  for (const char* text :
       {"[",   "{",   "- ", "? ", ": ", "a: ", "\n",     "\"",    "'",    "!",    "&a ",
        "*a ", "|\n", ">",  "%",  "#",  "\t",  "a: b\n", "- a\n", "[]\n", "--- ", "...\n",
        ", ",  "[,",  "{,", "\\", "''", "a\n", "[\n",    " \n",   "\r\n", "!!",   "@"}) {
    const int times = static_cast<int>((1 << 18) / std::string(text).size());
    ReadError(Repeat(text, times));
    ReadError("[" + Repeat(text, times - 1));
    ReadError("a: |\n " + Repeat(text, times / 2));
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  EXPECT_LT(elapsed.count(), 60.0);  // also under a sanitizer on a loaded machine
}

TEST(ReadYamlFile, NamesTheFile) {
  const TempDir dir;
  WriteFileAtomically(dir.File("a.yaml"), "a: 1\na: 2\n");
  EXPECT_EQ(ErrorOf([&] { ReadYamlFile(dir.File("a.yaml")); }),
            "2: " + dir.File("a.yaml") + ":2:1: key 'a' occurs twice");
  EXPECT_EQ(ErrorOf([&] { ReadYamlFile(dir.File("b.yaml")); }).substr(0, 2), "4:");
}

TEST(ReadYamlText, GivesEveryValueTheOneOrigin) {
  const ConfigValue value = ReadYamlText("{a: [1]}", "--set x={a: [1]}");
  EXPECT_EQ(value.origin(), "--set x={a: [1]}");
  EXPECT_EQ(value.Find("a")->items()[0].origin(), "--set x={a: [1]}");
  EXPECT_EQ(ErrorOf([] { ReadYamlText("[1", "--set x=[1"); }),
            "2: --set x=[1: a key must be text, not a list or a map (is a bracket left open?)");
}

}  // namespace
}  // namespace ckv
