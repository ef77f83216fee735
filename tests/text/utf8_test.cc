#include "text/utf8.h"

#include <string>

#include <gtest/gtest.h>

#include "base/random.h"

namespace ckv {
namespace {

constexpr char kFffd[] = "\xEF\xBF\xBD";

TEST(Utf8, AppendAndNextAgreeForEveryCodePoint) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string text;
    AppendUtf8(c, &text);
    const Utf8Step step = NextCodePoint(text);
    ASSERT_TRUE(step.valid) << static_cast<uint32_t>(c);
    ASSERT_EQ(step.code_point, c);
    ASSERT_EQ(step.length, text.size());
  }
}

TEST(Utf8, RefusesWhatRfc3629Forbids) {
  for (const char* bad : {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xE0\x9F\xBF",
                          "\xED\xA0\x80", "\xED\xBF\xBF", "\xF0\x80\x80\x80", "\xF0\x8F\xBF\xBF",
                          "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xC3", "\xE2\x82"}) {
    EXPECT_EQ(FirstInvalidUtf8(std::string("ok") + bad), 2u) << bad;
  }
  for (const char* good : {"", "a", "\xC2\x80", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEE\x80\x80",
                           "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"}) {
    EXPECT_TRUE(IsValidUtf8(good)) << good;
  }
}

// Unicode 15, chapter 3.9, table 3-8: one U+FFFD a maximal part of a valid sequence.
TEST(Utf8, ReplacesMaximalPrefixes) {
  const std::string text = "\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64";
  std::string expected = "a";
  expected += std::string(kFffd) + kFffd + kFffd + "b" + kFffd + "c" + kFffd + kFffd + "d";
  EXPECT_EQ(ReplaceInvalidUtf8(text), expected);
}

// However random bytes are cut into pieces, the stream gives what the whole text gives.
TEST(Utf8Stream, DoesNotDependOnThePieces) {
  Random random(7);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    while (text.size() < 24) {
      const uint64_t draw = random.Below(4);
      if (draw == 0) {
        text.push_back(static_cast<char>(random.Below(256)));
      } else {
        AppendUtf8(static_cast<char32_t>(random.Below(draw == 1 ? 0x80 : 0xD800)), &text);
      }
    }
    if (random.Below(2) == 0) text.pop_back();
    Utf8Stream stream;
    std::string result;
    for (size_t at = 0; at < text.size();) {
      const size_t length = 1 + random.Below(4);
      const std::string piece = stream.Push(std::string_view(text).substr(at, length));
      EXPECT_TRUE(IsValidUtf8(piece));
      result += piece;
      at += length;
    }
    result += stream.Finish();
    ASSERT_EQ(result, ReplaceInvalidUtf8(text));
  }
}

TEST(Utf8Stream, HoldsBackAnUnfinishedCharacter) {
  Utf8Stream stream;
  EXPECT_EQ(stream.Push("a\xE2\x82"), "a");
  EXPECT_EQ(stream.Push("\xAC"), "\xE2\x82\xAC");
  EXPECT_EQ(stream.Push("\xE2"), "");
  EXPECT_EQ(stream.Finish(), kFffd);
  EXPECT_EQ(stream.Finish(), "");
}

}  // namespace
}  // namespace ckv
