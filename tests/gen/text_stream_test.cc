#include "gen/text_stream.h"

#include <gtest/gtest.h>

namespace ckv {
namespace {

std::vector<int32_t> Bytes(const std::string& text) {
  std::vector<int32_t> ids;
  for (const char byte : text) ids.push_back(static_cast<unsigned char>(byte));
  return ids;
}

TEST(TextStream, NeverGivesHalfACharacter) {
  const auto tokenizer = LoadTokenizer("byte");
  TextStream stream(tokenizer.get(), Bytes("a\xc3"));  // the prompt ends within a letter
  EXPECT_EQ(stream.prompt_text(), "a");
  EXPECT_EQ(stream.Push(0xa9), "é");
  EXPECT_EQ(stream.Push(0xe2), "");
  EXPECT_EQ(stream.Push(0x82), "");
  EXPECT_EQ(stream.Push(0xac), "€");
  EXPECT_EQ(stream.Push(0xe2), "");
  EXPECT_EQ(stream.Finish(), "\xef\xbf\xbd");
}

TEST(TextStream, StopsAtAStringAcrossTokensButNotInThePrompt) {
  const auto tokenizer = LoadTokenizer("byte");
  TextStream stream(tokenizer.get(), Bytes("x€ €"), {"€!"});
  EXPECT_FALSE(stream.stopped());
  std::string text;
  for (const int32_t id : Bytes("!a€€!b")) text += stream.Push(id);
  EXPECT_TRUE(stream.stopped());
  EXPECT_EQ(text + stream.Finish(), "!a€");
}

TEST(TextStream, GivesBackAPartialStopStringAtTheEnd) {
  const auto tokenizer = LoadTokenizer("byte");
  TextStream stream(tokenizer.get(), {}, {"END"});
  EXPECT_EQ(stream.Push('E'), "");
  EXPECT_EQ(stream.Push('N'), "");
  EXPECT_EQ(stream.Finish(), "EN");
}

TEST(TextStream, WritesNumbersWithoutATokenizer) {
  TextStream stream(nullptr, {1, 17});
  EXPECT_EQ(stream.prompt_text(), "1 17");
  EXPECT_EQ(stream.Push(4), " 4");
  EXPECT_EQ(stream.Finish(), "");
}

}  // namespace
}  // namespace ckv
