#include "model/lora.h"

#include <algorithm>

#include "base/error.h"
#include "base/str.h"

namespace ckv {

const std::vector<std::string>& LoraTargets() {
  static const std::vector<std::string> targets = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                   "gate_proj", "up_proj", "down_proj"};
  return targets;
}

void LoraConfig::Visit(ConfigVisitor& v) {
  v.Field("rank", rank, "r: columns of B and rows of A; 0 = no adapters, all weights are trained");
  v.Require(rank >= 0, "must be >= 0");
  v.Field("alpha", alpha, "adapters are scaled by alpha / r");
  v.Require(alpha > 0.0, "must be > 0");
  v.Field("dropout", dropout, "of the adapters' inputs");
  v.Require(dropout >= 0.0 && dropout < 1.0, "must be from 0 to below 1");
  v.Field("targets", targets, "projections with an adapter: q_proj, k_proj, ..., down_proj");
  std::string names;
  for (const std::string& name : LoraTargets()) names += (names.empty() ? "" : ", ") + name;
  bool known = !targets.empty();
  for (const std::string& target : targets) {
    known &= std::count(targets.begin(), targets.end(), target) == 1 &&
             std::count(LoraTargets().begin(), LoraTargets().end(), target) == 1;
  }
  v.Require(known, "must be one or several of " + names);
}

}  // namespace ckv
