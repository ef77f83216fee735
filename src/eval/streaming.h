// Perplexity of one endless text, token by token, in a cache that keeps its first tokens and the
// last ones (StreamingLLM; Xiao et al. 2023): time a token and memory do not grow with the text.
#pragma once

#include <cstdint>
#include <functional>

#include "eval/token_stream.h"
#include "kv/cache.h"
#include "model/decoder.h"

namespace ckv {

struct StreamOptions {
  SinkWindow cache;
  // Tokens fed at once. A block sees the cache as it was before it and itself, so more than one
  // gives its later tokens a longer context than the cache holds. Layers that read a layer above
  // them need 1.
  int64_t block_tokens = 1;
  int64_t max_tokens = 0;                // targets; 0 = all
  const Tokenizer* tokenizer = nullptr;  // counts bytes of text; nullptr: they are not counted
};

struct StreamSums {
  double nats = 0.0;          // sum of -log p
  int64_t tokens = 0;         // targets
  int64_t bytes = 0;          // of text that they stand for
  int64_t cached_tokens = 0;  // in the cache behind the last of them
  int64_t kv_bytes = 0;       // of the cache
};

struct StreamHooks {
  // Called now and then with the sums so far.
  std::function<void(const StreamSums& sums)> on_progress;
  // The logits [T, V] of each block, and the tokens [T] that come behind its own.
  std::function<void(const Tensor& logits, const Tensor& targets)> on_logits;
};

// Runs the decoder, in evaluation mode, over the text. The result is fetched from the device now
// and then only. Throws ConfigError for options out of range and for a model that takes no such
// cache, FormatError(`name`, ...) for a text of less than two tokens, DivergedError if the model's
// output is not a number, and what `next` throws.
StreamSums StreamPerplexity(Decoder& decoder, const NextTokens& next, const std::string& name,
                            const StreamOptions& options, const StreamHooks& hooks = {});

}  // namespace ckv
