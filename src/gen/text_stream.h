// The text of a continuation as its tokens come: whole characters only, and nothing of a stop
// string.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "text/stop_text.h"
#include "text/tokenizer.h"

namespace ckv {

// "1 17 4".
std::string IdsText(const std::vector<int32_t>& ids);

class TextStream {
 public:
  // The prompt goes through the same decoder, for its last bytes and the space behind it decide how
  // the continuation reads; stop strings are looked for behind it only. Without a tokenizer
  // (nullptr) tokens are written as numbers, with a space before each.
  TextStream(const Tokenizer* tokenizer, const std::vector<int32_t>& prompt,
             std::vector<std::string> stops = {});

  const std::string& prompt_text() const { return prompt_text_; }

  // The text that a token makes certain.
  std::string Push(int32_t id);

  // What is left at the end of the continuation: an unfinished character as U+FFFD, and what might
  // have become a stop string. "" after a stop string.
  std::string Finish();

  // A stop string has come.
  bool stopped() const { return stop_.stopped(); }

 private:
  std::unique_ptr<StreamingDecoder> decoder_;
  StopText stop_;
  std::string prompt_text_;
};

}  // namespace ckv
