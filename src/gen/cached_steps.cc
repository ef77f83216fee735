#include "gen/cached_steps.h"

#include <algorithm>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "base/error.h"

namespace ckv {

bool CachedSteps::Serve(const Decoder& decoder, const GenerateOptions& options) {
  if (options.steps == StepKind::kEager || decoder->has_lora()) return false;
  const bool can = decoder->config().rope.scaling != "dynamic";
  if (options.steps == StepKind::kEngine) {
    if (can) return true;
    throw ConfigError("--steps",
                      "the model's \"dynamic\" RoPE scaling turns stored keys anew as the text "
                      "grows, which the engine does not; use eager");
  }
  // Whoever asks for the plain maths gets it.
  return can && decoder->head_weight().is_cuda() &&
         decoder->config().attention_kernel != "reference";
}

bool CachedSteps::CanChoose(const GenerateOptions& options, const GenerateHooks& hooks) {
  return options.top_log_probs == 0 && !hooks.on_logits;
}

// A cache's slots are the engine's: position t in slot t, or in slot t mod W of a ring.
DecodeStores CachedSteps::View(KvCache& cache, const Decoder& decoder) {
  const KvSharingSpec& spec = decoder->config().sharing();
  DecodeStores stores;
  for (int layer = 0; layer < spec.num_layers(); ++layer) {
    stores.keys.push_back(spec.computes_k(layer) ? cache.KeySlots(layer) : Tensor());
    stores.values.push_back(spec.computes_v(layer) ? cache.ValueSlots(layer) : Tensor());
  }
  stores.lengths = cache.lengths().to(at::kInt);
  stores.max_tokens = cache.max_tokens();
  return stores;
}

CachedSteps::CachedSteps(Decoder& decoder, KvCache& cache, const DecodeEngineOptions& options)
    : cache_(cache), engine_(decoder, View(cache, decoder), options) {}

void CachedSteps::Start(const Tensor& tokens) {
  at::NoGradGuard no_grad;
  engine_.lengths().copy_(cache_.lengths());
  const auto first = cache_.host_lengths().begin();
  engine_.Start(tokens, *std::max_element(first, first + tokens.size(0)));
  collected_ = 0;
}

void CachedSteps::Fill() {
  while (engine_.can_step()) engine_.Step();
}

DecodeChoice CachedSteps::Collect() {
  ++collected_;
  return engine_.Collect();
}

Tensor CachedSteps::Release() {
  cache_.CountTokens(engine_.batch(), collected_);
  collected_ = 0;
  return engine_.tokens().clone();
}

Tensor CachedSteps::Logits(const Tensor& tokens) {
  Start(tokens);
  engine_.Step();
  cache_.CountTokens(engine_.batch(), 1);
  return engine_.logits();
}

}  // namespace ckv
