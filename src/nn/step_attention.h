// Attention of a one-token step: one query a row, straight over the slots of a store.
//
// Softmax does not care for the order of keys, so a store need not be in the order of time. What a
// row sees is a range of slots, perhaps without one of them (the new token's own, in layers that
// hide it). A row that sees no slot gets 0.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <ATen/core/Tensor.h>

namespace ckv {

using at::Tensor;

// The slots that every row's query sees: begin .. end - 1 without `skip`.
class SlotSpan {
 public:
  struct Range {
    int64_t begin = 0;
    int64_t end = 0;
    int64_t skip = -1;  // -1 = none

    bool skips() const { return skip >= begin && skip < end; }
    int64_t visible() const { return end - begin - (skips() ? 1 : 0); }
  };

  // The tensors are int64 [B] on the device of the store. `most_end` bounds all ends. With
  // `same` the host knows the range, which is that of every row.
  SlotSpan(Tensor begin, Tensor end, Tensor skip, int64_t most_end, std::optional<Range> same)
      : begin_(std::move(begin)),
        end_(std::move(end)),
        skip_(std::move(skip)),
        most_end_(most_end),
        same_(same) {}

  const Tensor& begin() const { return begin_; }
  const Tensor& end() const { return end_; }
  const Tensor& skip() const { return skip_; }
  int64_t most_end() const { return most_end_; }
  const std::optional<Range>& same() const { return same_; }

  // [B, 1, 1, most_end] bool, true = visible; a row without visible slots is all true. Built once.
  const Tensor& mask() const;
  // [B, 1, 1, 1] bool: sees a slot. Built with the mask.
  const Tensor& sighted() const;

 private:
  void Build() const;

  Tensor begin_;
  Tensor end_;
  Tensor skip_;
  int64_t most_end_;
  std::optional<Range> same_;
  mutable Tensor mask_;
  mutable Tensor sighted_;
};

// q [B, H, 1, D]; k, v [B, G, slots, D], whole stores with the same policy; returns [B, H, 1, D].
using StepAttentionFn = Tensor (*)(const Tensor& q, const Tensor& k, const Tensor& v,
                                   const SlotSpan& span);

// The step's kernel that belongs to an attention kernel (names as in nn/attention.h). Both read
// narrow views without a mask where the host knows one range for all rows. Throws ConfigError for
// an unknown name.
StepAttentionFn FindStepAttention(const std::string& name);

}  // namespace ckv
