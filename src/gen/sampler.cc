#include "gen/sampler.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <ATen/ATen.h>

#include "base/error.h"

namespace ckv {
namespace {

struct Candidates {
  Tensor scores;  // [B, n]
  Tensor ids;     // [B, n]; undefined: the column is the id
};

// The logits that may be chosen, likeliest first where the order is needed.
Candidates TakeCandidates(const Tensor& logits, const SamplingOptions& options) {
  if (options.top_k > 0 && options.top_k < logits.size(1)) {
    auto [scores, ids] = logits.topk(options.top_k, /*dim=*/1, /*largest=*/true, /*sorted=*/true);
    return {scores, ids};
  }
  if (options.top_p < 1.0) {
    auto [scores, ids] = logits.sort(/*stable=*/true, /*dim=*/1, /*descending=*/true);
    return {scores, ids};
  }
  return {logits, {}};
}

}  // namespace

void SamplingOptions::Check() const {
  if (!(temperature >= 0.0) || !std::isfinite(temperature)) {
    throw ConfigError("--temperature", Str(temperature, ", but must be >= 0"));
  }
  if (top_k < 0) throw ConfigError("--top-k", Str(top_k, ", but must be >= 0"));
  if (!(top_p > 0.0 && top_p <= 1.0)) {
    throw ConfigError("--top-p", Str(top_p, ", but must be above 0 and at most 1"));
  }
}

Choice ChooseTokens(const Tensor& logits, const SamplingOptions& options, const Tensor& uniform) {
  CKV_CHECK(logits.dim() == 2, "logits ", logits.sizes());
  const bool wide = logits.scalar_type() == at::kDouble;
  const Tensor log_probs = at::log_softmax(logits, -1, wide ? at::kDouble : at::kFloat);
  Tensor ids;  // [B, 1]
  if (options.greedy()) {
    ids = logits.argmax(-1, /*keepdim=*/true);
  } else {
    CKV_CHECK(uniform.dim() == 1 && uniform.size(0) == logits.size(0), "draws ", uniform.sizes());
    const Candidates candidates = TakeCandidates(log_probs.to(at::kDouble), options);
    // The largest becomes 0 before the division: a tiny temperature must not overflow.
    const Tensor scaled =
        (candidates.scores - candidates.scores.amax(1, /*keepdim=*/true)) / options.temperature;
    Tensor weights = scaled.softmax(1);  // [B, n]
    if (options.top_p < 1.0) {
      const Tensor before = weights.cumsum(1) - weights;
      weights = weights.masked_fill(before.ge(options.top_p), 0.0);
    }
    const Tensor sums = weights.cumsum(1);
    const Tensor draw = uniform.to(sums.options()).unsqueeze(1) * sums.narrow(1, -1, 1);
    // The first column whose sum exceeds the draw has a weight above 0. There is one, for a 53-bit
    // draw below 1 times the whole sum rounds to less than it; unless the logits are not numbers.
    const Tensor column = at::searchsorted(sums, draw, /*out_int32=*/false, /*right=*/true)
                              .clamp_max(sums.size(1) - 1);
    ids = candidates.ids.defined() ? candidates.ids.gather(1, column) : column;
  }
  return {ids.squeeze(1), log_probs.gather(1, ids).squeeze(1)};
}

}  // namespace ckv
