// Small random models and an oracle that writes the energy of the random field out term by term.
#pragma once

#include <string>
#include <vector>

#include <torch/torch.h>

#include "model/probtrans_encoder.h"
#include "tests/tensors.h"

namespace ckv {

inline ProbTransConfig SmallConfig(const std::string& factor = "uv",
                                   std::vector<int64_t> cuts = {2, 3, 4}) {
  ProbTransConfig config;
  config.labels = 6;
  config.channels = 3;
  config.iterations = 3;
  config.factor = factor;
  config.rank = factor == "full" ? 0 : 4;
  config.distance_cuts = std::move(cuts);
  return config;
}

// [2, 3, ..., gamma + 1]
inline std::vector<int64_t> CutsOfGamma(int64_t gamma) {
  std::vector<int64_t> cuts;
  for (int64_t cut = 2; cut <= gamma + 1; ++cut) cuts.push_back(cut);
  return cuts;
}

// Random weights in double precision, in evaluation mode.
inline std::shared_ptr<MeanFieldEncoder> RandomEncoder(const ProbTransConfig& config,
                                                       uint64_t seed = 1, double scale = 0.7) {
  auto encoder = std::make_shared<MeanFieldEncoder>(config);
  encoder->to(at::kDouble);
  at::NoGradGuard no_grad;
  for (Tensor& weights : encoder->parameters()) {
    weights.copy_(RandomTensor(weights.sizes().vec(), ++seed) * scale);
  }
  encoder->eval();
  return encoder;
}

inline Tensor AllWords(int64_t batch, int64_t words) { return at::ones({batch, words}, at::kBool); }

// Distributions of one sentence.
struct Marginals {
  Tensor labels;  // [n, d]
  Tensor heads;   // [h, n, C]: ROOT (if any), words, shared globals
  Tensor root;    // [root labels]
};

// The energy of section 2, as one scalar; every factor is written out.
inline Tensor Energy(const MeanFieldEncoder& encoder, const Tensor& unary, const Marginals& q) {
  const ProbTransConfig& config = encoder.config();
  const DistanceBins bins = config.Bins();
  const Tensor ternary = encoder.factor().Recovered();  // [K, d, d, h]
  const int64_t n = unary.size(0), first = q.root.defined() ? 1 : 0;
  Tensor energy = -(q.labels * unary).sum();
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      if (i == j) continue;
      const Tensor scores =
          at::einsum("a,b,abc->c", {q.labels[i], q.labels[j], ternary[bins.Find(j - i)]});
      energy = energy - (q.heads.select(1, i).select(1, first + j) * scores).sum();
    }
  }
  const auto parameters = encoder.named_parameters();
  if (q.root.defined()) {
    const Tensor scores =
        at::einsum("ia,r,arc->ci", {q.labels, q.root, parameters["root_ternary"]});
    energy = energy - (q.heads.select(2, 0) * scores).sum();
  }
  if (config.globals.count > 0) {
    const Tensor scores = at::einsum("ia,gac->cig", {q.labels, parameters["global_"]});
    energy = energy - (q.heads.narrow(2, first + n, config.globals.count) * scores).sum();
  }
  return energy;
}

}  // namespace ckv
