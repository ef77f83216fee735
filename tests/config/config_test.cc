#include "config/config.h"

#include <cmath>
#include <cstring>

#include <gtest/gtest.h>

#include "base/random.h"
#include "config/yaml_reader.h"
#include "tests/config/sample_config.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

SampleConfig ReadSample(const std::string& yaml) {
  SampleConfig config;
  ReadConfig(ReadYaml(yaml, "t.yaml"), config);
  return config;
}

std::string SampleError(const std::string& yaml) {
  return ErrorOf([&] { ReadSample(yaml); });
}

TEST(ReadConfig, KeepsDefaultsOfMissingKeys) {
  const SampleConfig config = ReadSample("train: {steps: 7}\n");
  EXPECT_EQ(config.train.steps, 7);
  EXPECT_EQ(config.train.optim.lr, 3e-4);
  EXPECT_EQ(config.layers, (std::vector<int64_t>{1, 2}));
  EXPECT_TRUE(ReadSample("").train.sources.empty());
}

TEST(ReadConfig, ReadsEveryKindOfField) {
  const SampleConfig config = ReadSample(
      "name: 0_6_6\n"
      "train:\n"
      "  optim: {lr: 1, schedule: linear}\n"
      "  compile: true\n"
      "  sources:\n"
      "    - path: a.txt\n"
      "    - {path: b.txt, weight: 0.5}\n"
      "seed: 3\n"
      "clip: null\n"
      "layers: []\n"
      "betas: [0, 0.5]\n"
      "tags: [x, 'y']\n"
      "extra: {any: [thing]}\n");
  EXPECT_EQ(config.name, "0_6_6");
  EXPECT_EQ(config.train.optim.lr, 1.0);
  EXPECT_EQ(config.train.optim.schedule, "linear");
  EXPECT_TRUE(config.train.compile);
  ASSERT_EQ(config.train.sources.size(), 2u);
  EXPECT_EQ(config.train.sources[1].path, "b.txt");
  EXPECT_EQ(config.train.sources[1].weight, 0.5);
  EXPECT_EQ(config.seed, 3);
  EXPECT_EQ(config.clip, std::nullopt);
  EXPECT_TRUE(config.layers.empty());
  EXPECT_EQ(config.betas, (std::vector<double>{0, 0.5}));
  EXPECT_EQ(config.tags, (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(config.extra.Find("any")->origin(), "t.yaml:13:14");
}

TEST(ReadConfig, SuggestsTheKeyThatWasMeant) {
  EXPECT_EQ(SampleError("train:\n  optm: {lr: 1}\n"),
            "2: t.yaml:2:3: unknown key 'train.optm' (did you mean 'train.optim'?)");
  EXPECT_EQ(SampleError("trian: {}\n"),
            "2: t.yaml:1:1: unknown key 'trian' (did you mean 'train'?)");
}

TEST(ReadConfig, ListsTheKnownKeysWhenNoneIsNear) {
  EXPECT_EQ(SampleError("train:\n  optim:\n    momentum: 1\n"),
            "2: t.yaml:3:5: unknown key 'train.optim.momentum' (known keys of 'train.optim': lr, "
            "schedule, warmup_steps)");
  EXPECT_EQ(SampleError("wizard: 1\n"),
            "2: t.yaml:1:1: unknown key 'wizard' (known keys: name, train, seed, clip, layers, "
            "betas, tags, extra)");
}

TEST(ReadConfig, FindsUnknownKeysInListItems) {
  EXPECT_EQ(SampleError("train:\n  sources:\n    - {pth: x}\n"),
            "2: t.yaml:3:8: unknown key 'train.sources.0.pth' (did you mean "
            "'train.sources.0.path'?)");
}

TEST(ReadConfig, NamesTheSetItemOfAnUnknownKey) {
  ConfigValue tree;
  ApplySet(tree, "train.optm.lr=1");
  SampleConfig config;
  EXPECT_EQ(ErrorOf([&] { ReadConfig(tree, config); }),
            "2: --set train.optm.lr=1: unknown key 'train.optm' (did you mean 'train.optim'?)");
}

TEST(ReadConfig, NamesValuesOfTheWrongType) {
  EXPECT_EQ(SampleError("train:\n  optim:\n    lr: abc\n"),
            "2: t.yaml:3:9: 'train.optim.lr' is 'abc' (a string), but must be a number");
  EXPECT_EQ(SampleError("layers: 3\n"),
            "2: t.yaml:1:9: 'layers' is '3' (an integer), but must be a list of integers");
  EXPECT_EQ(SampleError("layers: [1, x]\n"),
            "2: t.yaml:1:13: 'layers.1' is 'x' (a string), but must be an integer");
  EXPECT_EQ(SampleError("train: 3\n"),
            "2: t.yaml:1:8: 'train' is '3' (an integer), but must be a section (a map of keys)");
  EXPECT_EQ(SampleError("train:\n  sources: {path: x}\n"),
            "2: t.yaml:2:12: 'train.sources' is a map, but must be a list of sections");
  EXPECT_EQ(SampleError("train:\n  sources: [x]\n"),
            "2: t.yaml:2:13: 'train.sources.0' is 'x' (a string), but must be a section (a map of "
            "keys)");
  EXPECT_EQ(SampleError("- 1\n"),
            "2: t.yaml:1:1: 'config' is a list, but must be a section (a map of keys)");
}

TEST(ReadConfig, ReportsAForgottenValueAtItsKey) {
  EXPECT_EQ(SampleError("train:\n  steps:\nname: x\n"),
            "2: t.yaml:2:3: 'train.steps' has no value, but must be an integer");
}

TEST(ReadConfig, TakesAnEmptySectionAsDefaults) {
  EXPECT_EQ(ReadSample("train:\n  # steps: 3\n").train.steps, 100);
}

TEST(ReadConfig, TakesNullAsTheDefault) {
  const SampleConfig config = ReadSample("train: null\nname: ~\nlayers: null\n");
  EXPECT_EQ(config.name, "run");
  EXPECT_EQ(config.layers, (std::vector<int64_t>{1, 2}));
}

TEST(ReadConfig, PlacesAViolatedRequirementAtItsKey) {
  EXPECT_EQ(SampleError("train:\n  optim:\n    lr: -1\n"),
            "2: t.yaml:3:9: 'train.optim.lr' is -1, but must be > 0");
  EXPECT_EQ(SampleError("train:\n  sources: [{path: ''}]\n"),
            "2: t.yaml:2:20: 'train.sources.0.path' is '', but must not be empty");
}

TEST(ReadConfig, NamesTheFileOfAViolatingDefault) {
  SampleConfig config;
  config.train.steps = 0;
  EXPECT_EQ(ErrorOf([&] { ReadConfig(ReadYaml("train: {compile: true}", "t.yaml"), config); }),
            "2: t.yaml: 'train.steps' is 0, but must be at least 1");
}

TEST(ReadConfig, SuggestsTheChoiceThatWasMeant) {
  EXPECT_EQ(SampleError("train: {optim: {schedule: cosin}}\n"),
            "2: t.yaml:1:27: 'train.optim.schedule' is 'cosin', but must be one of: cosine, "
            "linear, constant (did you mean 'cosine'?)");
  EXPECT_EQ(SampleError("train: {optim: {schedule: wsd}}\n"),
            "2: t.yaml:1:27: 'train.optim.schedule' is 'wsd', but must be one of: cosine, linear, "
            "constant");
}

TEST(ReadConfig, StartsListItemsFromTheirDefaults) {
  SampleTrain train;
  train.sources = {{"old.txt", 9.0}, {"older.txt", 8.0}};
  ReadConfig(ReadYaml("sources: [{path: new.txt}]", "t.yaml"), train);
  ASSERT_EQ(train.sources.size(), 1u);
  EXPECT_EQ(train.sources[0].weight, 1.0);
}

TEST(ReadConfig, KeepsAListThatIsNotGiven) {
  SampleTrain train;
  train.sources = {{"old.txt", 9.0}};
  ReadConfig(ReadYaml("steps: 3", "t.yaml"), train);
  ASSERT_EQ(train.sources.size(), 1u);
  EXPECT_EQ(train.sources[0].weight, 9.0);
}

TEST(ReadConfig, PutsThePrefixBeforeNames) {
  SampleOptim optim;
  EXPECT_EQ(ErrorOf([&] { ReadConfig(ReadYaml("lr: x", "t.yaml"), optim, "train.optim"); }),
            "2: t.yaml:1:5: 'train.optim.lr' is 'x' (a string), but must be a number");
}

TEST(ReadConfig, RefusesAStructThatNamesAKeyTwice) {
  struct Twice {
    int64_t a = 0;
    void Visit(ConfigVisitor& v) {
      v.Field("a", a, "");
      v.Field("a", a, "");
    }
  } twice;
  const std::string error = ErrorOf([&] { ReadConfig(ConfigValue(), twice); });
  EXPECT_NE(error.find("the key 'a' is named twice"), std::string::npos) << error;
}

TEST(ReadConfig, RequireBehindASectionSpeaksOfTheSection) {
  struct Outer {
    SampleOptim optim;
    void Visit(ConfigVisitor& v) {
      v.Section("optim", optim, "");
      v.Require(optim.lr < 1 || optim.warmup_steps > 0, "needs warmup_steps for an lr of 1");
    }
  } outer;
  EXPECT_EQ(ErrorOf([&] { ReadConfig(ReadYaml("optim: {lr: 2}", "t.yaml"), outer); }),
            "2: t.yaml:1:8: 'optim' needs warmup_steps for an lr of 1");
}

TEST(DumpYaml, WritesEveryKey) {
  SampleConfig config;
  config.train.sources = {{"a.txt", 0.5}, {"b: c", 2}};
  EXPECT_EQ(DumpYaml(config),
            "name: run\n"
            "train:\n"
            "  optim:\n"
            "    lr: 3e-4\n"
            "    schedule: cosine\n"
            "    warmup_steps: 0\n"
            "  compile: false\n"
            "  steps: 100\n"
            "  sources:\n"
            "    - path: a.txt\n"
            "      weight: 0.5\n"
            "    - path: \"b: c\"\n"
            "      weight: 2.0\n"
            "seed: null\n"
            "clip: 1.0\n"
            "layers: [1, 2]\n"
            "betas: [0.9, 0.95]\n"
            "tags: []\n"
            "extra: null\n");
}

TEST(DumpYaml, AddsHelpAsComments) {
  EXPECT_EQ(DumpYaml(SampleTrain(), /*with_help=*/true),
            "optim:  # AdamW\n"
            "  lr: 3e-4  # peak learning rate\n"
            "  schedule: cosine  # shape of the learning rate\n"
            "  warmup_steps: 0  # steps of linear warmup\n"
            "compile: false  # compile the model\n"
            "steps: 100  # optimizer steps\n"
            "sources: []  # what to read\n");
}

TEST(DumpYaml, WritesStructsWithoutKeys) {
  struct Nothing {
    void Visit(ConfigVisitor&) {}
  };
  struct Holder {
    Nothing section;
    std::vector<Nothing> list = {Nothing(), Nothing()};
    void Visit(ConfigVisitor& v) {
      v.Section("section", section, "");
      v.List("list", list, "");
    }
  } holder;
  const std::string yaml = DumpYaml(holder);
  EXPECT_EQ(yaml, "section: {}\nlist:\n  - {}\n  - {}\n");
  holder.list.clear();
  ReadConfig(ReadYaml(yaml, "t.yaml"), holder);
  EXPECT_EQ(holder.list.size(), 2u);
  EXPECT_EQ(DumpYaml(Nothing()), "{}\n");
}

TEST(DumpYaml, WritesListsOfSectionsThatBeginWithASection) {
  struct Outer {
    std::vector<SampleTrain> runs = {SampleTrain(), SampleTrain()};
    void Visit(ConfigVisitor& v) { v.List("runs", runs, ""); }
  } outer;
  outer.runs[1].steps = 5;
  outer.runs[1].sources = {{"a", 1}};
  const std::string yaml = DumpYaml(outer);
  EXPECT_EQ(yaml.substr(0, 32), "runs:\n  - optim:\n      lr: 3e-4\n");
  Outer back;
  ReadConfig(ReadYaml(yaml, "t.yaml"), back);
  EXPECT_EQ(DumpYaml(back), yaml);
}

std::string NastyString(Random& random) {
  const std::vector<std::string> pieces = {"",
                                           "null",
                                           "~",
                                           "true",
                                           "no",
                                           "1e5",
                                           "0x1F",
                                           "1_0",
                                           ": ",
                                           " #",
                                           "- ",
                                           "? ",
                                           "\n",
                                           "\t",
                                           "\r",
                                           "'",
                                           "\"",
                                           "\\",
                                           "{",
                                           "}",
                                           "[",
                                           "]",
                                           ",",
                                           "&a",
                                           "*a",
                                           "!!",
                                           "|",
                                           ">",
                                           "%",
                                           "@",
                                           "`",
                                           "---",
                                           "...",
                                           " ",
                                           "\xc3\xa9",
                                           "=",
                                           "\x01",
                                           "a",
                                           "word",
                                           "\xe2\x80\xa8",
                                           "\xf0\x9f\x98\x80",
                                           "<<",
                                           "2001-01-01",
                                           ".inf",
                                           "\x7f"};
  std::string text;
  const uint64_t length = random.Below(6);
  for (uint64_t i = 0; i < length; ++i) text += pieces[random.Below(pieces.size())];
  return text;
}

double AnyDouble(Random& random) {
  while (true) {
    const uint64_t bits = random.Next();
    double number = 0;
    std::memcpy(&number, &bits, sizeof(number));
    if (std::isfinite(number) && number > 0) return number;
  }
}

// Whatever a struct holds, its dump read into a new struct gives the same values.
TEST(DumpYaml, ReadsBackEqual) {
  Random random(5);
  for (int round = 0; round < 1000; ++round) {
    SampleConfig config;
    config.name = NastyString(random);
    config.train.optim.lr = AnyDouble(random);
    config.train.optim.warmup_steps = static_cast<int64_t>(random.Next());
    config.train.compile = random.Below(2) == 0;
    if (random.Below(2) == 0) config.seed = static_cast<int64_t>(random.Next());
    config.clip = std::nullopt;
    if (random.Below(2) == 0) config.clip = -AnyDouble(random);
    config.layers.assign(random.Below(4), INT64_MIN);
    config.betas.assign(random.Below(4), AnyDouble(random));
    config.tags.resize(random.Below(4));
    for (std::string& tag : config.tags) tag = NastyString(random);
    config.train.sources.resize(random.Below(3));
    for (SampleSource& source : config.train.sources) source.path = "x" + NastyString(random);
    config.extra = ConfigValue::Map(
        {{NastyString(random), ConfigValue::Scalar("12")},
         {"k", ConfigValue::List({ConfigValue(), ConfigValue::Scalar("12", true)})}});

    SampleConfig back;
    ReadConfig(ReadYaml(DumpYaml(config, random.Below(2) == 0), "t.yaml"), back);
    ASSERT_EQ(FlattenConfig(back), FlattenConfig(config)) << DumpYaml(config);
    ASSERT_EQ(back.name, config.name);
    ASSERT_EQ(back.tags, config.tags);
    ASSERT_EQ(std::memcmp(&back.train.optim.lr, &config.train.optim.lr, sizeof(double)), 0);
    ASSERT_EQ(back.clip, config.clip);
    ASSERT_EQ(back.extra, config.extra);
  }
}

TEST(DumpYaml, RefusesAStringThatIsNotUtf8) {
  SampleConfig config;
  config.name = "\xff";
  EXPECT_EQ(ErrorOf([&] { DumpYaml(config); }), "2: '\\xff' is not UTF-8, so YAML cannot hold it");
}

TEST(FlattenConfig, ListsKeysInTheirOrder) {
  SampleTrain train;
  train.sources = {{"a.txt", 0.5}};
  EXPECT_EQ(FlattenConfig(train), (FlatConfig{{"optim.lr", "3e-4"},
                                              {"optim.schedule", "cosine"},
                                              {"optim.warmup_steps", "0"},
                                              {"compile", "false"},
                                              {"steps", "100"},
                                              {"sources", "1 item"},
                                              {"sources.0.path", "a.txt"},
                                              {"sources.0.weight", "0.5"}}));
}

TEST(ConfigHash, ChangesWithAnyValue) {
  SampleConfig config;
  const uint64_t before = ConfigHash(FlattenConfig(config));
  EXPECT_EQ(ConfigHash(FlattenConfig(SampleConfig())), before);
  config.train.optim.lr = std::nextafter(config.train.optim.lr, 1.0);
  EXPECT_NE(ConfigHash(FlattenConfig(config)), before);
}

TEST(ConfigHash, StaysTheSameAcrossVersions) {
  EXPECT_EQ(ConfigHash({}), 0xcbf29ce484222325ULL);
  EXPECT_EQ(ConfigHash({{"a", "1"}}), 0xed9ed282c45f76f4ULL);
}

TEST(DiffConfigs, ListsChangedAddedAndMissingKeys) {
  SampleTrain left;
  SampleTrain right;
  left.sources = {{"a.txt", 1}};
  right.steps = 200;
  std::string text;
  for (const ConfigDifference& d : DiffConfigs(FlattenConfig(left), FlattenConfig(right))) {
    text += Str(d.key, ": '", d.left, "' '", d.right, "'\n");
  }
  EXPECT_EQ(text,
            "steps: '100' '200'\n"
            "sources: '1 item' '[]'\n"
            "sources.0.path: 'a.txt' ''\n"
            "sources.0.weight: '1.0' ''\n");
  EXPECT_TRUE(DiffConfigs(FlattenConfig(left), FlattenConfig(left)).empty());
  EXPECT_EQ(DiffConfigs({}, {{"new", "1"}}).at(0).right, "1");
}

TEST(HelpTable, ShowsTypesDefaultsAndTheKeysOfListItems) {
  std::string text;
  for (const HelpRow& row : HelpTable(SampleTrain())) {
    text += Str(row.key, " | ", row.type, " | ", row.default_value, " | ", row.help, "\n");
  }
  EXPECT_EQ(text,
            "optim | section |  | AdamW\n"
            "optim.lr | number | 3e-4 | peak learning rate\n"
            "optim.schedule | cosine | linear | constant | cosine | shape of the learning rate\n"
            "optim.warmup_steps | integer | 0 | steps of linear warmup\n"
            "compile | bool | false | compile the model\n"
            "steps | integer | 100 | optimizer steps\n"
            "sources | list of sections | [] | what to read\n"
            "sources[].path | string | x.txt | text file\n"
            "sources[].weight | number | 1.0 | share of the mixture\n");
}

TEST(HelpTable, NamesTheTypesOfAllFields) {
  std::string types;
  for (const HelpRow& row : HelpTable(SampleConfig())) {
    if (row.key.rfind("train", 0) != 0) types += row.type + "; ";
  }
  EXPECT_EQ(types,
            "string; integer or null; number or null; list of integers; list of numbers; list of "
            "strings; any; ");
}

TEST(ClosestWord, FindsSlipsOfTheFinger) {
  const std::vector<std::string> words = {"optim", "steps", "lr", "schedule"};
  EXPECT_EQ(ClosestWord("optm", words), "optim");
  EXPECT_EQ(ClosestWord("stpes", words), "steps");
  EXPECT_EQ(ClosestWord("l", words), "lr");
  EXPECT_EQ(ClosestWord("shedules", words), "schedule");
  EXPECT_EQ(ClosestWord("banana", words), "");
  EXPECT_EQ(ClosestWord("xy", words), "");
  EXPECT_EQ(ClosestWord(std::string(100000, 'x'), words), "");
}

}  // namespace
}  // namespace ckv
