// From a sweep's axes to its points.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "config/config.h"
#include "sweep/sweep_config.h"

namespace ckv {

// What a point's training run is and costs, for tables and for telling points apart.
struct PointFacts {
  FlatConfig config;  // resolved; without what only says where and under what name it runs
  std::string kv_sharing;
  double parameters = 0.0;
  double tokens = 0.0;             // of training
  double train_flops = 0.0;        // all of it
  double kv_resident_bytes = 0.0;  // a token in the cache, in bf16
  double kv_written_bytes = 0.0;   // a decoding step of one sequence
  double kv_read_bytes = 0.0;      // a decoding step behind a whole training sample
};

// Reads a training run with these "--set" items; throws ConfigError.
using DescribePoint = std::function<PointFacts(const std::vector<std::string>& sets)>;

struct SweepPoint {
  std::string id;                                            // its folder below runs/
  std::string label;                                         // without the seed
  std::vector<std::string> aliases;                          // labels of equal points
  std::vector<std::pair<std::string, std::string>> choices;  // by axis
  std::vector<std::string> sets;                             // "a.b=value", the seed included
  int64_t seed = 0;
  uint64_t hash = 0;  // of the resolved configuration
  PointFacts facts;
};

struct SweepPoints {
  std::vector<SweepPoint> points;
  int64_t num_left_out = 0;  // by constraints
  int64_t num_equal = 0;     // whose configuration is that of an earlier point
};

// All points, each with its facts. Throws ConfigError, also for more than a million.
SweepPoints ExpandSweep(const SweepConfig& config, const std::string& path,
                        const DescribePoint& describe);

}  // namespace ckv
