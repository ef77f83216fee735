// Choosing the next token from logits, on the device that they are on and without waiting for it.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace ckv {

using at::Tensor;

// In the order in which they act: the logits of tokens seen before are pushed down, all are divided
// by `temperature`, all but the `top_k` likeliest tokens are dropped, then all behind the likeliest
// ones that together hold at least `top_p` of what is left, then those that are less likely than
// `min_p` times the likeliest, and one of the rest is drawn.
struct SamplingOptions {
  double temperature = 1.0;  // 0 = always the likeliest token
  int64_t top_k = 0;         // 0 = no limit
  double top_p = 1.0;        // (Holtzman et al. 2020)
  double min_p = 0.0;        // (Nguyen et al. 2024)
  // Positive logits of tokens seen before are divided by it, negative ones multiplied (CTRL; Keskar
  // et al. 2019). 1 = none.
  double repetition_penalty = 1.0;

  // Throws ConfigError, naming the option as `ckv generate` calls it.
  void Check() const;
  bool greedy() const { return temperature == 0.0 || top_k == 1; }
  bool penalizes() const { return repetition_penalty != 1.0; }
  bool operator==(const SamplingOptions& other) const {
    return temperature == other.temperature && top_k == other.top_k && top_p == other.top_p &&
           min_p == other.min_p && repetition_penalty == other.repetition_penalty;
  }
};

// The next draw of each row's generator, [B] fp64 in [0, 1): what Random(state).Uniform() gives.
// The states [B] int64, whose bits are the generators', go on in place; they start as the seeds.
Tensor NextUniform(Tensor& states);

// The logits [B, V] with the repetition penalty on the tokens that `seen` [B, V] bool marks.
Tensor PenalizeSeen(const Tensor& logits, const Tensor& seen, double repetition_penalty);

struct Choice {
  Tensor ids;        // [B] int64
  Tensor log_probs;  // [B] fp32 or fp64: log softmax of the logits as given, at the ids
};

// What choosing remembers of rows from one token to the next. Changes in place.
struct ChoiceState {
  Tensor draws;  // [rows] int64, states of the rows' generators
  Tensor seen;   // [rows, num_ids] bool; without a repetition penalty [rows, 0]
};

// The state of `rows` rows that have nothing yet.
ChoiceState NewChoiceState(const SamplingOptions& options, int64_t rows, int64_t num_ids,
                           const at::Device& device);

// Chooses a token for each row of logits [B, V]. `uniform` [B] fp64, numbers in [0, 1), decide;
// they are not looked at when greedy. `seen` [B, V] bool is needed for a repetition penalty only.
// Equal input gives equal output.
Choice ChooseTokens(const Tensor& logits, const SamplingOptions& options, const Tensor& uniform,
                    const Tensor& seen = {});

// The same for rows 0 .. B - 1 of a state, which goes on.
Choice ChooseNext(const Tensor& logits, const SamplingOptions& options, const ChoiceState& state);

}  // namespace ckv
