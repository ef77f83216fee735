// Whole words as ids, and the classes of labels.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "data/sentences.h"

namespace ckv {

// A list of words; id 0 is the unknown word. File: one word a line, in the order of the ids.
class WordVocabulary {
 public:
  static constexpr char kUnknown[] = "<unk>";

  // The words that occur at least `min_count` times, the commonest first, at most `max_size` of
  // them (0 = no limit), the unknown word not counted.
  static WordVocabulary Build(const std::vector<Sentence>& sentences, int64_t min_count,
                              int64_t max_size);
  // Throws FormatError for a list that does not begin with the unknown word or has a word twice.
  static WordVocabulary Load(const std::string& path);
  explicit WordVocabulary(std::vector<std::string> words);

  int64_t size() const { return static_cast<int64_t>(words_.size()); }
  int64_t Find(const std::string& word) const;  // 0: unknown
  const std::string& word(int64_t id) const { return words_[static_cast<size_t>(id)]; }
  std::string FileContent() const;

 private:
  std::vector<std::string> words_;
  std::unordered_map<std::string, int64_t> ids_;
};

// The classes of one head, sorted, so that they do not depend on the order of the data.
class LabelSet {
 public:
  static constexpr int64_t kUnknownClass = -1;

  LabelSet() = default;
  LabelSet(std::string name, std::vector<std::string> classes);

  // The labels of the head number `head` that occur.
  static LabelSet Collect(const std::string& name, const std::vector<Sentence>& sentences,
                          size_t head);

  const std::string& name() const { return name_; }
  int64_t size() const { return static_cast<int64_t>(classes_.size()); }
  const std::vector<std::string>& classes() const { return classes_; }
  const std::string& label(int64_t id) const { return classes_[static_cast<size_t>(id)]; }
  int64_t Find(const std::string& label) const;  // kUnknownClass: not of the training data

 private:
  std::string name_;
  std::vector<std::string> classes_;
  std::unordered_map<std::string, int64_t> ids_;
};

// A sentence in numbers; labels[head] has a class for each word, or one for the sentence.
struct EncodedSentence {
  std::vector<int64_t> ids;
  std::vector<std::vector<int64_t>> labels;
};

EncodedSentence EncodeSentence(const Sentence& sentence, const WordVocabulary& words,
                               const std::vector<LabelSet>& labels);

}  // namespace ckv
