// Sentences from patterns, with names and pronouns that a reader can follow.
//
// A pattern is text with
//   [a|b|c]   one of several wordings, also nested and empty;
//   {A}       a person as subject: the name, or "he" and "she" where nobody else can be meant;
//   {A:O}     the same as object (him, her), {A:P} as possessor (Lily's, his, her);
//   {A:n}     always the name, {A:k} the kind (girl, rabbit);
//   {A:s} {A:o} {A:p}   he, him, his, unless somebody else of that sex was named last;
//   {A:x}     himself, herself;
//   {x}       a thing: "the red ball", {x:a} "a red ball", {x:n} "ball";
//   {p}       a place: "the park", {p:in} "in the park", {p:to} "to the park";
//   {w}       any other text that was set.
#pragma once

#include <initializer_list>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"
#include "data/story_world.h"

namespace ckv {

class StoryWriter {
 public:
  explicit StoryWriter(Random* random) : random_(random) {}

  void Set(const std::string& slot, const StoryPerson& person) { people_[slot] = person; }
  void Set(const std::string& slot, const StoryThing& thing) { things_[slot] = thing; }
  void Set(const std::string& slot, const StoryPlace& place) { places_[slot] = place; }
  void Set(const std::string& slot, const std::string& text) { texts_[slot] = text; }

  // Writes one of the patterns, which holds one or more whole sentences.
  void Say(std::initializer_list<const char*> patterns);
  // The same with a probability.
  void Maybe(double probability, std::initializer_list<const char*> patterns);
  void NewParagraph();

  const std::string& text() const { return text_; }

 private:
  std::string ChooseWords(const std::string& pattern);
  std::string Resolve(const std::string& slot, const std::string& form);
  std::string ResolvePerson(const std::string& slot, const std::string& form);
  bool PronounIsClear(const StoryPerson& person) const;
  void EndSentence();

  Random* random_;
  std::map<std::string, StoryPerson> people_;
  std::map<std::string, StoryThing> things_;
  std::map<std::string, StoryPlace> places_;
  std::map<std::string, std::string> texts_;
  std::string text_;
  // Names of the people of this sentence and of the one before, by sex.
  std::set<std::string> here_[2];
  std::set<std::string> before_[2];
  std::string last_[2];  // who was named last
};

}  // namespace ckv
