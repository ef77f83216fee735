#include "config/load.h"

#include <gtest/gtest.h>

#include "config/yaml_reader.h"
#include "config/yaml_writer.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

class LoadConfigTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& text) {
    MakeDirs(DirName(dir_.File(name)));
    WriteFileAtomically(dir_.File(name), text);
    return dir_.File(name);
  }
  std::string Path(const std::string& name) const { return dir_.File(name); }

  TempDir dir_;
};

std::string AfterSet(const std::string& yaml, const std::string& item) {
  ConfigValue tree = ReadYaml(yaml, "t.yaml");
  ApplySet(tree, item);
  return FlowYaml(tree);
}

std::string Merged(const std::string& below, const std::string& above) {
  ConfigValue tree = ReadYaml(below, "below.yaml");
  MergeConfig(tree, ReadYaml(above, "above.yaml"));
  return FlowYaml(tree);
}

TEST(MergeConfig, MergesMapsKeyByKey) {
  EXPECT_EQ(Merged("a: {b: 1, c: 2}", "a: {c: 3, d: 4}"), "{a: {b: 1, c: 3, d: 4}}");
}

TEST(MergeConfig, ReplacesListsAndScalars) {
  EXPECT_EQ(Merged("a: [1, 2, 3]\nb: 1", "a: [4]\nb: x"), "{a: [4], b: x}");
  EXPECT_EQ(Merged("a: {b: 1}", "a: 3"), "{a: 3}");
  EXPECT_EQ(Merged("a: 3", "a: {b: 1}"), "{a: {b: 1}}");
}

TEST(MergeConfig, LetsNullForgetWhatWasBelow) {
  EXPECT_EQ(Merged("a: {b: 1}\nc: 2", "a: null\nc: ~"), "{a: null, c: null}");
}

TEST(MergeConfig, KeepsASectionThatHasOnlyItsKey) {
  EXPECT_EQ(Merged("a: {b: 1}", "a:\n"), "{a: {b: 1}}");
}

TEST(MergeConfig, TakesTheOriginOfTheWinner) {
  ConfigValue tree = ReadYaml("a: {b: 1, c: 2}", "below.yaml");
  MergeConfig(tree, ReadYaml("a: {c: 3}", "above.yaml"));
  EXPECT_EQ(OriginOf(tree, "a.b"), "below.yaml:1:8");
  EXPECT_EQ(OriginOf(tree, "a.c"), "above.yaml:1:8");
  EXPECT_EQ(OriginOf(tree, "a.d"), "");
}

TEST_F(LoadConfigTest, ReadsBasesRelativeToTheFileThatNamesThem) {
  Write("base/b.yaml", "base: deep/d.yaml\nx: {p: b, q: b}\n");
  Write("base/deep/d.yaml", "x: {p: d, r: d}\n");
  const std::string path = Write("train/a.yaml", "base: ../base/b.yaml\nx: {q: a}\n");
  EXPECT_EQ(FlowYaml(LoadConfig(path)), "{x: {p: b, r: d, q: a}}");
}

TEST_F(LoadConfigTest, LaterBasesWin) {
  Write("1.yaml", "a: first\nb: first\n");
  Write("2.yaml", "a: second\n");
  const std::string path = Write("a.yaml", "base: [1.yaml, 2.yaml]\n");
  EXPECT_EQ(FlowYaml(LoadConfig(path)), "{a: second, b: first}");
}

TEST_F(LoadConfigTest, SetsWinOverTheFile) {
  const std::string path = Write("a.yaml", "a: {b: 1}\n");
  const ConfigValue tree = LoadConfig(path, {"a.b=2", "a.b=3"});
  EXPECT_EQ(FlowYaml(tree), "{a: {b: 3}}");
  EXPECT_EQ(OriginOf(tree, "a.b"), "--set a.b=3");
}

TEST_F(LoadConfigTest, RefusesALoopWithItsChain) {
  const std::string a = Write("a.yaml", "base: b.yaml\n");
  const std::string b = Write("b.yaml", "x: 1\nbase:\n  - c.yaml\n");
  const std::string c = Write("c.yaml", "base: sub/../b.yaml\n");
  MakeDirs(Path("sub"));
  EXPECT_EQ(ErrorOf([&] { LoadConfig(a); }),
            "2: " + c + ":1:7: base files form a loop: " + b + " -> " + c + " -> " + b);
}

TEST_F(LoadConfigTest, AllowsOneBaseOverTwoPaths) {
  Write("root.yaml", "x: 1\n");
  Write("l.yaml", "base: root.yaml\nl: 1\n");
  Write("r.yaml", "base: root.yaml\nr: 1\n");
  const std::string path = Write("a.yaml", "base: [l.yaml, r.yaml]\n");
  EXPECT_EQ(FlowYaml(LoadConfig(path)), "{x: 1, l: 1, r: 1}");
}

TEST_F(LoadConfigTest, RefusesBasesThatMultiply) {
  Write("f0.yaml", "x: 1\n");
  for (int i = 1; i <= 10; ++i) {
    const std::string below = Str("f", i - 1, ".yaml");
    Write(Str("f", i, ".yaml"), Str("base: [", below, ", ", below, "]\n"));
  }
  const std::string error = ErrorOf([&] { LoadConfig(Path("f10.yaml")); });
  EXPECT_NE(error.find("more than 100 files are read through 'base'"), std::string::npos) << error;
}

TEST_F(LoadConfigTest, PointsAtAMissingBase) {
  const std::string path = Write("a.yaml", "x: 1\nbase: no.yaml\n");
  EXPECT_EQ(ErrorOf([&] { LoadConfig(path); }),
            "2: " + path + ":2:7: base file '" + Path("no.yaml") + "' does not exist");
}

TEST_F(LoadConfigTest, RefusesABaseThatIsNoPath) {
  const std::string path = Write("a.yaml", "base: {x: 1}\n");
  EXPECT_EQ(ErrorOf([&] { LoadConfig(path); }),
            "2: " + path + ":1:7: 'base' is a map, but must be a path or a list of paths");
}

TEST_F(LoadConfigTest, RefusesAFileThatIsNoMap) {
  const std::string path = Write("a.yaml", "- x\n");
  EXPECT_EQ(ErrorOf([&] { LoadConfig(path); }),
            "2: " + path + ":1:1: a config file holds keys and values, not a list");
}

TEST_F(LoadConfigTest, ReadsAnEmptyFileAsNoKeys) {
  EXPECT_EQ(FlowYaml(LoadConfig(Write("a.yaml", "# nothing\n"))), "{}");
}

TEST_F(LoadConfigTest, ReportsAMissingFileAsIoError) {
  EXPECT_EQ(ErrorOf([&] { LoadConfig(Path("no.yaml")); }).substr(0, 2), "4:");
}

TEST(ApplySet, SetsAndCreatesKeys) {
  EXPECT_EQ(AfterSet("a: {b: 1}", "a.b=2"), "{a: {b: 2}}");
  EXPECT_EQ(AfterSet("a: {b: 1}", "a.c.d=x"), "{a: {b: 1, c: {d: x}}}");
  EXPECT_EQ(AfterSet("", "a.b=1"), "{a: {b: 1}}");
  EXPECT_EQ(AfterSet("a: null", "a.b=1"), "{a: {b: 1}}");
}

TEST(ApplySet, ReadsTheValueAsYaml) {
  EXPECT_EQ(AfterSet("", "a=[1, two, {x: 3}]"), "{a: [1, two, {x: 3}]}");
  EXPECT_EQ(AfterSet("", "a='12'"), "{a: \"12\"}");
  EXPECT_EQ(AfterSet("", "a=b=c"), "{a: \"b=c\"}");
  EXPECT_EQ(AfterSet("a: 3", "a=null"), "{a: null}");
}

TEST(ApplySet, MergesMaps) {
  EXPECT_EQ(AfterSet("a: {b: 1, c: 2}", "a={c: 3}"), "{a: {b: 1, c: 3}}");
}

TEST(ApplySet, TakesTheIndexOfAListItem) {
  EXPECT_EQ(AfterSet("a: [{b: 1}, {b: 2}]", "a.1.b=3"), "{a: [{b: 1}, {b: 3}]}");
  EXPECT_EQ(AfterSet("a: [1, 2]", "a.0=9"), "{a: [9, 2]}");
}

TEST(ApplySet, RefusesAnIndexThatIsNotThere) {
  EXPECT_EQ(ErrorOf([] { AfterSet("a: [1, 2]", "a.2=9"); }),
            "2: --set a.2=9: 'a' is a list of 2 items; '2' is not an index of it");
  EXPECT_EQ(ErrorOf([] { AfterSet("a: [1, 2]", "a.x=9"); }),
            "2: --set a.x=9: 'a' is a list of 2 items; 'x' is not an index of it");
}

TEST(ApplySet, RefusesMalformedItems) {
  EXPECT_EQ(ErrorOf([] { AfterSet("", "a=1\nb: 2"); }),
            "2: --set: a line break follows 'a=1'; give each key its own --set");
  EXPECT_EQ(ErrorOf([] { AfterSet("", "a.b"); }), "2: --set a.b: must look like key=value");
  EXPECT_EQ(ErrorOf([] { AfterSet("", "a..b=1"); }), "2: --set a..b=1: the key has an empty part");
  EXPECT_EQ(ErrorOf([] { AfterSet("", "=1"); }), "2: --set =1: the key has an empty part");
  EXPECT_EQ(ErrorOf([] { AfterSet("", "base=x.yaml"); }),
            "2: --set base=x.yaml: 'base' can only be given in a file");
  EXPECT_EQ(ErrorOf([] { AfterSet("", "a={b"); }),
            "2: --set a={b: a key must be text, not a list or a map (is a bracket left open?)");
}

TEST(ApplySet, RefusesDeepAndLongKeys) {
  std::string deep = "a";
  for (int i = 0; i < 70; ++i) deep += ".a";
  EXPECT_EQ(ErrorOf([&] { AfterSet("", deep + "=1"); }), "2: --set: nested deeper than 64 levels");
  EXPECT_EQ(ErrorOf([] { AfterSet("", std::string(513, 'a') + "=1"); }),
            "2: --set: a key of more than 512 bytes");
  EXPECT_EQ(ErrorOf([] { AfterSet("", "\xff=1"); }), "2: --set: '\\xff=1' is not UTF-8");
}

TEST(FindKey, FindsSectionsLeavesAndItems) {
  const ConfigValue tree = ReadYaml("a: {b: [x, {c: y}]}", "t.yaml");
  EXPECT_TRUE(IsExplicit(tree, "a"));
  EXPECT_TRUE(IsExplicit(tree, "a.b.1.c"));
  EXPECT_FALSE(IsExplicit(tree, "a.b.2"));
  EXPECT_FALSE(IsExplicit(tree, "a.c"));
  EXPECT_EQ(FindKey(tree, "a.b.0")->text(), "x");
}

}  // namespace
}  // namespace ckv
