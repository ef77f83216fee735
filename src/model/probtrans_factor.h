// The ternary scores T[k]^c_ab of a child's label a and its head's label b, by distance bin k and
// channel c, in one of three forms:
//
//   full  T free                                           ternary [K, d, d, h]
//   uv    T = sum_l U[k]_{a,l,c} V[k]_{b,l,c}              U, V [K, d, r, h]
//   uvw   T = sum_l U[k]_{a,l} V[k]_{b,l} W[k]_{c,l}       U, V [K, d, r], W [K, h, r]
//
// and, over any of them, learned mixtures T[k] = sum_q D[k, q] T_q of a few tensors
// (distribution_params [K, q]). Without distances the axis of bins is left out.
//
// T itself is never made for uv and uvw: inference needs the two sides of each pair
// (model/probtrans_pairs.h), and the way back from what they collect to label scores.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include "model/probtrans_config.h"
#include "model/probtrans_pairs.h"

namespace ckv {

// A factor's matrices for the bins that a batch can have, made once a forward.
struct PreparedFactor {
  Tensor child_matrix;     // [d, tensors, h or 1, R] flat; undefined: the labels are the side
  Tensor head_matrix;      // likewise
  Tensor channel_weights;  // uvw: [tensors, h, R], multiplies the child side; else undefined
  Tensor mixture;          // [K, tensors]; undefined: none, and tensors = K
  int64_t tensors = 0;
  int64_t rank = 0;     // R
  bool bf16 = false;    // products with the matrices in bf16
  bool by_bin = false;  // sides lie in memory as [B, K, h, n, R], for products bin by bin
};

class TernaryFactor {
 public:
  using Named = std::vector<std::pair<std::string, Tensor>>;

  virtual ~TernaryFactor() = default;

  // Leaves with gradients, for the encoder to register.
  const Named& parameters() const { return parameters_; }

  virtual PreparedFactor Prepare(const PairLayout& layout) const = 0;

  // T over all bins, [K, d, d, h].
  virtual Tensor Recovered() const = 0;
  // The Frobenius norm of the score tensors, a scalar: of T, or of the T_q that are mixed. uv and
  // uvw do not make them for it.
  virtual Tensor Norm() const = 0;

  // Fresh values: T starts with variance 1 (full), 1/r (uv) or 1/r^2 (uvw).
  virtual void Initialize(at::Generator generator) = 0;

 protected:
  Tensor Add(const std::string& name, const std::vector<int64_t>& shape);

 private:
  Named parameters_;
};

std::unique_ptr<TernaryFactor> MakeTernaryFactor(const ProbTransConfig& config);

// The sides of pairs of words with label distributions q [B, n, d].
struct PairSides {
  Tensor child;
  Tensor head;
};
PairSides ProjectSides(const Tensor& q, const PreparedFactor& factor);

// From what PairSums gave to label scores [B, n, d]: of words as children (2a), as heads (2b).
Tensor ChildMessage(const Tensor& collected, const PreparedFactor& factor);
Tensor HeadMessage(const Tensor& collected, const PreparedFactor& factor);

}  // namespace ckv
