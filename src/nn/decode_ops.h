// The operations of a decode step beside products and attention. Each writes into memory that the
// caller owns and that stays where it is, so that a step can be recorded once and run again.
//
// On a GPU bf16 and fp16 have a kernel each (nn/cuda/decode_ops.cu); all else is composed of
// LibTorch's operations. None of them waits for the device.
#pragma once

#include <cstdint>
#include <string>

#include <ATen/core/Tensor.h>

namespace ckv {

using at::Tensor;

// out [B, C] = weight x / sqrt(mean(x^2) + epsilon).
void RmsNormInto(const Tensor& x, const Tensor& weight, double epsilon, Tensor& out);

// What turns packed projections of one token a row into a rotated query and stored keys and values.
struct RotateTarget {
  Tensor cos;      // [positions, D / 2] fp32 (fp64 for doubles)
  Tensor sin;      // [positions, D / 2]
  Tensor lengths;  // [rows] int32: the position of each row's token
  Tensor q;        // [B, H, D]
  Tensor keys;     // [rows, G, slots, D], slot = position % slots; undefined = the layer owns none
  Tensor values;   // [rows, G, slots, D]; undefined = the layer owns none
  int64_t kv_heads = 0;

  // Rows of the packed projection: those of q, then of what the layer owns of k and v.
  int64_t packed_heads() const {
    return q.size(1) + (keys.defined() ? kv_heads : 0) + (values.defined() ? kv_heads : 0);
  }
};

// packed [B, packed_heads D]: writes the rotated query to q, rotated keys and values to their
// slots. Nothing else of the stores changes.
void RotateAndStore(const Tensor& packed, RotateTarget& target);

// "silu", "gelu" or "gelu_tanh", as DecoderConfig::hidden_act.
// packed [B, 2 F] = gate, up; out [B, F] = activation(gate) * up.
void GateInto(const Tensor& packed, const std::string& activation, Tensor& out);

// The likeliest token of each row of logits [B, V], the first of equal ones: ids [B] int64, and the
// logarithm of its probability [B] fp32 (fp64 for doubles).
void GreedyChoiceInto(const Tensor& logits, Tensor& ids, Tensor& log_probs);

}  // namespace ckv
