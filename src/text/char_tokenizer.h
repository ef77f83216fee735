// The character tokenizer: one id a code point that the training text has; <unk> 0, <s> 1, </s> 2.
//
// Its file is text: the line "ckv-char-vocabulary 1", then one code point a line as a hexadecimal
// number, in the order of the ids from 3 on.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "text/tokenizer.h"

namespace ckv {

// Throws FormatError that names the line unless `content` is such a file. `path` is for messages.
std::unique_ptr<Tokenizer> NewCharTokenizer(const std::string& path, std::string content);

// Whether a file's content starts as such a file does.
bool IsCharVocabulary(std::string_view content);

// Counts the code points of texts and makes the file's content: the most frequent ones first, equal
// counts by value, so that equal texts in any order give equal vocabularies.
class CharVocabularyBuilder {
 public:
  void Add(std::string_view text);
  int64_t num_distinct() const { return static_cast<int64_t>(counts_.size()); }
  // At most `max_vocab` ids in all, the three special ones included. Requires max_vocab > 3.
  std::string Build(int64_t max_vocab) const;

 private:
  std::map<char32_t, int64_t> counts_;
};

}  // namespace ckv
