#include "text/stop_text.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "base/random.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using Pieces = std::vector<std::string>;

// What comes through of a text in pieces.
std::string Through(StopText& stop, const Pieces& pieces) {
  std::string text;
  for (const std::string& piece : pieces) text += stop.Push(piece);
  return text + stop.Finish();
}

TEST(StopText, CutsBeforeAStopStringAcrossPieces) {
  StopText stop({"END"});
  EXPECT_EQ(stop.Push("abE"), "ab");
  EXPECT_EQ(stop.Push("N"), "");
  EXPECT_FALSE(stop.stopped());
  EXPECT_EQ(stop.Push("D more"), "");
  EXPECT_TRUE(stop.stopped());
  EXPECT_EQ(stop.Push("again"), "");
  EXPECT_EQ(stop.Finish(), "");
}

TEST(StopText, GivesBackWhatWasNoStopString) {
  StopText stop({"END"});
  EXPECT_EQ(stop.Push("abEN"), "ab");
  EXPECT_EQ(stop.Push("E"), "EN");
  EXPECT_EQ(stop.Finish(), "E");
  EXPECT_FALSE(stop.stopped());
}

TEST(StopText, HoldsBackNoMoreThanAPossibleStart) {
  StopText stop({"aab", "xyz"});
  EXPECT_EQ(stop.Push("caaa"), "ca");  // "aa" may go on to "aab"
  EXPECT_EQ(stop.Push("x"), "aa");
  EXPECT_EQ(stop.Push("q"), "xq");
}

TEST(StopText, WithoutStopStringsIsTransparent) {
  StopText stop({});
  EXPECT_EQ(stop.Push("abc"), "abc");
  EXPECT_EQ(stop.Finish(), "");
}

TEST(StopText, TheFirstToBeCompleteDecides) {
  StopText whole({"abcd", "bc"});
  EXPECT_EQ(whole.Push("xabcd"), "xa");
  StopText longest({"bc", "abc"});
  EXPECT_EQ(longest.Push("xabc"), "x");
}

// The text before the stop string that is complete first, found letter by letter.
std::string Expected(const std::string& text, const Pieces& stops, bool* stopped) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& stop : stops) {
      const bool ends =
          stop.size() <= end && text.compare(end - stop.size(), stop.size(), stop) == 0;
      if (ends) longest = std::max(longest, stop.size());
    }
    *stopped = longest > 0;
    if (*stopped) return text.substr(0, end - longest);
  }
  *stopped = false;
  return text;
}

std::string RandomText(Random& random, size_t most) {
  std::string text(random.Below(most) + 1, 'a');
  for (char& letter : text) letter = static_cast<char>('a' + random.Below(2));
  return text;
}

TEST(StopText, DoesNotDependOnWhereTheTextIsCut) {
  Random random(1);
  for (int round = 0; round < 3000; ++round) {
    Pieces stops;
    for (uint64_t i = random.Below(3) + 1; i > 0; --i) stops.push_back(RandomText(random, 6));
    const std::string text = RandomText(random, 20);
    Pieces pieces;
    for (size_t at = 0; at < text.size();) {
      const size_t length = std::min<size_t>(random.Below(4) + 1, text.size() - at);
      pieces.push_back(text.substr(at, length));
      at += length;
    }
    bool stopped = false;
    const std::string want = Expected(text, stops, &stopped);
    StopText stop(stops);
    EXPECT_EQ(Through(stop, pieces), want) << text;
    EXPECT_EQ(stop.stopped(), stopped) << text;
  }
}

TEST(StopText, RefusesWhatStopsEverythingOrNothing) {
  EXPECT_EQ(ErrorOf([] { StopText({"a", ""}); }), "2: --stop: is empty");
  EXPECT_EQ(ErrorOf([] { StopText({"\xff"}); }), "2: --stop: is not UTF-8");
}

}  // namespace
}  // namespace ckv
