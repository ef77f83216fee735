#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "app/error_line.h"
#include "base/error.h"
#include "tests/app/run_program.h"

namespace ckv {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Joined(const std::vector<std::string>& words) {
  std::string text = "ckv";
  for (const std::string& word : words) text += " " + word;
  return text;
}

std::vector<std::string> With(std::vector<std::string> words,
                              const std::vector<std::string>& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

TEST(ErrorLine, IsOneLineInWords) {
  EXPECT_EQ(ErrorLine("bad value\nframe #0: somewhere"), "bad value");
  EXPECT_EQ(ErrorLine("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't "
                      "allocate memory: you tried to allocate 4096 bytes. Error code 12\nframe"),
            "out of memory: 4096 bytes more could not be had on the CPU; a smaller model or batch "
            "would need fewer");
}

TEST(Help, OfEveryCommandShowsItsUsage) {
  const std::vector<HelpedCommand>& commands = AllCommands();
  std::vector<std::string> paths;
  for (const HelpedCommand& command : commands) {
    paths.push_back(Joined(command.words));
    EXPECT_THAT(command.help, HasSubstr("Usage: " + Joined(command.words) + " [OPTIONS]"));
    EXPECT_THAT(command.options, Contains("--help"));
  }
  for (const char* path :
       {"ckv", "ckv train", "ckv data", "ckv data tokenizer", "ckv data prepare",
        "ckv data stories", "ckv data info", "ckv data verify", "ckv eval perplexity",
        "ckv generate", "ckv chat", "ckv stream", "ckv inspect", "ckv plot", "ckv completion"}) {
    EXPECT_THAT(paths, Contains(path));
  }
}

TEST(Help, OfEveryCommandThatGivesResultsHasJson) {
  for (const HelpedCommand& command : AllCommands()) {
    if (command.subcommands.empty()) {
      EXPECT_THAT(command.options, Contains("--json")) << Joined(command.words);
      EXPECT_THAT(command.options, Contains("--out")) << Joined(command.words);
    }
  }
}

TEST(Help, WinsOverMissingArguments) {
  const ProgramResult result = RunCkv({"data", "prepare", "--out", "x", "-h"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, HasSubstr("Usage: ckv data prepare"));
}

TEST(Help, NamesTheExitCodes) {
  for (const char* text : {"1 internal error", "2 wrong usage", "3 broken input", "4 reading"}) {
    EXPECT_THAT(AllCommands()[0].help, HasSubstr(text));
  }
}

TEST(Help, ThatCannotBePrintedIsAnError) {
  const ProgramResult result = RunProcess({"sh", "-c", "\"$0\" --help > /dev/full", CKV_PROGRAM});
  EXPECT_EQ(result.exit_code, kExitIo);
  EXPECT_EQ(result.err, "error: stdout: cannot write: No space left on device\n");
}

// The program itself must do what RunCkv does in a child of the test.
TEST(Binary, DoesWhatTheOtherTestsSee) {
  const std::vector<std::vector<std::string>> lines = {
      {"--help"},
      {"data", "prepare", "--help"},
      {"completion", "bash"},
      {"inspect", "--sharing", "0_2*3", "--hidden-size", "64", "--heads", "4", "--ffn", "99",
       "--vocab", "500", "--json"},
      {"inspect", "--sharing", "0_9"},
      {"data", "info", "/nonexistent"},
      {"data", "verify", "/tmp"},
      {"trian"},
      {}};
  for (const std::vector<std::string>& arguments : lines) {
    const ProgramResult real = RunProcess(With({CKV_PROGRAM}, arguments));
    const ProgramResult seen = RunCkv(arguments);
    EXPECT_EQ(real.exit_code, seen.exit_code) << Joined(arguments);
    EXPECT_EQ(real.out, seen.out) << Joined(arguments);
    EXPECT_EQ(real.err, seen.err) << Joined(arguments);
  }
}

TEST(Version, IsOneLine) {
  const ProgramResult result = RunProcess({CKV_PROGRAM, "--version"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "");
  EXPECT_THAT(result.out, ::testing::MatchesRegex("ckv [0-9]+\\.[0-9]+\\.[0-9]+ \\([^\n]+\\)\n"));
}

TEST(Usage, WithoutACommandListsThem) {
  EXPECT_THAT(CkvError(kExitConfig, {}), StartsWith("a command is missing: one of data, train, "));
  EXPECT_EQ(CkvError(kExitConfig, {"data"}),
            "a command is missing: one of tokenizer, prepare, stories, info, verify, conic; see "
            "'ckv data "
            "--help'");
}

TEST(Usage, UnknownCommandIsNamedWithTheNearestOne) {
  EXPECT_EQ(CkvError(kExitConfig, {"trian", "x.yaml"}),
            "unknown command 'trian' (did you mean 'train'?); see 'ckv --help'");
  EXPECT_EQ(CkvError(kExitConfig, {"data", "prepair", "--out", "x"}),
            "unknown command 'prepair' (did you mean 'prepare'?); see 'ckv data --help'");
  EXPECT_EQ(CkvError(kExitConfig, {"frobnicate"}),
            "unknown command 'frobnicate'; see 'ckv --help'");
}

TEST(Usage, UnknownOptionOfEveryCommandIsNamedWithTheNearestOne) {
  for (const HelpedCommand& command : AllCommands()) {
    const std::string path = Joined(command.words);
    EXPECT_EQ(CkvError(kExitConfig, With(command.words, {"--helpp"})),
              "unknown option '--helpp' (did you mean '--help'?); see '" + path + " --help'");
  }
}

TEST(Usage, UnknownOptionWinsOverMissingOnesAndIsCutAtItsValue) {
  EXPECT_EQ(CkvError(kExitConfig, {"data", "prepare", "--tokeniser=byte", "--out", "x", "a.txt"}),
            "unknown option '--tokeniser' (did you mean '--tokenizer'?); see 'ckv data prepare "
            "--help'");
  EXPECT_EQ(CkvError(kExitConfig, {"--jsn", "inspect", "--sharing", "0"}),
            "unknown option '--jsn'; see 'ckv --help'");
  EXPECT_EQ(CkvError(kExitConfig, {"inspect", "--sharing", "0", "-z"}),
            "unknown option '-z'; see 'ckv inspect --help'");
}

TEST(Usage, OneArgumentTooManyIsNamed) {
  EXPECT_EQ(CkvError(kExitConfig, {"data", "info", "a", "b"}),
            "one argument too many: 'b'; see 'ckv data info --help'");
}

TEST(Usage, NamesOfCommandsAreGoodArguments) {
  EXPECT_THAT(CkvError(kExitIo, {"data", "info", "train"}), StartsWith("train"));
  EXPECT_THAT(CkvError(kExitIo, {"data", "verify", "prepare", "data"}), StartsWith("prepare"));
}

struct UsageCase {
  std::vector<std::string> arguments;
  std::string error;  // before "; see"
};

class UsageTest : public ::testing::TestWithParam<UsageCase> {};

TEST_P(UsageTest, IsOneLineThatNamesTheOption) {
  const std::string error = CkvError(kExitConfig, GetParam().arguments);
  EXPECT_EQ(error.substr(0, error.find("; see 'ckv ")), GetParam().error);
}

INSTANTIATE_TEST_SUITE_P(
    Missing, UsageTest,
    ::testing::Values(
        UsageCase{{"train"}, "CONFIG is required"},
        UsageCase{{"data", "prepare", "a.txt", "--tokenizer", "byte"}, "--out is required"},
        UsageCase{{"data", "prepare", "a.txt", "--out", "x"}, "--tokenizer is required"},
        UsageCase{{"data", "prepare", "--tokenizer", "byte", "--out", "x"}, "INPUT is required"},
        UsageCase{{"data", "tokenizer", "a.txt"}, "--out is required"},
        UsageCase{{"data", "tokenizer", "--out", "x"}, "INPUT is required"},
        UsageCase{{"data", "stories", "--out", "x"}, "--count is required"},
        UsageCase{{"data", "stories", "--count", "3"}, "--out is required"},
        UsageCase{{"data", "info"}, "FOLDER is required"},
        UsageCase{{"data", "verify"}, "FOLDER is required"},
        UsageCase{{"plot", "runs/a"}, "--out is required"},
        UsageCase{{"plot", "--out", "x.svg"}, "RUN is required"},
        UsageCase{{"inspect"}, "MODEL or --sharing is required"},
        UsageCase{{"completion"}, "SHELL is required"},
        UsageCase{{"inspect", "--sharing"}, "--sharing needs a value"},
        UsageCase{{"data", "stories", "--count", "3", "--out"}, "--out needs a value"},
        UsageCase{{"inspect", "x.yaml", "--heads", "3"}, "--heads requires --sharing"},
        UsageCase{{"inspect", "x.yaml", "--title", "t"}, "--title requires --svg"}));

INSTANTIATE_TEST_SUITE_P(
    Wrong, UsageTest,
    ::testing::Values(
        UsageCase{{"inspect", "--sharing", "0", "--layers", "abc"},
                  "--layers: 'abc' is not a whole number"},
        UsageCase{{"inspect", "--sharing", "0", "--seq-len", "1.5"},
                  "--seq-len: '1.5' is not a whole number"},
        UsageCase{{"inspect", "--sharing", "0", "--seq-len", "0x10"},
                  "--seq-len: '0x10' is not a whole number"},
        UsageCase{{"inspect", "--sharing", "0", "--batch", "99999999999999999999"},
                  "--batch: '99999999999999999999' is not a whole number"},
        UsageCase{{"inspect", "--sharing", "0", "--batch", "true"},
                  "--batch: 'true' is not a whole number"},
        UsageCase{{"inspect", "--sharing", "0", "--batch", ""},
                  "--batch: '' is not a whole number"},
        UsageCase{{"inspect", "--sharing", "0", "--heads", "0"}, "--heads: '0' must be >= 1"},
        UsageCase{{"inspect", "--sharing", "0", "--memory-gb", "nan"},
                  "--memory-gb: 'nan' is not a number"},
        UsageCase{{"inspect", "--sharing", "0", "--memory-gb", "-1"},
                  "--memory-gb: -1, but must be > 0"},
        UsageCase{{"data", "stories", "--count", "3", "--seed", "-1", "--out", "x"},
                  "--seed: '-1' is negative"},
        UsageCase{{"data", "stories", "--count", "0", "--out", "x"},
                  "--count: 0, but must be >= 1"},
        UsageCase{{"data", "tokenizer", "a", "--out", "x", "--type", "wordpiece"},
                  "--type: wordpiece not in {unigram,bpe,char}"},
        UsageCase{{"completion", "fish"}, "SHELL: fish not in {bash,zsh}"},
        UsageCase{{"inspect", "--sharing", "0", "--batch", "1", "--batch", "2"},
                  "--batch is given more than once"},
        UsageCase{{"inspect", "--sharing", "0", "--json=3"}, "--json takes no value"}));

}  // namespace
}  // namespace ckv
