// `dist`: how the processes of a run share the work. Without a launcher it has no effect.
#pragma once

#include <cstdint>
#include <string>

#include "config/visitor.h"

namespace ckv {

struct DistConfig {
  std::string backend = "auto";
  int64_t zero = 0;
  std::string reduce = "fp32";
  double bucket_mb = 25.0;
  double timeout_s = 600.0;

  void Visit(ConfigVisitor& v);
};

}  // namespace ckv
