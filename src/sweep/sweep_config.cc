#include "sweep/sweep_config.h"

#include <algorithm>
#include <regex>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "config/config.h"

namespace ckv {

void SweepAxis::Visit(ConfigVisitor& v) {
  v.Field("name", name, "what the axis is called in tables; empty = the key");
  v.Field("key", key, "the key of the training run that varies");
  v.Field("values", values, "a list of its values");
  v.Field("labels", labels, "short names of the values; none = the values themselves");
  v.Field("points", points,
          "in place of key and values: a list of {label: NAME, set: {KEY: VALUE, ...}}");
  v.Field("low", low, "random values: the least");
  v.Field("high", high, "random values: the largest");
  v.Field("log", log, "random values: uniform in their logarithm");
  v.Field("integer", integer, "random values: rounded to integers");
}

void SweepStage::Visit(ConfigVisitor& v) {
  v.Field("name", name, "names the stage's files in the point's folder");
  v.Field("command", command,
          "arguments of ckv; {run} is the point's folder, {out} its file <name>.json");
  v.Field("timeout_s", timeout_s, "seconds after which the command is stopped; 0 = none");
  v.Require(timeout_s >= 0, "must be >= 0");
  v.Field("alone", alone, "whether no other point may run meanwhile: for measurements of speed");
  v.Field("launcher", launcher,
          "words before ckv that start it on several ranks: [torchrun, --standalone, --no-python, "
          "--nproc-per-node, 2]; none = alone");
}

void SweepMetric::Visit(ConfigVisitor& v) {
  v.Field("name", name, "column in tables");
  v.Field("stage", stage, "train, or the name of a stage");
  v.Field("path", path, "where the number stands in the stage's JSON: results/sciq/acc,none");
  v.Field("higher_is_better", higher_is_better, "whether more of it is better");
}

void SlurmConfig::Visit(ConfigVisitor& v) {
  v.Field("options", options, "of sbatch, such as --partition=gpu");
  v.Field("setup", setup, "shell lines that run before the point");
  v.Field("max_running", max_running, "points at once; 0 = as many as the cluster gives");
  v.Require(max_running >= 0, "must be >= 0");
}

void SweepConfig::Visit(ConfigVisitor& v) {
  v.Field("name", name, "empty = the file's name");
  v.Field("title", title, "heading of the report; empty = the name");
  v.Field("dir", dir, "folder of points and report; empty = experiments/<name>");
  v.Field("config", config, "the training run that all points start from");
  v.Field("set", set, "a map of keys of the run and their values, for all points");
  v.List("axes", axes, "what varies; every value of an axis goes with every one of the others");
  v.Field("samples", samples, "draws of the random axes for each point of the others");
  v.Require(samples >= 1, "must be >= 1");
  v.Field("random_seed", random_seed, "of those draws");
  v.Field("seeds", seeds, "run.seed; every point is run with each");
  v.Require(!seeds.empty(), "must have at least one");
  v.Field("constraints", constraints,
          "conditions on the run's keys; points that violate one are left out");
  v.Field("train_timeout_s", train_timeout_s, "seconds after which training is stopped; 0 = none");
  v.Require(train_timeout_s >= 0, "must be >= 0");
  v.Field("train_launcher", train_launcher, "the same as a stage's launcher, for training");
  v.List("stages", stages, "what follows on training, in order");
  v.List("metrics", metrics, "columns of the report; none = those that are known");
  v.Field("quality", quality, "the metric that is drawn against KV bytes; empty = the first");
  v.Field("baseline", baseline, "label of the point that others are compared with; empty = none");
  v.Field("parallel", parallel, "points that run at once");
  v.Require(parallel >= 1, "must be >= 1");
  v.Field("threads", threads, "CPU threads of each point; 0 = as the run says");
  v.Require(threads >= 0, "must be >= 0");
  v.Field("gpus", gpus,
          "one value of CUDA_VISIBLE_DEVICES for each point that runs at once on a host");
  v.Field("flops_per_second", flops_per_second,
          "speed of training, for the expected time; 0 = as the points that are done");
  v.Require(flops_per_second >= 0.0, "must be >= 0");
  v.Section("slurm", slurm, "job arrays");
}

std::string SweepConfig::RunsDir() const { return JoinPath(dir, "runs"); }

namespace {

bool IsPlainName(const std::string& name) {
  return !name.empty() && name.find_first_of("/\\ \t\n") == std::string::npos && name[0] != '.';
}

// What a command's words may have in braces. "{key: value}" is YAML.
void CheckPlaces(const SweepStage& stage, const std::string& path) {
  const std::regex place("\\{([A-Za-z_]+)\\}");
  for (const std::string& word : stage.command) {
    for (std::sregex_iterator at(word.begin(), word.end(), place), end; at != end; ++at) {
      const std::string name = (*at)[1];
      if (name == "run" || name == "out") continue;
      throw ConfigError(path, Str("the stage '", stage.name, "' has '{", name,
                                  "}' in its command, but there are {run} and {out} alone"));
    }
  }
}

void CheckAxis(const SweepAxis& axis, const std::string& where) {
  const auto fail = [&](const std::string& what) { throw ConfigError(where, what); };
  const int forms = (axis.values.is_null() ? 0 : 1) + (axis.points.is_null() ? 0 : 1) +
                    (axis.low || axis.high ? 1 : 0);
  if (forms != 1) fail("must have exactly one of 'values', 'points', and 'low' with 'high'");
  if (axis.points.is_null() == axis.key.empty()) {
    fail("must have a 'key', unless it has 'points'");
  }
  if (axis.low.has_value() != axis.high.has_value()) fail("must have both 'low' and 'high'");
  if (axis.random() && !(*axis.low < *axis.high)) fail("'low' must be less than 'high'");
  if (axis.random() && axis.log && *axis.low <= 0.0) fail("'low' must be > 0 for 'log'");
  for (const ConfigValue* list : {&axis.values, &axis.points}) {
    if (list->is_null()) continue;
    if (list->kind() != ConfigValue::Kind::kList) ThrowWrongType(*list, where, "a list");
    if (list->items().empty()) fail("must not be empty");
  }
  if (!axis.labels.empty() && axis.labels.size() != axis.values.items().size()) {
    fail(Str("has ", axis.labels.size(), " labels for ", axis.values.items().size(), " values"));
  }
}

}  // namespace

SweepConfig LoadSweepConfig(const std::string& path, const std::vector<std::string>& sets) {
  SweepConfig config;
  ReadConfig(LoadConfig(path, sets), config);
  if (config.name.empty()) {
    const std::string name = BaseName(path);
    config.name = name.substr(0, name.rfind('.'));
  }
  if (!IsPlainName(config.name)) {
    throw ConfigError(path, Str("'name' is '", config.name, "', but must be a plain folder name"));
  }
  if (config.dir.empty()) config.dir = JoinPath("experiments", config.name);
  if (config.config.empty()) throw ConfigError(path, "'config' must name a training run's file");
  for (size_t i = 0; i < config.axes.size(); ++i) {
    SweepAxis& axis = config.axes[i];
    CheckAxis(axis, Str(path, ": axes.", i));
    if (axis.name.empty()) axis.name = axis.key;
    if (axis.name.empty()) axis.name = "point";
  }
  std::set<std::string> keys;
  for (const SweepAxis& axis : config.axes) {
    if (axis.key == "run.seed")
      throw ConfigError(path, "seeds are named by 'seeds', not by an axis");
    if (!axis.key.empty() && !keys.insert(axis.key).second) {
      throw ConfigError(path, Str("two axes are of the key '", axis.key, "'"));
    }
  }
  std::set<std::string> names = {"train", "point"};
  for (const SweepStage& stage : config.stages) {
    if (!IsPlainName(stage.name) || !names.insert(stage.name).second) {
      throw ConfigError(path, Str("the stage name '", stage.name,
                                  "' must be a plain word that no other stage has"));
    }
    if (stage.command.empty()) {
      throw ConfigError(path, Str("the stage '", stage.name, "' must have a 'command'"));
    }
    CheckPlaces(stage, path);
  }
  for (const SweepMetric& metric : config.metrics) {
    if (metric.name.empty() || metric.path.empty()) {
      throw ConfigError(path, "a metric must have a 'name' and a 'path'");
    }
    if (metric.stage != "train" && names.count(metric.stage) == 0) {
      throw ConfigError(path, Str("the metric '", metric.name, "' is of the stage '", metric.stage,
                                  "', which there is not"));
    }
  }
  const std::set<int64_t> distinct(config.seeds.begin(), config.seeds.end());
  if (distinct.size() != config.seeds.size()) throw ConfigError(path, "'seeds' must be distinct");
  if (!config.gpus.empty() && static_cast<int64_t>(config.gpus.size()) < config.parallel) {
    throw ConfigError(path, Str("'gpus' has ", config.gpus.size(), " entries, but ",
                                config.parallel, " points run at once"));
  }
  return config;
}

}  // namespace ckv
