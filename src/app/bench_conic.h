// `ckv bench conic`: how long the Conic10K scorer takes, on data and on hostile input.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ckv {

struct ConicBenchRow {
  std::string name;
  int64_t questions = 1;
  double seconds = 0.0;
  // Growth of the process's resident memory at its peak; 0 where the system does not tell.
  double memory_bytes = 0.0;
  double limit_seconds = 1.0;
  bool truncated = false;
};

// Scores release files (their statements against themselves) and made inputs, each once.
std::vector<ConicBenchRow> BenchConic(const std::vector<std::string>& data_files);

}  // namespace ckv
