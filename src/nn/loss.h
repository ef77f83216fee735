// The language-model head and its cross-entropy in one step, in chunks of tokens, so that the
// [tokens, V] logits never exist as a whole.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "base/target.h"

namespace ckv {

using at::Tensor;

struct LossOptions {
  double label_smoothing = 0.0;  // share of the target spread over all entries
  double z_loss = 0.0;           // weight of log(Z)^2 (Chowdhery et al. 2022, PaLM)
  int64_t chunk_tokens = 0;      // 0 = chosen from V
};

// Sum over the targets of the cross-entropy of softmax(hidden weight^T), with the options'
// additions. hidden [N, C], weight [V, C], targets [N] (int64, in [0, V) or kIgnoreTarget). Returns
// a scalar in fp32 (fp64 for doubles), differentiable in hidden and weight; the gradient is made in
// the forward step, so only one backward is possible.
Tensor LinearCrossEntropy(const Tensor& hidden, const Tensor& weight, const Tensor& targets,
                          const LossOptions& options);

struct TokenScores {
  Tensor log_prob;  // [N] fp32 or fp64: log p(target); 0 where the target is ignored
  Tensor correct;   // [N] bool: the target has the largest logit
};

// Scores of single tokens, without gradient. Arguments as above.
TokenScores ScoreTokens(const Tensor& hidden, const Tensor& weight, const Tensor& targets,
                        int64_t chunk_tokens = 0);

}  // namespace ckv
