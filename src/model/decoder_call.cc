#include "model/decoder_call.h"

#include <ATen/ATen.h>

namespace ckv {

Tensor DecoderImpl::Call::Zeros() const { return at::zeros(kv_shape, options); }

Tensor DecoderImpl::Call::Keys(int source, const Slots& values) const {
  if (reads_cache) return cache->Keys(source);
  const Tensor& own = values[slots.Keys(source)];
  if (tape != nullptr) return tape->Keys(source, Zeros());
  return own.defined() ? own : Zeros();
}

Tensor DecoderImpl::Call::Values(int source, const Slots& values) const {
  if (reads_cache) return cache->Values(source);
  const Tensor& own = values[slots.Values(source)];
  if (tape != nullptr) return tape->Values(source, Zeros());
  return own.defined() ? own : Zeros();
}

// Without a past nobody reads the cache during the call, so that only the last pass is written.
void DecoderImpl::Call::StageKeys(int layer, const Tensor& keys, bool last_pass) const {
  if (StagesInCache(last_pass)) cache->StageKeys(layer, keys);
  if (tape != nullptr) tape->StageKeys(layer, keys);
}

void DecoderImpl::Call::StageValues(int layer, const Tensor& values, bool last_pass) const {
  if (StagesInCache(last_pass)) cache->StageValues(layer, values);
  if (tape != nullptr) tape->StageValues(layer, values);
}

Tensor DecoderImpl::Call::KeyTarget(int layer, bool last_pass) const {
  const Tensor target = cache != nullptr && last_pass ? cache->KeyTarget(layer) : Tensor();
  return target.defined() ? target : at::empty(kv_shape, options);
}

Tensor DecoderImpl::Call::ValueTarget(int layer, bool last_pass) const {
  const Tensor target = cache != nullptr && last_pass ? cache->ValueTarget(layer) : Tensor();
  return target.defined() ? target : at::empty(kv_shape, options);
}

const Visibility& DecoderImpl::Call::Sees(int source, bool strict, std::optional<int64_t> window,
                                          bool last) const {
  const size_t kind = reads_cache ? static_cast<size_t>(cache->PolicyOf(source)) : 0;
  return (last ? last_position : all_positions)[kind].Get(strict, window);
}

Tensor DecoderImpl::Call::Last(const Tensor& x) const {
  if (!last_columns.defined()) return x.narrow(1, x.size(1) - 1, 1);
  return x.gather(1, last_columns.view({-1, 1, 1}).expand({-1, 1, x.size(2)}));
}

void DecoderImpl::Call::SetScopes(const Work& work) {
  AttentionScope own;
  own.num_queries = num_tokens;
  own.past = work.tape_tokens;
  own.device = work.tokens.device();
  own.key_mask = work.key_mask;
  own.query_segments = work.segments;
  own.key_segments = work.key_segments;
  std::vector<AttentionScope> scopes = {own};
  if (reads_cache) scopes = cache->Scopes();
  for (const AttentionScope& scope : scopes) {
    all_positions.emplace_back(scope);
    if (work.wanted == WantedOutput::kLastPosition) {
      last_position.emplace_back(OneQueryScope(scope, work.last_columns));
    }
  }
  if (work.counts.empty()) return;
  const Tensor counts = at::tensor(work.counts, at::kLong).to(own.device);
  column_mask = (at::arange(num_tokens, counts.options()) < counts.unsqueeze(1))
                    .view({counts.size(0), 1, num_tokens, 1});
}

std::shared_ptr<DecoderImpl::Call> DecoderImpl::Open(const Work& work) const {
  auto call = std::make_shared<Call>(config_.sharing());
  const int64_t rows = work.tokens.size(0);
  call->num_tokens = work.num_tokens();
  call->cache = work.cache;
  call->tape = work.tape;
  call->last_columns = work.last_columns;
  call->options = model_->embed->weight.options().requires_grad(false);
  call->kv_shape = {rows, config_.kv_heads(), call->num_tokens, config_.head_width()};

  Tensor positions;
  int64_t past = work.tape_tokens;
  if (work.cache != nullptr) {
    call->reads_cache = !call->step() && !work.cache->past_empty();
    past = work.cache->length();
    if (call->step()) {
      work.cache->BeginStep(work.counts);
    } else {
      work.cache->Begin(call->num_tokens, work.counts);
    }
    positions = work.cache->Positions();
  } else {
    positions = at::arange(past, past + call->num_tokens, work.tokens.options());
  }
  const auto dtype = call->options.dtype().toScalarType();
  call->rope = rope_.Table(positions, past + call->num_tokens, dtype);
  if (call->step()) return call;

  call->SetScopes(work);
  if (work.wanted == WantedOutput::kLastPosition) {
    Tensor last = positions.narrow(-1, call->num_tokens - 1, 1);
    if (work.last_columns.defined()) {
      last = positions.expand({rows, -1}).gather(1, work.last_columns.unsqueeze(1));
    }
    call->last_rope = rope_.Table(last, past + call->num_tokens, dtype);
  }
  return call;
}

}  // namespace ckv
