// Where a context ends and its continuation begins, in tokens: as lm-evaluation-harness does it.
//
// Both are encoded as one text, and the continuation's tokens are those behind as many as the
// context alone has. White space at the end of a context belongs to the continuation.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace ckv {

struct RequestTokens {
  std::vector<int32_t> context;       // at least one
  std::vector<int32_t> continuation;  // what is scored
};

// `bos`: texts begin with <s>. An empty context stands for <s> (or </s>, where there is no <s>).
// Throws ConfigError if a context is empty and the vocabulary has neither.
RequestTokens EncodeRequest(const Tokenizer& tokenizer, bool bos, const std::string& context,
                            const std::string& continuation);

// The same for a context whose own tokens are known: `context_ids` are those of EncodeContext.
std::vector<int32_t> EncodeContext(const Tokenizer& tokenizer, bool bos,
                                   const std::string& context);
RequestTokens EncodeRequest(const Tokenizer& tokenizer, bool bos, const std::string& context,
                            const std::string& continuation,
                            const std::vector<int32_t>& context_ids);

// A whole text, cut into windows of which each predicts tokens that no other does: the first ones
// behind <s>, the others behind as many tokens as fit in `max_length`, at least one. None for a
// text without tokens.
std::vector<RequestTokens> RollingWindows(const Tokenizer& tokenizer, bool bos,
                                          const std::string& text, int64_t max_length);

}  // namespace ckv
