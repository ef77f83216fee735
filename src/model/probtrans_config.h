// `model` of a Probabilistic Transformer: an encoder whose layers are steps of mean-field inference
// in a conditional random field of word labels and dependency heads.
//
// Source: Wu and Tu, "Probabilistic Transformer" (Findings of ACL 2023); options as in its
// reference implementation.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/visitor.h"
#include "model/probtrans_distance.h"

namespace ckv {

// `model.globals`: corpus-wide features that every word may choose as a head.
struct GlobalsConfig {
  int64_t count = 0;
  std::string mode = "shared";
  int64_t channels = 0;
  int64_t rank = 0;

  void Visit(ConfigVisitor& v);
};

struct ProbTransConfig {
  int64_t labels = 32;
  int64_t channels = 10;
  int64_t iterations = 4;

  std::string factor = "full";
  int64_t rank = 0;
  std::string distances = "cuts";
  std::vector<int64_t> distance_cuts;
  int64_t distance_limit = 0;
  int64_t distance_tensors = 0;

  std::string schedule = "heads_first";
  double weight_heads = 1.0;
  double weight_labels = 1.0;
  double step_heads = 1.0;
  double step_labels = 1.0;
  bool decreasing_steps = false;
  double damping_heads = 0.0;
  double damping_labels = 0.0;
  std::string normaliser = "softmax";

  int64_t root_labels = 0;
  int64_t root_rank = 0;
  GlobalsConfig globals;
  bool child_messages = true;
  bool probabilities = false;
  bool projection = false;
  double dropout = 0.0;
  std::string pairs = "auto";

  void Visit(ConfigVisitor& v);

  // Checks what holds between keys. Throws ConfigError.
  void Check() const;

  DistanceBins Bins() const;
  // Channels of the separate softmax over the globals; of `shared` mode all of them.
  int64_t GlobalChannels() const;
  // Parameters of the encoder, without embedding and output layers.
  int64_t NumParameters() const;
};

}  // namespace ckv
