// Which slot of a store holds which token.
//
// Tokens are counted from the start of their row's stream, from 0. Three policies, one formula:
//
//   full   token t lies in slot t, and stays
//   ring   token t lies in slot t mod W: the last W tokens, for readers with a window of W
//   sink   token t < s lies in slot t and stays, later ones in slot s + (t - s) mod (w - s + 1):
//          the first s tokens and the last w - s, and room for the token of the running step
//          (StreamingLLM, Xiao et al. 2023)
//
// Slots are in no order of time; who reads a store goes by positions or takes all filled slots.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace ckv {

using at::Tensor;

class SlotPolicy {
 public:
  static SlotPolicy Full(int64_t max_tokens) { return {max_tokens, 0, 0}; }
  static SlotPolicy Ring(int64_t window) { return {0, window, window}; }
  static SlotPolicy Sink(int64_t num_sinks, int64_t window_length) {
    return {num_sinks, window_length - num_sinks + 1, window_length - num_sinks};
  }

  int64_t slots() const { return fixed_ + ring_; }
  bool full() const { return ring_ == 0; }
  int64_t num_fixed() const { return fixed_; }  // slots whose token stays

  // The slot of the token at a position, whatever it holds now. A full store has none beyond its
  // size; for such a position its last slot is named.
  int64_t SlotOf(int64_t position) const;
  Tensor SlotOf(const Tensor& positions) const;  // int64, any shape

  // Whether a row that has seen `lengths` tokens keeps the one at a position; both broadcast.
  Tensor Keeps(const Tensor& positions, const Tensor& lengths) const;

  // The tokens kept of `length` that were seen, those from position `from` on, ascending.
  std::vector<int64_t> KeptPositions(int64_t length, int64_t from = 0) const;

  // lengths [B] -> [B, slots]: the position of the token in each slot, -1 where none is kept.
  Tensor SlotPositions(const Tensor& lengths) const;

  bool operator==(const SlotPolicy& other) const {
    return fixed_ == other.fixed_ && ring_ == other.ring_ && kept_ == other.kept_;
  }

 private:
  SlotPolicy(int64_t fixed, int64_t ring, int64_t kept) : fixed_(fixed), ring_(ring), kept_(kept) {}

  int64_t fixed_;  // slots 0 .. fixed - 1 hold the tokens of these positions
  int64_t ring_;   // further slots, used in turn
  int64_t kept_;   // tokens of the ring that outlive a call
};

}  // namespace ckv
