// The embedded corpus: simple English stories, made from a seed.
//
// Each story is told from a small world: who is in it, what they have, where things lie, what was
// promised or said. What the beginning says decides what the end can say: the hat that was a
// present, the place where it was left, the advice that helps. A model has to look back over most
// of a story to know its last sentences, and a reader can check whether it did.
//
// The same seed gives the same bytes on every machine.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ckv {

struct Story {
  std::string text;                 // paragraphs, joined by line ends
  std::string plot;                 // the name of its plan
  std::vector<std::string> female;  // who is in it
  std::vector<std::string> male;
  std::string keyword;  // something that both its beginning and its end name
};

// Story `index` of those that `seed` gives. About 60 to 250 words, 130 on average.
Story MakeStory(uint64_t seed, uint64_t index);

// Names of the plans that stories follow.
std::vector<std::string> StoryPlots();

// Writes stories 0..count-1, each followed by a line "<|endoftext|>". Throws IoError.
void WriteStories(int64_t count, uint64_t seed, const std::string& path);

}  // namespace ckv
