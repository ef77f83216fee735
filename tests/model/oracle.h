// A second implementation of the decoder for tests: plain loops over doubles, written from the
// definitions (docs of sharing/plan.h and nn/attention.h) and sharing no code with src/model.
//
// Gradients are central differences of the loss. The keys and values that passes without gradient
// leave behind are constants of it, as in training.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "model/decoder_config.h"

namespace ckv {

using OracleRow = std::vector<double>;
using OracleMatrix = std::vector<OracleRow>;             // [T][width]
using OracleWeights = std::map<std::string, OracleRow>;  // row-major, under checkpoint names

class Oracle {
 public:
  // `config` must be resolved, without biases, tied embeddings and RoPE scaling.
  explicit Oracle(const DecoderConfig& config);

  // Logits [T][V] of a sequence by the plan: m passes, then b.
  OracleMatrix Logits(const OracleWeights& weights, const std::vector<int64_t>& tokens) const;

  // The same token by token: each token in one pass, reading the final KVs of those before it.
  OracleMatrix SequentialLogits(const OracleWeights& weights,
                                const std::vector<int64_t>& tokens) const;

  // Mean cross-entropy of logits[t] against labels[t + 1] over all rows; negative labels are left
  // out.
  double Loss(const OracleWeights& weights, const std::vector<std::vector<int64_t>>& tokens,
              const std::vector<std::vector<int64_t>>& labels) const;

  // Derivative of Loss by weights[name][index].
  double Gradient(const OracleWeights& weights, const std::string& name, size_t index,
                  const std::vector<std::vector<int64_t>>& tokens,
                  const std::vector<std::vector<int64_t>>& labels) const;

 private:
  struct Kv {
    OracleMatrix keys;    // [T][G D], rotated
    OracleMatrix values;  // [T][G D]
  };
  using Board = std::vector<Kv>;  // [L]
  struct Run {
    const OracleWeights* weights = nullptr;
    const OracleWeights* frozen_weights = nullptr;  // of passes without gradient
  };

  OracleMatrix RunLogits(const Run& run, const std::vector<int64_t>& tokens) const;
  // One group on the hidden states `x`; updates `board`. `x` and `board` of the passes without
  // gradient are those of the frozen weights.
  void RunGroup(const Run& run, int start, int stop, int forward, int backward, OracleMatrix* x,
                OracleMatrix* frozen_x, Board* board, Board* frozen_board) const;
  OracleMatrix RunPass(const OracleWeights& w, int start, int stop, OracleMatrix x,
                       Board* board) const;
  OracleMatrix Layer(const OracleWeights& w, int layer, const OracleMatrix& x, int64_t first,
                     Board* board) const;
  OracleRow Attend(const OracleWeights& w, int layer, const OracleRow& normed, int64_t position,
                   const Board& board) const;
  OracleRow Head(const OracleWeights& w, const OracleRow& x) const;
  double MeanLoss(const Run& run, const std::vector<std::vector<int64_t>>& tokens,
                  const std::vector<std::vector<int64_t>>& labels) const;

  OracleRow Norm(const OracleRow& x, const OracleRow& weight) const;
  void Rotate(OracleRow* heads, int64_t position) const;
  Board EmptyBoard(size_t num_tokens) const;

  DecoderConfig config_;
};

}  // namespace ckv
