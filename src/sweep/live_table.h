// What a sweep is doing, redrawn in place on a terminal.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "sweep/sweep_config.h"

namespace ckv {

struct SweepCounts;

struct LivePoint {
  std::string id;
  std::string stage;
  double seconds = 0.0;
  std::string folder;
};

// The table: a summary, then a line for each point, none longer than `columns` - 1 bytes.
std::vector<std::string> LiveTableLines(const std::string& name,
                                        const std::vector<LivePoint>& points,
                                        const SweepCounts& counts, size_t columns);

class LiveTable {
 public:
  LiveTable(const SweepConfig& config, bool wanted);

  // At most twice a second on a terminal; elsewhere a line every half minute.
  void Show(const std::vector<LivePoint>& points, const SweepCounts& counts);
  // Takes the table off the terminal.
  void Clear();

 private:
  const SweepConfig& config_;
  bool terminal_ = false;
  int lines_ = 0;  // drawn now
  std::chrono::steady_clock::time_point last_;
};

}  // namespace ckv
