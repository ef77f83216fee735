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

// The chance of each candidate, up to a factor a row. [B, n]
Tensor Weights(const Candidates& candidates, const SamplingOptions& options) {
  // The largest becomes 0 before the division: a tiny temperature must not overflow.
  const Tensor scaled =
      (candidates.scores - candidates.scores.amax(1, /*keepdim=*/true)) / options.temperature;
  Tensor weights = scaled.softmax(1);
  if (options.top_p < 1.0) {
    const Tensor before = weights.cumsum(1) - weights;
    weights = weights.masked_fill(before.ge(options.top_p), 0.0);
  }
  if (options.min_p > 0.0) {
    const Tensor least = weights.amax(1, /*keepdim=*/true) * options.min_p;
    weights = weights.masked_fill(weights.lt(least), 0.0);
  }
  return weights;
}

// Ids [B, 1] drawn from scores [B, V].
Tensor Draw(const Tensor& scores, const SamplingOptions& options, const Tensor& uniform) {
  CKV_CHECK(uniform.dim() == 1 && uniform.size(0) == scores.size(0), "draws ", uniform.sizes());
  const Candidates candidates = TakeCandidates(scores.to(at::kDouble), options);
  const Tensor sums = Weights(candidates, options).cumsum(1);
  const Tensor draw = uniform.to(sums.options()).unsqueeze(1) * sums.narrow(1, -1, 1);
  // The first column whose sum exceeds the draw has a weight above 0. There is one, for a 53-bit
  // draw below 1 times the whole sum rounds to less than it; unless the logits are not numbers.
  const Tensor column =
      at::searchsorted(sums, draw, /*out_int32=*/false, /*right=*/true).clamp_max(sums.size(1) - 1);
  return candidates.ids.defined() ? candidates.ids.gather(1, column) : column;
}

// `x` shifted right as an unsigned number.
Tensor ShiftRight(const Tensor& x, int64_t bits) {
  return x.bitwise_right_shift(bits).bitwise_and((int64_t{1} << (64 - bits)) - 1);
}

int64_t AsSigned(uint64_t bits) { return static_cast<int64_t>(bits); }

}  // namespace

void SamplingOptions::Check() const {
  if (!(temperature >= 0.0) || !std::isfinite(temperature)) {
    throw ConfigError("--temperature", Str(temperature, ", but must be >= 0"));
  }
  if (top_k < 0) throw ConfigError("--top-k", Str(top_k, ", but must be >= 0"));
  if (!(top_p > 0.0 && top_p <= 1.0)) {
    throw ConfigError("--top-p", Str(top_p, ", but must be above 0 and at most 1"));
  }
  if (!(min_p >= 0.0 && min_p <= 1.0)) {
    throw ConfigError("--min-p", Str(min_p, ", but must be from 0 to 1"));
  }
  if (!(repetition_penalty > 0.0) || !std::isfinite(repetition_penalty)) {
    throw ConfigError("--repetition-penalty", Str(repetition_penalty, ", but must be above 0"));
  }
}

// SplitMix64 as in base/random.h; products and sums of int64 tensors wrap around.
Tensor NextUniform(Tensor& states) {
  states.add_(AsSigned(0x9e3779b97f4a7c15ULL));
  Tensor x = states.bitwise_xor(ShiftRight(states, 30)) * AsSigned(0xbf58476d1ce4e5b9ULL);
  x = x.bitwise_xor(ShiftRight(x, 27)) * AsSigned(0x94d049bb133111ebULL);
  x = x.bitwise_xor(ShiftRight(x, 31));
  return ShiftRight(x, 11).to(at::kDouble) * 0x1.0p-53;
}

Tensor PenalizeSeen(const Tensor& logits, const Tensor& seen, double repetition_penalty) {
  CKV_CHECK(seen.defined() && seen.sizes() == logits.sizes(), "tokens seen");
  const Tensor penalized =
      at::where(logits.gt(0), logits / repetition_penalty, logits * repetition_penalty);
  return at::where(seen, penalized, logits);
}

Choice ChooseTokens(const Tensor& logits, const SamplingOptions& options, const Tensor& uniform,
                    const Tensor& seen) {
  CKV_CHECK(logits.dim() == 2, "logits ", logits.sizes());
  const bool wide = logits.scalar_type() == at::kDouble;
  const Tensor log_probs = at::log_softmax(logits, -1, wide ? at::kDouble : at::kFloat);
  const Tensor scores = options.penalizes() ? PenalizeSeen(logits.to(log_probs.scalar_type()), seen,
                                                           options.repetition_penalty)
                                            : logits;
  const Tensor ids = options.greedy() ? scores.argmax(-1, /*keepdim=*/true)
                                      : Draw(scores, options, uniform);  // [B, 1]
  return {ids.squeeze(1), log_probs.gather(1, ids).squeeze(1)};
}

ChoiceState NewChoiceState(const SamplingOptions& options, int64_t rows, int64_t num_ids,
                           const at::Device& device) {
  const at::TensorOptions there(device);
  return {at::zeros({rows}, there.dtype(at::kLong)),
          at::zeros({rows, options.penalizes() ? num_ids : 0}, there.dtype(at::kBool))};
}

Choice ChooseNext(const Tensor& logits, const SamplingOptions& options, const ChoiceState& state) {
  const int64_t batch = logits.size(0);
  Tensor draws = state.draws.narrow(0, 0, batch);
  const Tensor seen = state.seen.narrow(0, 0, batch);
  const Tensor uniform = options.greedy() ? Tensor() : NextUniform(draws);
  const Choice choice = ChooseTokens(logits, options, uniform, seen);
  if (options.penalizes()) seen.scatter_(1, choice.ids.unsqueeze(1), true);
  return choice;
}

}  // namespace ckv
