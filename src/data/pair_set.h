// Files of prompts and what should follow them, as tokens, for fine-tuning.
//
// Each line is a JSON object with two texts. A pair reads: the prompt, a blank, the target, end of
// sentence. With a chat template it is a conversation of one message and one answer: all up to the
// answer is the prompt. Prompt and target are encoded apart, so that a model that is given the
// prompt alone sees the tokens it was trained on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace ckv {

struct PairFields {
  std::string prompt = "prompt";
  std::string target = "target";
};

class PairSet {
 public:
  // Reads files of JSON lines. Throws IoError; FormatError that names file and line for what is no
  // such object; ConfigError for a pair of more than `seq_len` + 1 tokens, and if the tokenizer has
  // no end of sentence or there is no pair. `chat`: nullptr = no template; refers to `tokenizer`.
  PairSet(const std::vector<std::string>& files, const PairFields& fields,
          const Tokenizer& tokenizer, int64_t seq_len, const ChatEncoder* chat = nullptr);

  struct Pair {
    const int32_t* tokens;
    int64_t num_tokens;
    int64_t num_prompt_tokens;
  };
  Pair operator[](int64_t i) const;
  int64_t size() const { return static_cast<int64_t>(num_prompt_tokens_.size()); }
  int64_t num_tokens() const { return static_cast<int64_t>(tokens_.size()); }
  uint64_t hash() const { return hash_; }  // of the tokens

 private:
  void AddFile(const std::string& path, const PairFields& fields, const Tokenizer& tokenizer,
               int64_t seq_len, const ChatEncoder* chat);

  std::vector<int32_t> tokens_;
  std::vector<int64_t> begins_{0};  // of each pair in tokens_, and the end
  std::vector<int64_t> num_prompt_tokens_;
  uint64_t hash_ = 0;
};

}  // namespace ckv
