// `ckv data tokenizer`: a vocabulary from text files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/text_reader.h"
#include "text/train.h"

namespace ckv {

struct TrainTokenizerOptions {
  std::vector<std::string> inputs;  // files and patterns
  TextReaderOptions reader;
  std::string kind = "unigram";        // unigram | bpe | char
  SentencePieceOptions sentencepiece;  // its `type` is taken from `kind`
};

// Writes the vocabulary file `out`, which LoadTokenizer opens, and returns its number of ids.
// Throws as TextReader and TrainSentencePiece do.
int64_t TrainTokenizer(const TrainTokenizerOptions& options, const std::string& out);

}  // namespace ckv
