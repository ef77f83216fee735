// The learning rate that falls when the development score no longer rises, and the end of training.
#pragma once

#include <cstdint>
#include <string>

#include "base/json.h"
#include "config/visitor.h"

namespace ckv {

// `train.plateau`.
struct PlateauConfig {
  int64_t patience = 5;
  double factor = 0.5;
  double min_lr = 1e-7;

  void Visit(ConfigVisitor& v);
};

// What a checkpoint keeps of it.
struct PlateauState {
  double lr_scale = 1.0;  // multiplies the schedule
  int64_t bad = 0;        // evaluations since the last improvement
  bool has_best = false;
  double best_score = 0.0;
  double best_loss = 0.0;
  bool stopped = false;

  OrderedJson ToJson() const;
  // Throws FormatError(path, "train.plateau", ...).
  static PlateauState FromJson(const Json& json, const std::string& path);
};

// Takes in an evaluation of a run with peak learning rate `lr`; true if it improves: a higher
// score, or the same with a lower loss. More than `patience` others multiply the rate by `factor`;
// a rate below `min_lr` stops the run.
bool UpdatePlateau(const PlateauConfig& config, double lr, double score, double loss,
                   PlateauState* state);

}  // namespace ckv
