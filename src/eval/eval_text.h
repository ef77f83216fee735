// The text that a perplexity is of: its tokens, and how many bytes, words and lines they stand for.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/dataset.h"
#include "text/tokenizer.h"

namespace ckv {

struct TextCounts {
  int64_t bytes = 0;
  int64_t words = 0;  // runs of anything but white space
  // Line ends, and ends of documents that have no line end there; nullopt: not known.
  std::optional<int64_t> line_ends = 0;
};

// Counts a text that comes in pieces; a word may go over several of them.
class TextCounter {
 public:
  void Add(std::string_view text);
  void EndDocument();
  const TextCounts& counts() const { return counts_; }

 private:
  TextCounts counts_;
  bool in_word_ = false;
  bool in_line_ = false;
};

class EvalText {
 public:
  explicit EvalText(std::shared_ptr<const TokenDataset> data);
  // Documents one after another; `starts`: where they start, rising.
  EvalText(std::vector<int32_t> tokens, std::vector<int64_t> starts, const TextCounts& counts);

  int64_t num_tokens() const;
  // Tokens [begin, begin + count).
  void Read(int64_t begin, int64_t count, int64_t* out) const;
  // Positions in [begin, end) at which a document starts, rising.
  std::vector<int64_t> DocumentStarts(int64_t begin, int64_t end) const;

  // What the first `num_targets` tokens behind the first one stand for. All of them stand for the
  // whole text, whose bytes and words are those of the text before it became tokens. Part of them
  // are counted by their tokens' bytes, which needs a tokenizer: without one the result is nullopt.
  // Line ends of a data set need one as well.
  std::optional<TextCounts> CountsOfTargets(int64_t num_targets, const Tokenizer* tokenizer) const;

 private:
  TextCounts CountTokens(int64_t begin, int64_t end, const Tokenizer& tokenizer) const;

  std::shared_ptr<const TokenDataset> data_;  // or else
  std::vector<int32_t> tokens_;
  std::vector<int64_t> starts_;
  TextCounts counts_;
};

// The tokens of a text file (.txt, .jsonl; plain or compressed), as `ckv data prepare` with its
// defaults makes them: each document ended by the end of sentence, if the tokenizer has one. `bos`:
// each begins with the beginning of sentence. Throws what TextReader throws, FormatError for a file
// without text, and ConfigError if `bos` asks for a token that the tokenizer lacks.
EvalText ReadEvalText(const std::string& path, const Tokenizer& tokenizer, bool bos);

}  // namespace ckv
