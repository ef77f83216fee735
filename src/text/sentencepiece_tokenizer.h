// Tokenizers from SentencePiece models, through the SentencePiece library.
#pragma once

#include <memory>
#include <string>

#include "text/tokenizer.h"

namespace ckv {

// `model` is the content of a `.model` file. Throws FormatError if the library does not take it.
// `path` is for messages.
std::unique_ptr<Tokenizer> NewSentencePieceTokenizer(const std::string& path, std::string model);

}  // namespace ckv
