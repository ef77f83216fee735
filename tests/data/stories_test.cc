#include "data/stories.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/hash.h"
#include "data/text_reader.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

constexpr uint64_t kNumStories = 3000;

// The words of a text without marks, in lower case.
std::vector<std::string> WordsOf(const std::string& text) {
  std::vector<std::string> words(1);
  for (const char c : text) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (letter) words.back() += static_cast<char>(c | 0x20);
    if (!letter && !words.back().empty()) words.emplace_back();
  }
  if (words.back().empty()) words.pop_back();
  return words;
}

// Runs that were trained on the corpus rely on its bytes.
TEST(Stories, AreTheSameBytesEverywhere) {
  uint64_t hash = Fnv1a64("");
  for (uint64_t i = 0; i < 1000; ++i) hash = Fnv1a64(MakeStory(/*seed=*/0, i).text, hash);
  EXPECT_EQ(HashHex(hash), "e5292bd69d3e01b6");
}

TEST(Stories, DifferBySeedAndIndex) {
  std::set<std::string> texts;
  for (uint64_t i = 0; i < kNumStories; ++i) {
    texts.insert(MakeStory(1, i).text);
    texts.insert(MakeStory(2, i).text);
  }
  EXPECT_EQ(texts.size(), 2 * kNumStories);
}

TEST(Stories, AreShortAndOfManyKinds) {
  std::map<std::string, int> plots;
  std::set<std::string> vocabulary;
  for (uint64_t i = 0; i < kNumStories; ++i) {
    const Story story = MakeStory(0, i);
    ++plots[story.plot];
    const std::vector<std::string> words = WordsOf(story.text);
    EXPECT_GE(words.size(), 60u) << story.text;
    EXPECT_LE(words.size(), 280u) << story.text;
    vocabulary.insert(words.begin(), words.end());
  }
  EXPECT_EQ(plots.size(), StoryPlots().size());
  for (const auto& [plot, count] : plots) EXPECT_GT(count, 80) << plot;
  EXPECT_GT(vocabulary.size(), 1000u);
  EXPECT_LT(vocabulary.size(), 1500u);
}

TEST(Stories, AreWellFormed) {
  const std::regex fault(
      "[\\[\\]{}|~]"                       // left from a pattern
      "|  | [.,!?]|[.,]{2}|[,;] ?[.!?]"    // marks
      "|\\b[Aa] [aeio]|\\b[Aa]n [^aeiou]"  // articles, but "a useful"
      "|[.] [a-z]|[.]\" [a-z]|\\n[a-z]"    // small letters at the start of a sentence
      "|\\b([a-z]{2,}) \\1\\b");           // a word twice
  for (uint64_t i = 0; i < kNumStories; ++i) {
    const std::string text = MakeStory(0, i).text;
    std::smatch match;
    // "an honest girl"; "again and again" is no word twice.
    std::string checked = std::regex_replace(text, std::regex("an honest"), "a good");
    EXPECT_FALSE(std::regex_search(checked, match, fault)) << match.str() << " in\n" << text;
    EXPECT_EQ(std::count(text.begin(), text.end(), '"') % 2, 0) << text;
    EXPECT_TRUE(text[0] >= 'A' && text[0] <= 'Z') << text;
    EXPECT_TRUE(text.back() == '.' || text.back() == '!' || text.back() == '"' ||
                text.back() == '?')
        << text;
  }
}

// A story speaks of "he" only if somebody in it is male, and names nobody who is not in it.
TEST(Stories, PronounsAndNamesFitTheCast) {
  std::set<std::string> all_names;
  std::vector<Story> stories;
  for (uint64_t i = 0; i < kNumStories; ++i) {
    stories.push_back(MakeStory(0, i));
    const Story& story = stories.back();
    for (const auto* names : {&story.female, &story.male}) {
      for (const std::string& name : *names) {
        if (name.find(' ') == std::string::npos) all_names.insert(name);
      }
    }
  }
  for (const Story& story : stories) {
    std::set<std::string> cast(story.female.begin(), story.female.end());
    cast.insert(story.male.begin(), story.male.end());
    std::string word;
    std::set<std::string> words;
    for (const char c : story.text + " ") {
      if (std::isalpha(static_cast<unsigned char>(c))) {
        word += c;
      } else if (!word.empty()) {
        words.insert(word);
        word.clear();
      }
    }
    for (const std::string& name : all_names) {
      EXPECT_TRUE(words.count(name) == 0 || cast.count(name) > 0) << name << " in\n" << story.text;
    }
    for (const char* pronoun : {"he", "He", "him", "his", "His", "himself"}) {
      EXPECT_TRUE(words.count(pronoun) == 0 || !story.male.empty()) << pronoun << "\n"
                                                                    << story.text;
    }
    for (const char* pronoun : {"she", "She", "her", "Her", "herself"}) {
      EXPECT_TRUE(words.count(pronoun) == 0 || !story.female.empty()) << pronoun << "\n"
                                                                      << story.text;
    }
  }
}

// What the beginning brings in, the end comes back to.
TEST(Stories, EndWithWhatTheyBeganWith) {
  for (uint64_t i = 0; i < kNumStories; ++i) {
    const Story story = MakeStory(0, i);
    const size_t first = story.text.find(story.keyword);
    const size_t last = story.text.rfind(story.keyword);
    ASSERT_NE(first, std::string::npos) << story.keyword << " in\n" << story.text;
    EXPECT_LT(first, story.text.size() * 6 / 10) << story.plot << ": " << story.keyword;
    EXPECT_GT(last, story.text.size() * 6 / 10) << story.plot << ": " << story.keyword << "\n"
                                                << story.text;
  }
}

TEST(Stories, WriteAFileOfDocuments) {
  TempDir dir;
  const std::string path = dir.File("stories.txt");
  WriteStories(50, /*seed=*/3, path);
  TextReader reader({}, {path});
  TextPart part;
  for (uint64_t i = 0; i < 50; ++i) {
    ASSERT_TRUE(reader.Next(&part));
    EXPECT_EQ(part.text, MakeStory(3, i).text);
    EXPECT_TRUE(part.first && part.last);
  }
  EXPECT_FALSE(reader.Next(&part));
  EXPECT_EQ(ListDir(dir.path()), std::vector<std::string>{"stories.txt"});
}

}  // namespace
}  // namespace ckv
