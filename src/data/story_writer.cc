#include "data/story_writer.h"

#include <cctype>

#include "base/error.h"

namespace ckv {
namespace {

// The place of the bracket that closes the one at `open`.
size_t ClosingBracket(const std::string& pattern, size_t open) {
  int depth = 0;
  for (size_t i = open; i < pattern.size(); ++i) {
    if (pattern[i] == '[') ++depth;
    if (pattern[i] == ']' && --depth == 0) return i;
  }
  CKV_CHECK(false, "unbalanced pattern: ", pattern);
  return pattern.size();
}

// What stands between brackets, cut at the bars of this level.
std::vector<std::string> Alternatives(const std::string& inner) {
  std::vector<std::string> parts(1);
  int depth = 0;
  for (const char c : inner) {
    depth += c == '[' ? 1 : c == ']' ? -1 : 0;
    if (c == '|' && depth == 0) {
      parts.emplace_back();
    } else {
      parts.back().push_back(c);
    }
  }
  return parts;
}

// A question or a call in quotes may be followed by who said it; one with a period may not.
bool EndsSentence(const std::string& text) {
  const char last = text.back();
  const char before = text.size() > 1 ? text[text.size() - 2] : ' ';
  return last == '.' || last == '!' || last == '?' || (last == '"' && before == '.');
}

// "the baker" begins a sentence as "The baker".
void Capitalize(size_t at, std::string* text) {
  while (at < text->size() && ((*text)[at] == '"' || (*text)[at] == ' ')) ++at;
  if (at < text->size()) {
    (*text)[at] = static_cast<char>(std::toupper(static_cast<unsigned char>((*text)[at])));
  }
}

}  // namespace

void StoryWriter::Say(std::initializer_list<const char*> patterns) {
  CKV_CHECK(patterns.size() > 0, "nothing to say");
  const std::string pattern = ChooseWords(patterns.begin()[random_->Below(patterns.size())]);
  std::string said;
  bool starts = true;  // at the start of a sentence
  for (size_t i = 0; i < pattern.size(); ++i) {
    const size_t before = said.size();
    if (pattern[i] == '{') {
      const size_t end = pattern.find('}', i);
      CKV_CHECK(end != std::string::npos, "unbalanced pattern: ", pattern);
      const std::string inner = pattern.substr(i + 1, end - i - 1);
      const size_t colon = inner.find(':');
      const std::string form = colon == std::string::npos ? "" : inner.substr(colon + 1);
      said += Resolve(inner.substr(0, colon), form);
      i = end;
    } else {
      said.push_back(pattern[i]);
    }
    if (starts && said.size() > before && said.back() != ' ' && said.back() != '"') {
      Capitalize(before, &said);
      starts = false;
    }
    if (i + 1 < pattern.size() && pattern[i + 1] == ' ' && EndsSentence(said)) {
      EndSentence();
      starts = true;
    }
  }
  EndSentence();
  if (!text_.empty() && text_.back() != '\n') text_ += ' ';
  text_ += said;
}

void StoryWriter::Maybe(double probability, std::initializer_list<const char*> patterns) {
  if (random_->Uniform() < probability) Say(patterns);
}

void StoryWriter::NewParagraph() {
  if (!text_.empty() && text_.back() != '\n') text_ += '\n';
  EndSentence();
  EndSentence();
}

std::string StoryWriter::ChooseWords(const std::string& pattern) {
  std::string chosen;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '[') {
      chosen.push_back(pattern[i]);
      continue;
    }
    const size_t end = ClosingBracket(pattern, i);
    const std::vector<std::string> parts = Alternatives(pattern.substr(i + 1, end - i - 1));
    chosen += ChooseWords(parts[random_->Below(parts.size())]);
    i = end;
  }
  return chosen;
}

std::string StoryWriter::Resolve(const std::string& slot, const std::string& form) {
  if (people_.count(slot) > 0) return ResolvePerson(slot, form);
  if (const auto thing = things_.find(slot); thing != things_.end()) {
    if (form == "n") return thing->second.noun;
    if (form == "l") return thing->second.label;
    if (form == "a") return WithArticle(thing->second.label);
    CKV_CHECK(form.empty(), "a thing has no form ", form);
    return "the " + thing->second.label;
  }
  if (const auto place = places_.find(slot); place != places_.end()) {
    if (form == "in") return place->second.in;
    if (form == "to") return place->second.to;
    CKV_CHECK(form.empty(), "a place has no form ", form);
    return place->second.name;
  }
  const auto text = texts_.find(slot);
  CKV_CHECK(text != texts_.end(), "nothing is set for {", slot, "}");
  return text->second;
}

bool StoryWriter::PronounIsClear(const StoryPerson& person) const {
  const int sex = person.female ? 1 : 0;
  const bool known = here_[sex].count(person.name) > 0 || before_[sex].count(person.name) > 0;
  std::set<std::string> possible = here_[sex];
  possible.insert(before_[sex].begin(), before_[sex].end());
  return known && possible.size() == 1;
}

std::string StoryWriter::ResolvePerson(const std::string& slot, const std::string& form) {
  const StoryPerson& person = people_[slot];
  if (form == "k") return person.kind;
  const int sex = person.female ? 1 : 0;
  const bool wanted = form == "s" || form == "o" || form == "p";
  const bool free = form.empty() || form == "O" || form == "P";
  // A name now and then also where a pronoun would do.
  const bool pronoun = form == "x" || (wanted && last_[sex] == person.name) ||
                       (free && PronounIsClear(person) && random_->Uniform() < 0.85);
  here_[sex].insert(person.name);
  last_[sex] = person.name;
  const char kind = form.empty() ? 's' : form == "O" ? 'o' : form == "P" ? 'p' : form[0];
  if (!pronoun) return kind == 'p' ? person.name + "'s" : person.name;
  switch (kind) {
    case 's':
      return person.female ? "she" : "he";
    case 'o':
      return person.female ? "her" : "him";
    case 'p':
      return person.female ? "her" : "his";
    default:
      return person.female ? "herself" : "himself";
  }
}

void StoryWriter::EndSentence() {
  for (int sex = 0; sex < 2; ++sex) {
    before_[sex] = here_[sex];
    here_[sex].clear();
  }
}

}  // namespace ckv
