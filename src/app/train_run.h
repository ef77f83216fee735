// The YAML file of `ckv train`: everything that makes a run.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "app/task_options.h"
#include "base/json.h"
#include "config/config.h"
#include "data/config.h"
#include "dist/config.h"
#include "model/decoder_config.h"
#include "text/tokenizer.h"
#include "train/config.h"

namespace ckv {

// `run`: what the run is called and where it runs. Only the seed has an effect on numbers.
struct RunConfig {
  std::string study = "default";
  std::string name;
  std::string dir;
  int64_t seed = 0;
  std::string device = "auto";
  int64_t threads = 0;

  void Visit(ConfigVisitor& v);
};

struct TrainRun {
  RunConfig run;
  std::string tokenizer;
  std::string init_from;
  DecoderConfig model;
  DataConfig data;
  TrainConfig train;
  TaskHookConfig tasks;
  DistConfig dist;

  void Visit(ConfigVisitor& v);

  // The folder of the run.
  std::string Dir() const;
};

// Reads a file and resolves what does not need the data: the sharing spec, the run's name (that of
// the file, unless given). Throws ConfigError for what does not fit together.
TrainRun LoadTrainRun(const std::string& path, const std::vector<std::string>& sets = {});

// The same of a tree that LoadConfig gave for the file `path`.
TrainRun ReadTrainRun(const ConfigValue& tree, const std::string& path);

// Opens the tokenizer that the run names, or the one in its data, and fills in the size of the
// vocabulary and the ids of beginning and end. Throws ConfigError for a vocabulary that does not
// fit.
std::unique_ptr<Tokenizer> ResolveTokenizer(TrainRun& run);

// All keys of a run but those that only say where and under what name it runs.
FlatConfig KeysThatCount(const TrainRun& run);

// Throws ConfigError, naming all keys that differ, unless the run that wrote `config_path` is this
// one. Where it runs and what it is called may differ.
void CheckSameRun(const TrainRun& run, const std::string& config_path);

// The same of any two configs as flat lists.
void CheckSameKeys(FlatConfig before, FlatConfig now, const std::string& config_path);

// What the run in `folder` has found; null if it is not complete. Throws ConfigError for a
// result.json without a config.yaml beside it, which is not of a run of ours.
OrderedJson ResultOfCompleteRun(const std::string& folder);

}  // namespace ckv
