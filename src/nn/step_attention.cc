#include "nn/step_attention.h"

#include <cmath>
#include <limits>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "base/error.h"
#include "nn/attention.h"

namespace ckv {
namespace {

// Attention over all of k, v [B, G, S, D], S > 0; mask undefined = every key is visible.
using PlainAttention = Tensor (*)(const Tensor& q, const Tensor& k, const Tensor& v,
                                  const Tensor& mask);

Tensor PlainSdpa(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask) {
  return at::scaled_dot_product_attention(
      q, k, v, mask.defined() ? std::optional<Tensor>(mask) : std::nullopt, /*dropout_p=*/0.0,
      /*is_causal=*/false, /*scale=*/std::nullopt, /*enable_gqa=*/q.size(1) != k.size(1));
}

// One query a row makes the H / G queries of a key head a matrix of their own, so that keys need
// not be repeated. Softmax in at least fp32.
Tensor PlainReference(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask) {
  const auto maths = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const int64_t groups = k.size(1);
  const double scale = 1.0 / std::sqrt(static_cast<double>(q.size(3)));
  const Tensor queries =
      q.to(maths).reshape({q.size(0), groups, q.size(1) / groups, q.size(3)}) * scale;
  Tensor scores = at::matmul(queries, k.to(maths).transpose(2, 3));  // [B, G, H / G, S]
  if (mask.defined()) {
    scores = scores.masked_fill(mask.logical_not(), -std::numeric_limits<double>::infinity());
  }
  const Tensor out = at::matmul(at::softmax(scores, -1), v.to(maths));
  return out.reshape(q.sizes()).to(q.scalar_type());
}

template <PlainAttention kPlain>
Tensor StepAttention(const Tensor& q, const Tensor& k, const Tensor& v, const SlotSpan& span) {
  if (span.same().has_value()) {
    const SlotSpan::Range& range = *span.same();
    if (range.visible() == 0) return at::zeros_like(q);
    // The slot that is left out is the last one, except in a ring that has gone round.
    const bool at_end = range.skips() && range.skip == range.end - 1;
    if (!range.skips() || at_end) {
      const int64_t count = range.end - range.begin - (at_end ? 1 : 0);
      return kPlain(q, k.narrow(2, range.begin, count), v.narrow(2, range.begin, count), {});
    }
  }
  const Tensor keys = k.narrow(2, 0, span.most_end());
  const Tensor values = v.narrow(2, 0, span.most_end());
  const Tensor out = kPlain(q, keys, values, span.mask());
  return out.masked_fill(span.sighted().logical_not(), 0.0);
}

}  // namespace

const Tensor& SlotSpan::mask() const {
  if (!mask_.defined()) Build();
  return mask_;
}

const Tensor& SlotSpan::sighted() const {
  if (!mask_.defined()) Build();
  return sighted_;
}

void SlotSpan::Build() const {
  at::NoGradGuard no_grad;
  const auto column = [](const Tensor& x) { return x.view({-1, 1, 1, 1}); };
  const Tensor slot = at::arange(most_end_, begin_.options()).view({1, 1, 1, most_end_});
  const Tensor visible = (slot >= column(begin_)) & (slot < column(end_)) & (slot != column(skip_));
  sighted_ = visible.any(-1, /*keepdim=*/true);
  mask_ = visible | sighted_.logical_not();
}

StepAttentionFn FindStepAttention(const std::string& name) {
  struct Row {
    const char* name;
    StepAttentionFn function;
  };
  constexpr Row kRows[] = {
      {"sdpa", StepAttention<PlainSdpa>},
      {"reference", StepAttention<PlainReference>},
  };
  for (const Row& row : kRows) {
    if (name == row.name) return row.function;
  }
  throw ConfigError("", Str("attention kernel '", name, "' has no step"));
}

}  // namespace ckv
