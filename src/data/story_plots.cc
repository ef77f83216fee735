#include "data/story_plots.h"

#include "base/str.h"

namespace ckv {

// Introduces {A}; {home} is set for later.
void Introduce(StoryTelling& t) {
  t.writer.Set("home",
               t.world.animals()
                   ? t.world.Pick(StoryWords{"a hollow tree", "a cozy den", "a hole under an oak",
                                             "a little house of sticks"})
                   : t.world.Pick(StoryWords{"a small house", "a yellow house", "a little town",
                                             "a village by the sea", "a house with a red door",
                                             "a quiet street"}));
  t.writer.Set("trait",
               t.world.Pick(StoryWords{"kind", "brave", "clever", "shy", "cheerful", "curious",
                                       "friendly", "quiet", "happy", "gentle"}));
  t.writer.Set(
      "hobby",
      t.world.animals()
          ? t.world.Pick(StoryWords{"climb trees", "swim", "sing songs", "look at the stars",
                                    "run in the grass", "collect stones", "tell stories"})
          : t.world.Pick(StoryWords{"draw", "sing", "read books", "dance", "climb trees",
                                    "ride a bike", "swim", "build things", "bake",
                                    "look at the stars", "collect stones", "tell stories"}));
  t.writer.Say({
      "[Once upon a time|Once|Long ago|One day], there was a [little|young|small] {A:k} "
      "[named|called] {A:n}. {A} lived in {home}[| and liked to {hobby}].",
      "{A:n} was a {trait} {A:k} who lived in {home}.[| {A} liked to {hobby}.]",
      "In {home}, there lived a {trait} {A:k} [named|called] {A:n}.[| {A} loved to {hobby}.]",
      "There [was once|once was] a {A:k} [named|called] {A:n}. {A} was {trait} and loved to "
      "{hobby}.",
      "{A:n} was a {A:k}. {A} was [very |always |]{trait}, and {A:s} liked to {hobby}.",
  });
}

// Sets the words for a day: {sky} {part} and a sentence {weather}.
void DescribeDay(StoryTelling& t, const StoryWeather& weather) {
  const std::string sky = t.world.Pick(weather.adjective);
  const std::string part = t.world.Pick(StoryWords{"morning", "day", "afternoon"});
  t.writer.Set("sky", sky);
  t.writer.Set("part", part);
  t.writer.Set("weather", t.world.Pick(weather.sentences));
  t.writer.Set("when", Str("One ", sky, " ", part));
}

// Says perhaps what the day is like; {when} then refers to it.
void OpenDay(StoryTelling& t) {
  DescribeDay(t, t.world.NewWeather());
  if (!t.world.Chance(0.4)) return;
  t.writer.Say({"It was a {sky} {part}. {weather}"});
  t.writer.Set("when", "On that day");
}

// {B} is a friend of {A}.
void IntroduceFriend(StoryTelling& t) {
  t.writer.Say({
      "{A:P} best friend was a {B:k} [named|called] {B:n}.",
      "{A} had a [good|dear] friend, a {B:k} [named|called] {B:n}.",
      "{A:n} and {B:n} were [best|good|old] friends. They played together [every day|almost every "
      "day|after lunch|in the afternoon].",
      "{A} often played with {B:n}, a {B:k} who lived [nearby|next door|not far away].",
  });
}

void ThankFriend(StoryTelling& t) {
  t.writer.Say({
      "\"Thank you[, {B:n}| so much| for your help]!\" said {A:n}.",
      "{A} thanked {B:O} [warmly|again and again|and smiled].",
      "\"Thank you, {B:n}. You are a [good|true|wonderful] friend,\" {A} said.",
      "{A} gave {B:O} a big hug and said thank you.",
  });
}

void SmallPause(StoryTelling& t) {
  t.writer.Maybe(0.35, {
                           "[The hours went by|Time went by quickly|The day went on].",
                           "[A bird sang in a tree|A small bird sat on a branch and "
                           "watched|Somewhere a dog barked].",
                           "[Everything was quiet|It was very quiet] for a moment.",
                           "{weather}",
                       });
}

const std::vector<StoryPlot>& AllStoryPlots() {
  static const std::vector<StoryPlot> kPlots = {
      {"lost thing", TellLostThing, false},
      {"advice", TellAdvice, false},
      {"sharing", TellSharing, false},
      {"trade", TellTrade, false},
      {"surprise", TellSurprise, false},
      {"missing pet", TellMissingPet, true},
      {"learning", TellLearning, false},
      {"broken thing", TellBrokenThing, false},
      {"owner", TellOwner, false},
      {"plant", TellPlant, false},
      {"noise", TellNoise, false},
      {"errand", TellErrand, false},
      {"race", TellRace, false},
      {"key", TellKey, false},
      {"weather", TellWeather, false},
      {"together", TellTogether, false},
      {"hands", TellHands, false},
      {"hats", TellHats, false},
      {"kindness", TellKindness, false},
  };
  return kPlots;
}

}  // namespace ckv
