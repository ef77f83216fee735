// The YAML file of `ckv sweep`: a training run, what varies, and what is done with each point.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/value.h"
#include "config/visitor.h"

namespace ckv {

// What varies. Either `key` with `values`, or `key` with a random range, or `points`.
struct SweepAxis {
  std::string name;
  std::string key;
  ConfigValue values;
  std::vector<std::string> labels;
  ConfigValue points;
  std::optional<double> low;
  std::optional<double> high;
  bool log = false;
  bool integer = false;

  void Visit(ConfigVisitor& v);
  bool random() const { return low.has_value(); }
};

// A command that is run for each point, after the ones before it have succeeded. One that runs
// alone, as measurements of speed must, waits until no point has anything else to do; what follows
// on it then runs alone too.
struct SweepStage {
  std::string name;
  std::vector<std::string> command;
  int64_t timeout_s = 0;
  std::vector<std::string> launcher;
  bool alone = false;

  void Visit(ConfigVisitor& v);
};

struct SweepMetric {
  std::string name;
  std::string stage = "train";
  std::string path;
  bool higher_is_better = false;

  void Visit(ConfigVisitor& v);
};

struct SlurmConfig {
  std::vector<std::string> options;
  std::vector<std::string> setup;
  int64_t max_running = 0;

  void Visit(ConfigVisitor& v);
};

struct SweepConfig {
  std::string name;
  std::string title;
  std::string dir;
  std::string config;
  ConfigValue set;
  std::vector<SweepAxis> axes;
  int64_t samples = 1;
  int64_t random_seed = 0;
  std::vector<int64_t> seeds = {0};
  std::vector<std::string> constraints;
  int64_t train_timeout_s = 0;
  std::vector<std::string> train_launcher;
  std::vector<SweepStage> stages;
  std::vector<SweepMetric> metrics;
  std::string quality;
  std::string baseline;
  int64_t parallel = 1;
  int64_t threads = 0;
  std::vector<std::string> gpus;
  double flops_per_second = 0.0;
  SlurmConfig slurm;

  void Visit(ConfigVisitor& v);
  std::string RunsDir() const;
};

// Reads and checks a sweep's file. Throws ConfigError.
SweepConfig LoadSweepConfig(const std::string& path, const std::vector<std::string>& sets = {});

}  // namespace ckv
