#include <algorithm>
#include <set>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "tests/app/run_program.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAreArray;

// A command line as bash splits it; the cursor is at the end of the last word.
using Words = std::vector<std::string>;

std::string Quoted(const std::string& word) { return "'" + word + "'"; }

// What bash proposes for each of `lines`, by calling the function that the script registers.
std::vector<Words> CompleteInBash(const std::vector<Words>& lines) {
  const ProgramResult script = RunCkv({"completion", "bash"});
  EXPECT_EQ(script.exit_code, 0) << script.err;
  std::string text = "set -u\n" + script.out;
  for (const Words& line : lines) {
    text += "COMP_WORDS=(";
    for (const std::string& word : line) text += " " + Quoted(word);
    text += Str(" )\nCOMP_CWORD=", line.size() - 1, "\n_ckv ckv ", Quoted(line.back()), " ",
                Quoted(line[line.size() - 2]), "\n",
                "printf '%s\\n' \"${COMPREPLY[@]+${COMPREPLY[@]}}\" END\n");
  }
  const TempDir dir;
  WriteFileAtomically(dir.File("test.bash"), text);
  const ProgramResult result = RunProcess({"bash", dir.File("test.bash")});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "");
  std::vector<Words> replies(1);
  std::istringstream in(result.out);
  for (std::string word; std::getline(in, word);) {
    if (word == "END") {
      replies.emplace_back();
    } else if (!word.empty()) {
      std::istringstream parts(word);
      for (std::string part; parts >> part;) replies.back().push_back(part);
    }
  }
  replies.pop_back();
  EXPECT_EQ(replies.size(), lines.size());
  replies.resize(lines.size());
  return replies;
}

Words CompleteOne(const Words& line) { return CompleteInBash({line})[0]; }

Words LineOf(const HelpedCommand& command, const std::string& last) {
  Words line = {"ckv"};
  line.insert(line.end(), command.words.begin(), command.words.end());
  line.push_back(last);
  return line;
}

TEST(BashCompletion, ProposesWhatHelpListsForEveryCommand) {
  std::vector<Words> lines;
  for (const HelpedCommand& command : AllCommands()) {
    lines.push_back(LineOf(command, ""));
    lines.push_back(LineOf(command, "--"));
  }
  const std::vector<Words> replies = CompleteInBash(lines);
  size_t next = 0;
  for (const HelpedCommand& command : AllCommands()) {
    const std::string what = ::testing::PrintToString(command.words);
    const Words& words = replies[next++];
    const Words& options = replies[next++];
    if (!command.subcommands.empty()) {
      EXPECT_THAT(words, UnorderedElementsAreArray(command.subcommands)) << what;
    }
    Words long_options;
    for (const std::string& name : command.options) {
      if (name.rfind("--", 0) == 0) long_options.push_back(name);
    }
    EXPECT_THAT(options, UnorderedElementsAreArray(long_options)) << what;
  }
}

TEST(BashCompletion, CompletesPrefixes) {
  EXPECT_THAT(CompleteOne({"ckv", "insp"}), ElementsAre("inspect"));
  EXPECT_THAT(CompleteOne({"ckv", "data", "pre"}), ElementsAre("prepare"));
  EXPECT_THAT(CompleteOne({"ckv", "data", "prepare", "--tok"}), ElementsAre("--tokenizer"));
  EXPECT_THAT(CompleteOne({"ckv", "completion", "z"}), ElementsAre("zsh"));
}

TEST(BashCompletion, FindsTheCommandBehindOptions) {
  EXPECT_THAT(CompleteOne({"ckv", "data", "tokenizer", "a.txt", "--seed", "3", "--vocab"}),
              ElementsAre("--vocab-size"));
}

TEST(BashCompletion, ProposesChoicesOfAnOption) {
  EXPECT_THAT(CompleteOne({"ckv", "data", "tokenizer", "--type", ""}),
              ElementsAre("unigram", "bpe", "char"));
  EXPECT_THAT(CompleteOne({"ckv", "plot", "--x", "t"}), ElementsAre("tokens"));
  // bash makes three words of --type=u, and two of --type=.
  EXPECT_THAT(CompleteOne({"ckv", "data", "tokenizer", "--type", "=", "u"}),
              ElementsAre("unigram"));
  EXPECT_THAT(CompleteOne({"ckv", "data", "tokenizer", "--type", "="}),
              ElementsAre("unigram", "bpe", "char"));
  // Options made from a config struct.
  EXPECT_THAT(CompleteOne({"ckv", "data", "prepare", "--format", "j"}), ElementsAre("jsonl"));
}

TEST(BashCompletion, LeavesFilesToReadline) {
  EXPECT_THAT(CompleteOne({"ckv", "train", ""}), IsEmpty());
  EXPECT_THAT(CompleteOne({"ckv", "data", "prepare", "--out", ""}), IsEmpty());
  EXPECT_THAT(CompleteOne({"ckv", "data", "prepare", "--out", "--"}), IsEmpty());
  EXPECT_THAT(RunCkv({"completion", "bash"}).out, HasSubstr("complete -o default -F _ckv ckv\n"));
}

TEST(Completion, GivesTheScriptAsFileAndJson) {
  const TempDir dir;
  const ProgramResult script = RunCkv({"completion", "bash"});
  const ProgramResult to_file = RunCkv({"completion", "bash", "--out", dir.File("ckv.bash")});
  EXPECT_EQ(to_file.exit_code, 0);
  EXPECT_EQ(to_file.out, "");
  EXPECT_EQ(ReadFile(dir.File("ckv.bash")), script.out);
  const Json json = RunCkvJson({"completion", "zsh"});
  EXPECT_EQ(json["shell"], "zsh");
  EXPECT_THAT(json["script"].get<std::string>(), ::testing::StartsWith("#compdef ckv\n"));
}

TEST(ZshCompletion, IsValidZshAndNamesEveryCommandAndOption) {
  const ProgramResult script = RunCkv({"completion", "zsh"});
  ASSERT_EQ(script.exit_code, 0);
  for (const HelpedCommand& command : AllCommands()) {
    for (const std::string& name : command.subcommands) {
      EXPECT_THAT(script.out, HasSubstr(Str("'", name, ":")));
    }
    for (const std::string& name : command.options) {
      EXPECT_THAT(script.out, HasSubstr(Str("'", name, ":")));
    }
  }
  if (RunProcess({"sh", "-c", "command -v zsh"}).exit_code != 0) {
    GTEST_SKIP() << "zsh is not installed: its syntax is not checked";
  }
  const TempDir dir;
  WriteFileAtomically(dir.File("_ckv"), script.out);
  const ProgramResult check = RunProcess({"zsh", "-n", dir.File("_ckv")});
  EXPECT_EQ(check.exit_code, 0);
  EXPECT_EQ(check.err, "");
}

}  // namespace
}  // namespace ckv
