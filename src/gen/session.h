// One text that grows by turns, in one cache: only what the cache lacks is computed.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "gen/cached_steps.h"
#include "gen/generation.h"
#include "model/decoder.h"

namespace ckv {

class GenerationSession {
 public:
  // A cache of `max_tokens` tokens, at most the model's positions. Puts the decoder, which must
  // outlive this object, into evaluation mode.
  GenerationSession(Decoder& decoder, int64_t max_tokens);

  // Continues a text, given whole. If it begins with what the cache holds, only the rest is
  // computed; else the cache starts anew. Hooks call the one row 0. Throws what Generate throws,
  // and ConfigError for a text of more than max_tokens() tokens.
  Generation Continue(const GenerateRequest& request, const GenerateOptions& options,
                      const GenerateHooks& hooks = {});

  int64_t max_tokens() const { return max_tokens_; }
  // Tokens of the last text that had to be computed.
  int64_t num_computed() const { return num_computed_; }

 private:
  // The engine's steps, kept from turn to turn: what it has recorded serves as long as it chooses
  // in the same way.
  struct Engine {
    SamplingOptions sampling;
    bool chooses;
    int64_t num_ids;
    ChoiceState state;
    std::unique_ptr<CachedSteps> steps;
  };

  bool CacheBegins(const std::vector<int32_t>& text) const;
  void PrepareEngine(const GenerateOptions& options, bool chooses, int64_t num_ids);

  Decoder& decoder_;
  int64_t max_tokens_;
  KvCache cache_;
  std::vector<int32_t> cached_;  // the tokens in the cache
  Engine engine_ = {};
  int64_t num_computed_ = 0;
};

}  // namespace ckv
