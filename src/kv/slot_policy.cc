#include "kv/slot_policy.h"

#include <algorithm>

#include <ATen/ATen.h>

namespace ckv {

int64_t SlotPolicy::SlotOf(int64_t position) const {
  if (full()) return std::min(position, fixed_ - 1);
  return position < fixed_ ? position : fixed_ + (position - fixed_) % ring_;
}

Tensor SlotPolicy::SlotOf(const Tensor& positions) const {
  if (full()) return positions.clamp_max(fixed_ - 1);
  const Tensor turning = (positions - fixed_).remainder(ring_) + fixed_;
  return fixed_ == 0 ? turning : at::where(positions < fixed_, positions, turning);
}

Tensor SlotPolicy::Keeps(const Tensor& positions, const Tensor& lengths) const {
  return (positions < lengths) & ((positions < fixed_) | (positions >= lengths - kept_));
}

std::vector<int64_t> SlotPolicy::KeptPositions(int64_t length, int64_t from) const {
  std::vector<int64_t> positions;
  for (int64_t p = from; p < std::min(length, fixed_); ++p) positions.push_back(p);
  for (int64_t p = std::max({from, fixed_, length - kept_}); p < length; ++p) {
    positions.push_back(p);
  }
  return positions;
}

Tensor SlotPolicy::SlotPositions(const Tensor& lengths) const {
  const Tensor length = lengths.unsqueeze(1);                               // [B, 1]
  const Tensor slot = at::arange(slots(), lengths.options()).unsqueeze(0);  // [1, slots]
  Tensor position = slot;
  if (!full()) {
    // The latest token of the slot's residue.
    const Tensor latest = length - 1 - (length - 1 - slot).remainder(ring_);
    position = at::where(slot < fixed_, slot, latest);
    position = position.masked_fill((slot >= fixed_) & (position < fixed_), -1);
  }
  return position.masked_fill(Keeps(position, length).logical_not(), -1);
}

}  // namespace ckv
