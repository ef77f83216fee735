// The people, things and places of the stories that data/stories.h tells.
#pragma once

#include <string>
#include <vector>

#include "base/random.h"

namespace ckv {

// Somebody in a story. `name` is what the text calls them: "Lily", "Grandma", "the baker".
struct StoryPerson {
  std::string name;
  std::string kind;  // girl, boy, rabbit, ...
  bool female = false;
};

// A thing there is one of. `label` is the noun with its adjectives: "little red ball".
struct StoryThing {
  std::string noun;
  std::string label;
};

// "the park", "in the park", "to the park", and places within it where a thing may lie: "under the
// bench".
struct StoryPlace {
  std::string name;
  std::string in;
  std::string to;
  std::vector<std::string> spots;
  bool wild = false;  // where one can lose the way
  bool indoor = false;
};

// What the sky does: the words of the morning, and sentences about it.
struct StoryWeather {
  std::string kind;                    // sunny, rainy, windy, snowy, cloudy
  std::vector<std::string> adjective;  // bright, warm, ...
  std::vector<std::string> sentences;
};

// Who and what may occur in one story: children in a town or animals in a wood.
class StoryWorld {
 public:
  StoryWorld(Random* random, bool animals) : random_(random), animals_(animals) {}

  bool animals() const { return animals_; }

  // Somebody new each time; the second of a story is mostly of the other sex, which keeps pronouns
  // clear.
  StoryPerson NewChild();
  // Somebody older: Mom, Dad, Grandma, Grandpa.
  StoryPerson NewRelative();
  // Somebody with work to do: the baker, the old owl.
  StoryPerson NewHelper();
  // A pet with a name; `kind` is what it is.
  StoryPerson NewPet();

  StoryThing NewToy();       // to play with
  StoryThing NewTreasure();  // to carry around and care for
  StoryThing NewTool();      // to help with work
  StoryThing NewFood();
  StoryPlace NewPlace();      // anywhere but at home
  StoryPlace NewOpenPlace();  // out of doors
  StoryPlace NewWildPlace();
  StoryPlace Home() const;
  const StoryWeather& NewWeather();
  const StoryWeather& Weather(const std::string& kind) const;

  // One of `choices`.
  template <typename T>
  const T& Pick(const std::vector<T>& choices) {
    return choices[random_->Below(choices.size())];
  }
  bool Chance(double probability) { return random_->Uniform() < probability; }

 private:
  std::string NewName(bool female);
  StoryThing Adorn(const std::string& noun);

  Random* random_;
  bool animals_;
  std::vector<std::string> used_;  // names, nouns and places that have been given out
  int num_children_ = 0;
  bool first_child_female_ = false;
};

// "a" or "an" in front of a word.
std::string WithArticle(const std::string& words);

}  // namespace ckv
