// Running a sweep's points, several at a time, until each stage of each is done or has failed.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "sweep/point_state.h"
#include "sweep/points.h"
#include "sweep/sweep_config.h"

namespace ckv {

struct RunnerOptions {
  std::string program;           // that points are run with; "" = this one
  bool retry = false;            // also stages that diverged, ran out of memory or timed out
  std::vector<int64_t> indices;  // only these points; none = all
  bool live = true;              // a table that is redrawn, where stderr is a terminal
  // Between two looks at the children.
  double poll_s = 0.05;

  // Where a launcher has started several processes for the sweep, each of which runs
  // SweepConfig::parallel points at once: which one of its host this is.
  bool shared = false;  // waits at the end for the points of the others, and takes over those that
                        // one of them has left behind
  int local_rank = 0;
  int local_world = 1;
  std::string gpu;                 // CUDA_VISIBLE_DEVICES of its points; "" = as it is, or `gpus`
  std::vector<std::string> unset;  // variables that are kept from the points
};

struct SweepCounts {
  int64_t done = 0;
  int64_t failed = 0;  // a stage has failed for good, or fails again and again
  int64_t waiting = 0;
  int64_t elsewhere = 0;  // another process works on the point
};

// Runs what is left to do. A point that fails is recorded, and the others go on. On a signal the
// children save and end, and Interrupted is thrown. Throws IoError.
SweepCounts RunSweep(const SweepConfig& config, const std::vector<SweepPoint>& points,
                     const RunnerOptions& options);

// The stages of a point as they stand, with those that have not begun.
PointState StateOf(const SweepConfig& config, const SweepPoint& point);

// The arguments of a stage's command, which begins with "train" for the first.
std::vector<std::string> StageArguments(const SweepConfig& config, const SweepPoint& point,
                                        const std::string& stage);

// A job array for Slurm: a shell script whose task number N runs point N.
std::string SlurmScript(const SweepConfig& config, const std::string& sweep_path, size_t num_points,
                        const std::string& program);

}  // namespace ckv
