// `ckv chat` with its input from a pipe.
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "base/json.h"
#include "tests/app/run_program.h"
#include "tests/app/tiny_model.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

class ChatCommandTest : public ::testing::Test {
 protected:
  ChatCommandTest() {
    at::set_num_threads(1);
    DecoderConfig config = BytesConfig("0_3_3_3_4");
    config.max_position_embeddings = 300;
    Decoder decoder = RandomModel(config, 1);
    WriteModel(Path("model"), decoder);
    WriteFileAtomically(Path("chat.yaml"),
                        "system_text: Be kind.\nuser: {prefix: \"Q \", suffix: \"\\n\"}\n"
                        "assistant: {prefix: \"A\", suffix: \"\\n\"}\nstop: []\n");
  }

  std::string Path(const std::string& name) const { return temp_.File(name); }

  std::vector<std::string> Words(const std::vector<std::string>& more) const {
    std::vector<std::string> words = {"chat",       Path("model"),     "--device",     "cpu",
                                      "--template", Path("chat.yaml"), "--max-tokens", "8"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  ProgramResult Chat(const std::string& input, const std::vector<std::string>& more = {}) const {
    ProgramLimits limits;
    limits.input = input;
    return RunCkv(Words(more), limits);
  }

  std::vector<Json> Answers(const std::string& input, std::vector<std::string> more = {}) const {
    more.push_back("--json");
    const ProgramResult result = Chat(input, more);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    std::vector<Json> answers;
    std::istringstream in(result.out);
    for (std::string line; std::getline(in, line);) answers.push_back(ParseJson(line, "stdout"));
    return answers;
  }

  TempDir temp_;
};

TEST_F(ChatCommandTest, AnswersEachLineAndFeedsOnlyWhatIsNew) {
  const std::vector<Json> answers = Answers("hello\n\nagain\n");
  ASSERT_EQ(answers.size(), 2u);
  EXPECT_EQ(answers[0]["role"], "assistant");
  EXPECT_EQ(answers[0]["context_tokens"], 19);  // "Be kind.\n\nQ hello\nA"
  EXPECT_EQ(answers[0]["computed_tokens"], 19);
  EXPECT_EQ(answers[1]["computed_tokens"], answers[1]["context_tokens"].get<int64_t>() - 19 -
                                               answers[0]["tokens"].get<int64_t>() + 1);
  const ProgramResult text = Chat("hello\n\nagain\n");
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_EQ(text.out, answers[0]["content"].get<std::string>() + "\n" +
                          answers[1]["content"].get<std::string>() + "\n");
}

TEST_F(ChatCommandTest, CommandsActAndAreNotMessages) {
  const std::vector<Json> answers = Answers(
      "/set temperature 0\nhello\n/reset\nhello\n/set max_tokens "
      "3\n/reset\n//hello\n/quit\nlost\n");
  ASSERT_EQ(answers.size(), 3u);
  EXPECT_EQ(answers[1]["content"], answers[0]["content"]);
  EXPECT_EQ(answers[1]["context_tokens"], 19);
  EXPECT_EQ(answers[2]["context_tokens"], 20);  // "/hello"
  EXPECT_LE(answers[2]["tokens"], 3);
  const ProgramResult help = Chat("/help\n/set\n");
  EXPECT_EQ(help.out, "");
  EXPECT_THAT(help.err, HasSubstr("/save FILE"));
  EXPECT_THAT(help.err, HasSubstr("(temperature 1, top_k 0, "));
}

TEST_F(ChatCommandTest, TheSeedDecides) {
  const auto contents = [&](const std::string& seed) {
    const std::vector<Json> answers = Answers("a\nb\n", {"--seed", seed});
    return std::make_pair(answers[0]["content"], answers[1]["content"]);
  };
  EXPECT_EQ(contents("3"), contents("3"));
  EXPECT_NE(contents("3"), contents("4"));
}

TEST_F(ChatCommandTest, EngineAndEagerStepsGiveTheSame) {
  const std::string input = "hello\n/set temperature 0\nagain\n/set temperature 1.2\nand again\n";
  EXPECT_EQ(Answers(input, {"--precision", "fp64", "--steps", "engine"}),
            Answers(input, {"--precision", "fp64", "--steps", "eager"}));
}

TEST_F(ChatCommandTest, ConversationsAreSaved) {
  const ProgramResult result = Chat(Str("hello\n/save ", Path("half.json"), "\nmore\n"),
                                    {"--out", Path("whole.json"), "--system", "Be brief."});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  const Json half = ReadJsonFile(Path("half.json"));
  const Json whole = ReadJsonFile(Path("whole.json"));
  ASSERT_EQ(half["messages"].size(), 3u);
  ASSERT_EQ(whole["messages"].size(), 5u);
  EXPECT_EQ(whole["messages"][0], (Json{{"role", "system"}, {"content", "Be brief."}}));
  EXPECT_EQ(whole["messages"][2], half["messages"][2]);
  EXPECT_EQ(whole["messages"][3], (Json{{"role", "user"}, {"content", "more"}}));
  EXPECT_EQ(result.out, whole["messages"][2]["content"].get<std::string>() + "\n" +
                            whole["messages"][4]["content"].get<std::string>() + "\n");
}

TEST_F(ChatCommandTest, MistakesDoNotEndTheConversation) {
  const ProgramResult result =
      Chat(Str("/sett x\n/set colour 3\n/set temperature hot\n/set top_p 2\n/set max_tokens 0\n"
               "/set top_k\n/save\n/save ",
               Path("none"), "/x.json\n", "hello\n"),
           {"--json"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.err, HasSubstr("error: unknown command '/sett'; /help lists them\n"));
  EXPECT_THAT(result.err,
              HasSubstr("error: /set: there is no setting 'colour'; /help lists them\n"));
  EXPECT_THAT(result.err,
              HasSubstr("error: /set: 'temperature' is 'hot' (a string), but must be a number\n"));
  EXPECT_THAT(result.err, HasSubstr("error: --top-p: 2, but must be above 0 and at most 1\n"));
  EXPECT_THAT(result.err, HasSubstr("error: max_tokens: 0, but must be >= 1\n"));
  EXPECT_THAT(result.err, HasSubstr("error: /set top_k: needs a value\n"));
  EXPECT_THAT(result.err, HasSubstr("error: /save: needs the name of a file\n"));
  EXPECT_THAT(result.err, HasSubstr("/x.json"));
  EXPECT_THAT(result.out, EndsWith("\n"));
  EXPECT_EQ(ParseJson(result.out, "stdout")["context_tokens"], 19);
}

TEST_F(ChatCommandTest, AFullContextIsToldInWords) {
  const ProgramResult result =
      Chat(std::string(100, 'x') + "\nhello\nhello\nhello\n", {"--context", "60", "--json"});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err,
              HasSubstr("The message does not fit: with the template it has 114 tokens, "
                        "and the context has 60. Please shorten it.\n"));
  EXPECT_THAT(result.err, HasSubstr("(The context of 60 tokens is full: the 2 oldest messages were "
                                    "forgotten.)\n"));
}

TEST_F(ChatCommandTest, BadInputIsNamed) {
  const auto error = [&](int exit_code, const std::vector<std::string>& more) {
    std::vector<std::string> words = {"chat", Path("model"), "--device", "cpu"};
    words.insert(words.end(), more.begin(), more.end());
    return CkvError(exit_code, words);
  };
  EXPECT_EQ(error(2, {"--max-tokens", "0"}), "--max-tokens: 0, but must be >= 1");
  EXPECT_EQ(error(2, {"--context", "0"}), "--context: 0, but must be >= 1");
  EXPECT_EQ(error(2, {"--temperature", "-1"}), "--temperature: -1, but must be >= 0");
  EXPECT_THAT(error(4, {"--template", Path("none.yaml")}), HasSubstr("none.yaml"));
  WriteFileAtomically(Path("bad.yaml"), "users: {}\n");
  EXPECT_EQ(error(2, {"--template", Path("bad.yaml")}),
            Str(Path("bad.yaml"), ":1:1: unknown key 'users' (did you mean 'user'?)"));
  WriteFileAtomically(Path("bad.yaml"), "tokens: [\"<|im_end|>\"]\n");
  EXPECT_EQ(error(2, {"--template", Path("bad.yaml")}),
            "template: 'tokens' names '<|im_end|>', which the model's vocabulary does not have");
  Decoder decoder = RandomModel(BytesConfig("0_1_2_3"), 1);
  WriteModel(Path("bare"), decoder, /*tokenizer=*/false);
  EXPECT_EQ(CkvError(4, {"chat", Path("bare"), "--device", "cpu"}),
            Str(Path("bare"), ": has no tokenizer.model, tokenizer.char or tokenizer.byte"));
}

// Every example is a template; only its tokens depend on the model.
TEST(ChatTemplates, OfTheExamplesAreRead) {
  size_t count = 0;
  for (const std::string& name : ListDir(CKV_SOURCE_DIR "/configs/chat")) {
    const TempDir dir;
    WriteModel(dir.File("model"), "0_1_2_3");
    ProgramLimits limits;
    limits.input = "/quit\n";
    const ProgramResult result = RunCkv({"chat", dir.File("model"), "--device", "cpu", "--template",
                                         JoinPath(CKV_SOURCE_DIR "/configs/chat", name)},
                                        limits);
    const bool needs_tokens = name == "chatml.yaml";
    EXPECT_EQ(result.exit_code, needs_tokens ? 2 : 0) << name << result.err;
    ++count;
  }
  EXPECT_GE(count, 4u);
}

}  // namespace
}  // namespace ckv
