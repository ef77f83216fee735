// Continuing a list of prompts with sampling or beam search: tokens, and their text as it comes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "app/load_model.h"
#include "base/json.h"
#include "gen/generation.h"

namespace ckv {

// A prompt with what it asks for differently from the others.
struct PromptItem {
  std::vector<int32_t> ids;
  uint64_t seed = 0;       // sample s draws from MixBits(seed + s)
  int64_t max_tokens = 0;  // 0 = that of the settings
  std::vector<std::string> stops;
};

struct ContinueSettings {
  GenerateOptions options;
  int64_t samples = 1;          // continuations of each prompt
  int64_t num_beams = 0;        // 0 = sampling; else the `samples` best of beam search
  double length_penalty = 1.0;  // of beam search
};

struct ContinuedText {
  std::string text;  // without the prompt; cut before a stop string
  Generation generation;
  std::optional<double> score;  // of beam search
};

struct ContinueHooks {
  // A piece of text that is certain. With beam search the whole text, at the end.
  std::function<void(size_t prompt, int64_t sample, const std::string& piece)> on_text;
  std::function<void(size_t prompt, int64_t sample)> on_finish;
  // All continuations of a prompt are complete. Prompts complete in any order. (Beam search may
  // find fewer than `samples` where the vocabulary is tiny.)
  std::function<void(size_t prompt, const std::vector<ContinuedText>& texts)> on_prompt;
};

// Text of what may stand before a continuation: the prompt as its tokens read.
std::string PromptText(const LoadedModel& model, const std::vector<int32_t>& ids);

// Throws what Generate and BeamSearch throw.
void ContinuePrompts(LoadedModel& model, const std::vector<PromptItem>& prompts,
                     const ContinueSettings& settings, const ContinueHooks& hooks);

// {"text", "tokens", "log_probs", "top_log_probs" if asked for, "score" of beam search, "finish"}.
OrderedJson ContinuationJson(const ContinuedText& text, const Tokenizer* tokenizer);

}  // namespace ckv
