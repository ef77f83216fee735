// What generating is asked for and what it gives; see generator.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "gen/sampler.h"
#include "model/decoder.h"

namespace ckv {

// How a token behind a prompt is computed.
enum class StepKind {
  kAuto,    // kEngine on a GPU, where the model allows it
  kEngine,  // gen/decode_engine.h
  kEager,   // by the decoder, one operation after another
};

struct GenerateOptions {
  int64_t max_new_tokens = 128;
  SamplingOptions sampling;
  std::vector<int32_t> stop_ids;  // a row ends when it chooses one of them
  int64_t num_ids = 0;            // only ids below are chosen; 0 = the model's vocabulary
  int64_t top_log_probs = 0;      // so many of the likeliest tokens are told beside each chosen one
  int64_t max_rows = 0;           // continuations made at once; 0 = all
  DecoderRun prefill;             // how prompts are run; without cache
  StepKind steps = StepKind::kAuto;
};

struct GenerateRequest {
  std::vector<int32_t> prompt;
  uint64_t seed = 0;
  int64_t max_new_tokens = 0;  // 0 = that of the options
};

enum class FinishReason {
  kStop,         // chose a stop id
  kStopText,     // the on_token hook ended it: a stop string
  kMaxTokens,    // reached max_new_tokens
  kContextFull,  // reached the model's max_position_embeddings
};

// "stop", "stop_text", "max_tokens", "context_full".
const char* FinishName(FinishReason reason);

struct TokenLogProb {
  int32_t id = 0;
  double log_prob = 0.0;
};

struct Generation {
  std::vector<int32_t> tokens;    // the new ones, without the stop id
  std::vector<double> log_probs;  // of each token, at temperature 1 among all that may be chosen
  std::vector<std::vector<TokenLogProb>> top;  // of each token: the likeliest first
  FinishReason finish = FinishReason::kMaxTokens;
};

struct GenerateHooks {
  // A row got a token (no stop id), as soon as it is known. False: the row is complete.
  std::function<bool(size_t row, int32_t token)> on_token;
  // A row is complete.
  std::function<void(size_t row, const Generation& generation)> on_finish;
  // The logits [N, V] from which rows choose: all rows of the batch at every step, complete ones
  // that have not left it included, and before that those that have just begun.
  std::function<void(const Tensor& logits)> on_logits;
};

}  // namespace ckv
