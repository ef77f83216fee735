// Choosing the next token from logits.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace ckv {

using at::Tensor;

// In the order in which they act: logits are divided by `temperature`, all but the `top_k`
// likeliest tokens are dropped, then all behind the likeliest ones that together hold at least
// `top_p` of what is left, and one of the rest is drawn.
struct SamplingOptions {
  double temperature = 1.0;  // 0 = always the likeliest token
  int64_t top_k = 0;         // 0 = no limit
  double top_p = 1.0;        // (Holtzman et al. 2020)

  // Throws ConfigError, naming the option as `ckv generate` calls it.
  void Check() const;
  bool greedy() const { return temperature == 0.0 || top_k == 1; }
};

struct Choice {
  Tensor ids;        // [B] int64
  Tensor log_probs;  // [B] fp32 or fp64: log softmax of the logits as given, at the ids
};

// Chooses a token for each row of logits [B, V]. `uniform` [B] fp64, numbers in [0, 1), decide;
// they are not looked at when greedy. Equal input gives equal output; all work is done on the
// device.
Choice ChooseTokens(const Tensor& logits, const SamplingOptions& options, const Tensor& uniform);

}  // namespace ckv
