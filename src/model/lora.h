// Low-rank adapters: y = W x + alpha / r * B A x, of which only A and B are trained (Hu et al.
// 2021). Keys and tensor names are those of PEFT.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/visitor.h"

namespace ckv {

// `train.lora`.
struct LoraConfig {
  int64_t rank = 0;
  double alpha = 16.0;
  double dropout = 0.0;
  std::vector<std::string> targets = {"q_proj", "v_proj"};

  void Visit(ConfigVisitor& v);

  bool enabled() const { return rank > 0; }
  double scale() const { return alpha / static_cast<double>(rank); }
};

// The projections of a layer that can have one.
const std::vector<std::string>& LoraTargets();

// What PEFT puts in front of the name of a model's tensor.
inline constexpr char kPeftPrefix[] = "base_model.model.";

}  // namespace ckv
