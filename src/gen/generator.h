// Continuing prompts: one pass over the prompt into a cache, then one token a step.
//
// Prompts of different length make one batch with padding on the left, which no token sees. What a
// row gives depends on its prompt and seed alone, not on its neighbours, up to rounding; the one
// exception are models with "dynamic" RoPE scaling, whose frequencies follow the longest row, so
// that only prompts of equal length belong in one batch there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "gen/sampler.h"
#include "model/decoder.h"

namespace ckv {

struct GenerateOptions {
  int64_t max_new_tokens = 128;
  SamplingOptions sampling;
  std::vector<int32_t> stop_ids;  // a row ends when it chooses one of them
  int64_t num_ids = 0;            // only ids below are chosen; 0 = the model's vocabulary
};

struct GenerateRequest {
  std::vector<int32_t> prompt;
  uint64_t seed = 0;
};

enum class FinishReason {
  kStop,         // chose a stop id
  kMaxTokens,    // reached max_new_tokens
  kContextFull,  // reached the model's max_position_embeddings
};

struct Generation {
  std::vector<int32_t> tokens;    // the new ones, without the stop id
  std::vector<double> log_probs;  // of each token, at temperature 1 among all that may be chosen
  FinishReason finish = FinishReason::kMaxTokens;
};

struct GenerateHooks {
  // A row got a token (no stop id), as soon as it is known.
  std::function<void(size_t row, int32_t token)> on_token;
  // A row is complete.
  std::function<void(size_t row, const Generation& generation)> on_finish;
  // The logits [B, V] that every row's next token is chosen from.
  std::function<void(const Tensor& logits)> on_logits;
};

// Throws ConfigError unless a model can take the prompt: at least one token, not more than
// max_position_embeddings, all within the vocabulary.
void CheckPrompt(const std::vector<int32_t>& prompt, const DecoderConfig& config);

// Tokens and mask of prompts, padded on the left with id 0. The mask is undefined if all have the
// same length. Both are on the CPU. Requires prompts, none of them empty.
DecoderInput LeftPadded(const std::vector<GenerateRequest>& requests);

// Continues all prompts as one batch and returns one generation for each. Puts the decoder into
// evaluation mode. Throws what CheckPrompt throws, ConfigError for options out of range, and
// DivergedError if the model's output is not a number.
std::vector<Generation> Generate(Decoder& decoder, const std::vector<GenerateRequest>& requests,
                                 const GenerateOptions& options, const GenerateHooks& hooks = {});

}  // namespace ckv
