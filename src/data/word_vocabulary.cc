#include "data/word_vocabulary.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/error.h"

namespace ckv {

WordVocabulary::WordVocabulary(std::vector<std::string> words) : words_(std::move(words)) {
  for (size_t i = 0; i < words_.size(); ++i) ids_.emplace(words_[i], static_cast<int64_t>(i));
  CKV_CHECK(!words_.empty() && words_[0] == kUnknown && ids_.size() == words_.size(),
            "a list of different words that begins with the unknown one");
}

WordVocabulary WordVocabulary::Build(const std::vector<Sentence>& sentences, int64_t min_count,
                                     int64_t max_size) {
  std::unordered_map<std::string, int64_t> counts;
  std::vector<std::string> order;  // of first appearance
  for (const Sentence& sentence : sentences) {
    for (const std::string& word : sentence.words) {
      if (counts[word]++ == 0) order.push_back(word);
    }
  }
  std::stable_sort(order.begin(), order.end(), [&](const std::string& a, const std::string& b) {
    return counts.at(a) > counts.at(b);
  });
  std::vector<std::string> words = {kUnknown};
  for (std::string& word : order) {
    if (counts.at(word) < min_count || word == kUnknown) continue;
    if (max_size > 0 && static_cast<int64_t>(words.size()) > max_size) break;
    words.push_back(std::move(word));
  }
  return WordVocabulary(std::move(words));
}

WordVocabulary WordVocabulary::Load(const std::string& path) {
  std::vector<std::string> words;
  std::set<std::string> seen;
  ForEachLine(path, [&](std::string_view line, int64_t number) {
    if (line.empty()) throw FormatError(path, Str("line ", number), "is empty, but must be a word");
    if (number == 1 && line != kUnknown) {
      throw FormatError(path, "line 1", Str("must be ", kUnknown, ", the unknown word"));
    }
    if (!seen.insert(std::string(line)).second) {
      throw FormatError(path, Str("line ", number), Str("has '", line, "' a second time"));
    }
    words.emplace_back(line);
  });
  if (words.empty()) throw FormatError(path, "", "has no words");
  return WordVocabulary(std::move(words));
}

int64_t WordVocabulary::Find(const std::string& word) const {
  const auto found = ids_.find(word);
  return found == ids_.end() ? 0 : found->second;
}

std::string WordVocabulary::FileContent() const {
  std::string content;
  for (const std::string& word : words_) content += word + "\n";
  return content;
}

LabelSet::LabelSet(std::string name, std::vector<std::string> classes)
    : name_(std::move(name)), classes_(std::move(classes)) {
  for (size_t i = 0; i < classes_.size(); ++i) ids_.emplace(classes_[i], static_cast<int64_t>(i));
}

LabelSet LabelSet::Collect(const std::string& name, const std::vector<Sentence>& sentences,
                           size_t head) {
  std::set<std::string> classes;
  for (const Sentence& sentence : sentences) {
    classes.insert(sentence.labels[head].begin(), sentence.labels[head].end());
  }
  return LabelSet(name, {classes.begin(), classes.end()});
}

int64_t LabelSet::Find(const std::string& label) const {
  const auto found = ids_.find(label);
  return found == ids_.end() ? kUnknownClass : found->second;
}

EncodedSentence EncodeSentence(const Sentence& sentence, const WordVocabulary& words,
                               const std::vector<LabelSet>& labels) {
  EncodedSentence encoded;
  for (const std::string& word : sentence.words) encoded.ids.push_back(words.Find(word));
  for (size_t head = 0; head < labels.size() && head < sentence.labels.size(); ++head) {
    std::vector<int64_t> classes;
    for (const std::string& label : sentence.labels[head]) {
      classes.push_back(labels[head].Find(label));
    }
    encoded.labels.push_back(std::move(classes));
  }
  return encoded;
}

}  // namespace ckv
