// Turning sink keys, and what a cache gives to look at.
#include <algorithm>

#include <ATen/ATen.h>

#include "base/error.h"
#include "kv/cache.h"

namespace ckv {

// Tokens that each row has dropped, [B]: so far do its sinks stand behind their first positions.
Tensor KvCache::Dropped() const { return (lengths_ - shape_.sinks->window_length).clamp_min(0); }

void KvCache::TurnSinks() {
  if (!shape_.sinks.has_value() || shape_.sinks->num_sinks == 0) return;
  if (length() <= shape_.sinks->window_length && !replayable_) return;
  at::NoGradGuard no_grad;
  const auto dtype = options_.dtype().toScalarType();
  const RopeTable table = rope_->Turn(Dropped().unsqueeze(1), dtype);
  for (Store& store : keys_) {
    if (!store.used) continue;
    store.memory.narrow(2, 0, shape_.sinks->num_sinks).copy_(ApplyRope(store.sinks, table));
  }
}

// Copies sinks that this call has brought, as they came.
void KvCache::KeepSinks() {
  if (!shape_.sinks.has_value() || shape_.sinks->num_sinks == 0) return;
  const int64_t num_sinks = shape_.sinks->num_sinks;
  const int64_t shortest = *std::min_element(host_lengths_.begin(), host_lengths_.end());
  if (shortest >= num_sinks && !replayable_) return;
  const Tensor still_filling = (lengths_ < num_sinks).view({-1, 1, 1, 1});
  for (Store& store : keys_) {
    if (!store.used) continue;
    const Tensor now = store.memory.narrow(2, 0, num_sinks);
    store.sinks.copy_(at::where(still_filling, now, store.sinks));
  }
}

Tensor KvCache::Held(const Store& store, int64_t row) const {
  const SlotPolicy& policy = Policy(store);
  std::vector<int64_t> slots;
  for (const int64_t position : policy.KeptPositions(host_lengths_[static_cast<size_t>(row)])) {
    slots.push_back(policy.SlotOf(position));
  }
  const Tensor index = at::tensor(slots, at::kLong).to(lengths_.device());
  return store.memory.select(0, row).index_select(1, index);
}

Tensor KvCache::HeldKeys(int layer, int64_t row) const {
  at::NoGradGuard no_grad;
  const Store& store = Used(keys_, layer);
  const Tensor held = Held(store, row);
  if (!shape_.sinks.has_value()) return held;
  const int64_t num_sinks = std::min(shape_.sinks->num_sinks, held.size(1));
  const RopeTable back = rope_->Turn(-Dropped().narrow(0, row, 1), options_.dtype().toScalarType());
  const Tensor recent =
      ApplyRope(held.narrow(1, num_sinks, held.size(1) - num_sinks).unsqueeze(0), back).squeeze(0);
  if (num_sinks == 0) return recent;
  return at::cat({store.sinks.select(0, row).narrow(1, 0, num_sinks), recent}, 1);
}

Tensor KvCache::HeldValues(int layer, int64_t row) const {
  at::NoGradGuard no_grad;
  return Held(Used(values_, layer), row);
}

}  // namespace ckv
