// Log-likelihoods of continuations behind contexts, many at a time.
//
// A score depends on its request alone. Inputs that are equal are run once. Where it is exact (no
// layer reads one above it, or tokens go one by one), what the requests of a group begin with is
// run once and its keys and values are used for all of them; so is what all requests begin with.
// Rows of a batch have about the same length, and one copy brings all of a batch's scores back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "eval/request_tokens.h"
#include "model/decoder.h"

namespace ckv {

struct ScoreRequest {
  RequestTokens tokens;
  int64_t group = 0;  // requests of a group (of one document) are likely to begin alike
};

struct TokenScore {
  double log_prob = 0.0;  // of all tokens of the continuation
  bool greedy = true;     // each of them had the largest logit
};

struct ScoreOptions {
  // Tokens that the model is given at most; earlier ones are cut off. 0 = its
  // max_position_embeddings.
  int64_t max_length = 0;
  int64_t batch_tokens = 0;      // of a call at most, padding included; 0 = as suits the device
  bool share_prefixes = true;    // where that is exact
  bool batch_invariant = false;  // each input by itself: scores are equal to the last bit
  DecoderRun run;                // order (parallel or sequential) and passes; no cache
};

// Called after each batch with the requests it has completed and their scores.
using OnScores =
    std::function<void(const std::vector<size_t>& requests, const std::vector<TokenScore>& scores)>;

// Scores all requests, in their order. Puts the decoder into evaluation mode. A continuation
// without tokens gets 0. Throws ConfigError for options out of range and for tokens beyond the
// vocabulary, DivergedError if the model's output is not a number.
std::vector<TokenScore> ScoreRequests(Decoder& decoder, const std::vector<ScoreRequest>& requests,
                                      const ScoreOptions& options, const OnScores& on_scores = {});

}  // namespace ckv
