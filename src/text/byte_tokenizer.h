// The byte tokenizer: ids 0..255 are the bytes, 256 is <s>, 257 is </s>. Nothing to train.
#pragma once

#include <memory>
#include <string_view>

#include "text/tokenizer.h"

namespace ckv {

std::unique_ptr<Tokenizer> NewByteTokenizer();

// Whether a file's content is what the byte tokenizer saves.
bool IsByteVocabulary(std::string_view content);

}  // namespace ckv
