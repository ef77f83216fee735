// Continuing prompts: one pass over the prompt into a cache, then one token a step.
//
// Prompts of different length make one batch with padding on the left, which no token sees. What a
// row gives depends on its prompt and seed alone, not on its neighbours, up to rounding. Rows that
// are complete leave the batch, so that they cost nothing, and prompts that wait take their places.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "gen/generation.h"
#include "model/decoder.h"

namespace ckv {

// Throws ConfigError unless a model can take the prompt: at least one token, not more than
// max_position_embeddings, all within the vocabulary.
void CheckPrompt(const std::vector<int32_t>& prompt, const DecoderConfig& config);

// Throws ConfigError for options out of range.
void CheckGenerateOptions(const GenerateOptions& options, const DecoderConfig& config);

// What the model says, at the last token of each row of `input` [B, T], of the ids that may come
// next: feeds them, behind what `cache` holds, and returns logits [B, num_ids].
Tensor NextLogits(Decoder& decoder, const DecoderInput& input, KvCache* cache, DecoderRun run,
                  int64_t num_ids);

// Tokens and mask of prompts, padded on the left with id 0. The mask is undefined if all have the
// same length. Both are on the CPU. Requires prompts, none of them empty.
DecoderInput LeftPadded(const std::vector<GenerateRequest>& requests);

// Continues all prompts, `max_rows` at a time, and returns one generation for each. They begin in
// their order. (A model with "dynamic" RoPE scaling, whose frequencies follow the longest row, gets
// only prompts of equal length in one batch.) Puts the decoder into evaluation mode. Throws what
// CheckPrompt throws, ConfigError for options out of range, and DivergedError if the model's output
// is not a number.
std::vector<Generation> Generate(Decoder& decoder, const std::vector<GenerateRequest>& requests,
                                 const GenerateOptions& options, const GenerateHooks& hooks = {});

}  // namespace ckv
