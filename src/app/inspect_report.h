// What `ckv inspect` says: the picture of a sharing spec and, as far as the model's sizes are
// known, what it costs. The JSON holds every number; the text is made from it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "sharing/cost.h"
#include "sharing/plan.h"

namespace ckv {

// What is looked at.
struct InspectedModel {
  IterationPlan plan;
  int64_t forward_passes = 0;  // as configured, also where nothing is iterative
  int64_t backward_passes = 1;
  bool sequential = false;         // trains token by token
  ModelShape shape;                // sizes that are 0 are not known
  std::vector<std::string> notes;  // for people, beside the spec's own warnings
};

// For what it is counted.
struct InspectedUse {
  int64_t seq_len = 1024;
  int64_t batch = 1;
  double memory_gb = 80.0;  // 1e9 bytes each
};

// Throws ConfigError for sizes that no model has, and for a use out of range.
OrderedJson InspectJson(const InspectedModel& model, const InspectedUse& use);

// `ascii`: without box-drawing characters. `json` is what InspectJson gave for the same model.
std::string InspectText(const InspectedModel& model, const OrderedJson& json, bool ascii);

}  // namespace ckv
