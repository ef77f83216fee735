// The tokens of a text one after another, however long it is: memory does not grow with it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/text_reader.h"
#include "text/tokenizer.h"

namespace ckv {

// Gives at most so many tokens more; none at the end of the text.
using NextTokens = std::function<std::vector<int32_t>(int64_t most)>;

// Of a text file (.txt, .jsonl; plain or compressed): the tokens that ReadEvalText gives.
class TextTokens {
 public:
  // Throws what TextReader throws, and ConfigError if `bos` asks for a token that the tokenizer,
  // which must outlive this object, lacks.
  TextTokens(const std::string& path, const Tokenizer& tokenizer, bool bos);

  // Throws what TextReader throws.
  std::vector<int32_t> Next(int64_t most);

  // Bytes of the file, and of those read so far (compressed, if they are).
  uint64_t total_bytes() const { return reader_.total_bytes(); }
  uint64_t bytes_read() const { return reader_.bytes_read(); }

 private:
  bool ReadPart();

  const Tokenizer& tokenizer_;
  bool bos_;
  TextReader reader_;
  std::vector<int32_t> waiting_;
  size_t taken_ = 0;  // of waiting_
};

}  // namespace ckv
