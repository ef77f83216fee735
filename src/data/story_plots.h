// The plans of the stories; each tells one with the people and things that it takes from the world.
#pragma once

#include <string>
#include <vector>

#include "data/stories.h"
#include "data/story_world.h"
#include "data/story_writer.h"

namespace ckv {

struct StoryTelling {
  StoryWorld& world;
  StoryWriter& writer;
  Story& story;

  // Puts somebody into the story under the name of a slot.
  void Cast(const std::string& slot, const StoryPerson& person) {
    (person.female ? story.female : story.male).push_back(person.name);
    writer.Set(slot, person);
  }
};

using StoryWords = std::vector<std::string>;

// Introduces {A}: name, kind, home, what they are like.
void Introduce(StoryTelling& t);
// Sets the words for a day: {sky} {part}, {when} for both, and a sentence {weather}.
void DescribeDay(StoryTelling& t, const StoryWeather& weather);
// Does that for some weather and perhaps says it; {when} then refers to it.
void OpenDay(StoryTelling& t);
// {B} is a friend of {A}.
void IntroduceFriend(StoryTelling& t);
// {A} thanks {B}.
void ThankFriend(StoryTelling& t);
// A sentence in which nothing happens, now and then.
void SmallPause(StoryTelling& t);

// The plans.
void TellLostThing(StoryTelling& t);
void TellTrade(StoryTelling& t);
void TellBrokenThing(StoryTelling& t);
void TellOwner(StoryTelling& t);
void TellHands(StoryTelling& t);
void TellHats(StoryTelling& t);
void TellKey(StoryTelling& t);
void TellSharing(StoryTelling& t);
void TellSurprise(StoryTelling& t);
void TellMissingPet(StoryTelling& t);
void TellRace(StoryTelling& t);
void TellTogether(StoryTelling& t);
void TellKindness(StoryTelling& t);
void TellAdvice(StoryTelling& t);
void TellLearning(StoryTelling& t);
void TellPlant(StoryTelling& t);
void TellNoise(StoryTelling& t);
void TellErrand(StoryTelling& t);
void TellWeather(StoryTelling& t);

struct StoryPlot {
  const char* name;
  void (*tell)(StoryTelling&);
  bool people_only;  // makes no sense among animals
};

const std::vector<StoryPlot>& AllStoryPlots();

}  // namespace ckv
