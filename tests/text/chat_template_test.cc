#include "text/chat_template.h"

#include <memory>

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"
#include "config/config.h"
#include "tests/temp_dir.h"
#include "tests/text/marked_template.h"

namespace ckv {
namespace {

using Strings = std::vector<std::string>;

std::vector<int32_t> BytesOfText(const std::string& text) {
  std::vector<int32_t> ids;
  for (const char byte : text) ids.push_back(static_cast<unsigned char>(byte));
  return ids;
}

TEST(ChatEncoder, PutsMessagesBetweenPrefixesAndSuffixes) {
  const auto tokenizer = LoadTokenizer("byte");
  const ChatEncoder encoder(Marked(), *tokenizer);
  std::vector<int32_t> want = {256};
  for (const int32_t id : BytesOfText("[Be kind.]Q hi\nA yes")) want.push_back(id);
  want.push_back(257);
  for (const int32_t id : BytesOfText("Q </s>?\nA")) want.push_back(id);
  // A token's name in a message is mere text.
  EXPECT_EQ(encoder.Encode({{"system", "Be kind.", {}},
                            {"user", "hi", {}},
                            {"assistant", "forged", BytesOfText(" yes")},
                            {"user", "</s>?", {}}}),
            want);
}

TEST(ChatEncoder, OverlappingTokensTakeTheLongest) {
  ChatTemplate marked = Marked();
  marked.tokens = {"<0x41>", "<0x4", "</s>"};
  const auto tokenizer = LoadTokenizer("byte");
  EXPECT_EQ(ErrorOf([&] { ChatEncoder(marked, *tokenizer); }),
            "2: template: 'tokens' names '<0x4', which the model's vocabulary does not have");
  marked.tokens = {"<0x41>", "</s>"};
  marked.begin = "x</s></s><0x41>y";
  marked.assistant.prefix = "";
  EXPECT_EQ(ChatEncoder(marked, *tokenizer).Encode({}),
            (std::vector<int32_t>{'x', 257, 257, 'A', 'y'}));
}

TEST(ChatTemplate, IsReadFromYaml) {
  const TempDir dir;
  const std::string path = dir.File("chat.yaml");
  WriteFileAtomically(path, "user: {prefix: \"<|u|>\\n\", suffix: \"\"}\nstop: [\"<|u|>\"]\n");
  const ChatTemplate read = LoadChatTemplate(path);
  EXPECT_EQ(read.user.prefix, "<|u|>\n");
  EXPECT_EQ(read.user.suffix, "");
  EXPECT_EQ(read.assistant.prefix, "Assistant:");
  EXPECT_EQ(read.stop, (Strings{"<|u|>"}));
  WriteFileAtomically(path, "user: {prefx: a}\n");
  EXPECT_EQ(ErrorOf([&] { LoadChatTemplate(path); }),
            Str("2: ", path, ":1:8: unknown key 'user.prefx' (did you mean 'user.prefix'?)"));
  WriteFileAtomically(path, "begin: a\nstop: [\"\"]\n");
  EXPECT_EQ(ErrorOf([&] { LoadChatTemplate(path); }),
            Str("2: ", path, ":2:7: 'stop' holds a text that is empty or not UTF-8"));
}

TEST(ChatTemplate, ThePlainOneOfTheExamplesIsTheDefault) {
  EXPECT_EQ(DumpYaml(LoadChatTemplate(CKV_SOURCE_DIR "/configs/chat/plain.yaml")),
            DumpYaml(ChatTemplate()));
}

// What a model is trained on is what a chat shows it and stops at.
TEST(ChatEncoder, AnAnswerEndsWhereAChatStops) {
  const auto tokenizer = LoadTokenizer("byte");
  const auto answer = [&](const ChatTemplate& chat_template) {
    return ChatEncoder(chat_template, *tokenizer).EncodeAnswer("yes");
  };
  const auto ids = [](const std::string& text, int32_t end) {
    std::vector<int32_t> all = BytesOfText(text);
    all.push_back(end);
    return all;
  };
  ChatTemplate plain;
  // "Assistant:" leaves the blank to the model; no token ends the answer, so </s> does.
  EXPECT_EQ(answer(plain), ids(" yes", 257));
  EXPECT_EQ(ChatEncoder(plain, *tokenizer).StopIds(), (std::vector<int32_t>{257}));
  EXPECT_EQ(ChatEncoder(plain, *tokenizer).EncodeFirst("hi"), BytesOfText("User: hi\nAssistant:"));

  ChatTemplate lines = Marked();  // the suffix is </s> itself
  lines.assistant.prefix = "A\n";
  EXPECT_EQ(answer(lines), ids("yes", 257));
  lines.assistant.suffix = "!\n</s>\n";
  EXPECT_EQ(answer(lines), ids("yes!\n", 257));

  ChatTemplate marks;  // a mark of its own, as ChatML
  marks.tokens = {"<0x5B>", "<0x5D>"};
  marks.user = {"<0x5B>u", "<0x5D>"};
  marks.assistant = {"", "<0x5D>\n"};
  marks.stop = {"<0x5D>"};
  EXPECT_EQ(answer(marks), ids("yes", 0x5D));  // behind a token no blank
  EXPECT_EQ(ChatEncoder(marks, *tokenizer).StopIds(), (std::vector<int32_t>{0x5D, 257}));
  marks.stop.clear();  // nothing would stop there
  EXPECT_EQ(answer(marks), ids("yes", 257));

  ChatTemplate instruct;  // Llama 2's, whose assistant has no prefix
  instruct.tokens = {"<s>", "</s>"};
  instruct.user = {"<s>[INST] ", " [/INST]"};
  instruct.assistant = {"", "</s>"};
  EXPECT_EQ(answer(instruct), ids(" yes", 257));
}

}  // namespace
}  // namespace ckv
