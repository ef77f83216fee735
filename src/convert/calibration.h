// Key and value projections from activations: `calibrated`.
//
// A model runs over sample text. Let x_j be the normalised input of the owner j at a token and
// y_i = W_i x_i + b_i what a reader i would have projected from its own normalised input. The
// owner's new projection is the one that gives, from what the owner sees, as nearly as possible
// what each reader would have had:
//
//     min over W, b of  sum over tokens t, readers i of |W x_j(t) + b - y_i(t)|^2  +  lambda |W -
//     W_0|^2
//
// with W_0 the mean of the readers' weights, so that directions which the text does not show keep
// that mean. Keys are compared before they are rotated by position, which changes no distance.
//
// The n readers enter through their mean alone, so one solution serves: with A = sum_t x x^T and
// B = sum_t mean_i(y_i) x^T, W = (B + lambda W_0) (A + lambda I)^-1. A bias is a last column (x has
// a 1 there, W_0 the mean bias). A and B are summed batch by batch in fp64, of which only (C + 1)^2
// and 2 G D (C + 1) numbers an owner are kept; lambda = ridge * trace(A) / (C + 1).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "convert/kv_projection.h"
#include "model/decoder.h"
#include "sharing/spec.h"

namespace ckv {

class Calibration {
 public:
  // `source` is the model before conversion, in evaluation mode; it has key and value projections
  // in every layer that reads in `target`. It is used until the last Add.
  Calibration(const Decoder& source, const KvSharingSpec& target);

  // Adds the activations of tokens [B, T], int64, on the model's device.
  void Add(const Tensor& tokens);

  int64_t num_tokens() const { return num_tokens_; }

  // The projection of an owner, fp64 on the CPU. `mean` is the readers' mean, W_0. Throws
  // ConfigError("--ridge", ...) if the equations have no single solution: too little text for no
  // ridge.
  KvProjection Solve(int owner, KvKind kind, const KvProjection& mean, double ridge) const;

 private:
  struct Equations {
    Tensor inputs;  // A [C', C'] fp64
    Tensor keys;    // B [G D, C'] fp64; undefined where keys are not owned or have one reader,
    Tensor values;  //   the owner itself
  };

  Tensor NormalisedInput(int layer, const Tensor& input) const;
  Tensor MeanProjection(const std::vector<int>& readers, KvKind kind,
                        const std::vector<Tensor>& inputs) const;

  Decoder source_;
  KvSharingSpec target_;
  bool with_bias_;
  std::map<int, Equations> equations_;
  int64_t num_tokens_ = 0;
};

}  // namespace ckv
