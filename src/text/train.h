// Making vocabularies from texts.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace ckv {

struct SentencePieceOptions {
  std::string type = "unigram";  // unigram | bpe
  int64_t vocab_size = 8000;     // with <unk> 0, <s> 1, </s> 2 and 256 byte tokens
  double character_coverage = 0.9995;
  bool split_digits = true;
  std::vector<std::string> user_symbols;  // always tokens of their own
  // Texts that hold more are sampled: whole lines, the same ones for the same seed.
  uint64_t max_sample_bytes = uint64_t{100} << 20;
  uint64_t seed = 0;
};

// Gives the next line (or longer text) into its argument; false at the end.
using TextIterator = std::function<bool(std::string*)>;

// Trains a SentencePiece model and returns the content of its `.model` file. The model keeps text
// as it is: no normalisation, all spaces kept, bytes for what it has no piece for; the dummy space
// in front is on, as in Llama's own model, so that Hugging Face's LlamaTokenizer gives the same
// ids. The same lines and options give the same model, whatever the number of cores. Memory is
// bounded by a multiple of max_sample_bytes.
//
// Throws ConfigError for options that cannot be met (also by texts too small for vocab_size) and
// FormatError if there is no text. The library's own messages stay off.
std::string TrainSentencePiece(const SentencePieceOptions& options, const TextIterator& next);

}  // namespace ckv
