// The decode engine at the service of a KvCache: a prompt runs through the decoder into the cache,
// and its continuation goes on in the cache's own memory.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "gen/decode_engine.h"
#include "gen/generation.h"
#include "kv/cache.h"

namespace ckv {

class CachedSteps {
 public:
  // Whether steps with these options go through the engine. Throws ConfigError if the options ask
  // for it and the model cannot.
  static bool Serve(const Decoder& decoder, const GenerateOptions& options);

  // Whether the engine can choose tokens itself: nobody wants to see more of the logits than it
  // fetches.
  static bool CanChoose(const GenerateOptions& options, const GenerateHooks& hooks);

  // For up to as many rows as the cache has, which must stay where it is. `options` as the
  // engine's.
  CachedSteps(Decoder& decoder, KvCache& cache, const DecodeEngineOptions& options);

  // Rows 0 .. B - 1 of the cache go on with `tokens` [B]; the rows behind them may be overwritten.
  void Start(const Tensor& tokens);
  // Queues as many steps as may be.
  void Fill();
  size_t in_flight() const { return engine_.in_flight(); }
  // The choices of the oldest queued step.
  DecodeChoice Collect();
  // Gives the rows the tokens of the collected steps; those of steps that are not collected are as
  // if they had never been. Returns what the last queued step chose, [B].
  Tensor Release();

  // One step of `tokens` [B] for the first rows, all at once; logits [B, num_ids], valid until the
  // next step.
  Tensor Logits(const Tensor& tokens);

 private:
  static DecodeStores View(KvCache& cache, const Decoder& decoder);

  KvCache& cache_;
  DecodeEngine engine_;
  int64_t collected_ = 0;  // since Start
};

}  // namespace ckv
