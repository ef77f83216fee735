// Rotary position embedding (Su et al. 2021), half-split layout as in Llama, with the scalings that
// Hugging Face checkpoints name: linear, dynamic (NTK), llama3, yarn (Peng et al. 2023).
#pragma once

#include <cstdint>
#include <string>

#include <ATen/core/Tensor.h>

#include "config/visitor.h"

namespace ckv {

using at::Tensor;

// `model.rope`.
struct RopeConfig {
  double theta = 10000.0;
  std::string scaling = "none";
  double factor = 1.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  int64_t original_max_position = 8192;
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  double attention_factor = 0.0;

  void Visit(ConfigVisitor& v);
};

// Cosines and sines of one call's positions, [T, D / 2] or [B, 1, T, D / 2], fp32 (fp64 for
// doubles).
struct RopeTable {
  Tensor cos;
  Tensor sin;
};

class Rope {
 public:
  Rope(const RopeConfig& config, int64_t head_dim);

  // Positions [T] or [B, T] (int64, on the device of the call). `length` is the number of positions
  // in use so far, which "dynamic" depends on.
  // Angles are computed in fp64, so that differences of far positions are as exact as of near ones.
  RopeTable Table(const Tensor& positions, int64_t length, at::ScalarType dtype) const;

  // Turns what was rotated at position p to position p + `distances` ([T] or [B, T], negative ones
  // too). Not for "dynamic" scaling, whose rotations do not add up.
  RopeTable Turn(const Tensor& distances, at::ScalarType dtype) const;

  // Inverse frequencies [D / 2] for sequences of `length` tokens, fp32 or fp64, on the CPU.
  Tensor InverseFrequencies(int64_t length, at::ScalarType dtype) const;

 private:
  RopeTable Unscaled(const Tensor& positions, int64_t length, at::ScalarType dtype) const;

  RopeConfig config_;
  int64_t head_dim_;
};

// x [B, H, T, D] -> [B, H, T, D]; computed in the table's type, returned in x's.
Tensor ApplyRope(const Tensor& x, const RopeTable& table);

}  // namespace ckv
