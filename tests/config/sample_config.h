// A config with a key of every kind, for the tests of reading, dumping and listing.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/visitor.h"

namespace ckv {

struct SampleOptim {
  double lr = 3e-4;
  std::string schedule = "cosine";
  int64_t warmup_steps = 0;

  void Visit(ConfigVisitor& v) {
    v.Field("lr", lr, "peak learning rate");
    v.Require(lr > 0, "must be > 0");
    v.Choice("schedule", schedule, {"cosine", "linear", "constant"}, "shape of the learning rate");
    v.Field("warmup_steps", warmup_steps, "steps of linear warmup");
  }
};

struct SampleSource {
  std::string path = "x.txt";
  double weight = 1.0;

  void Visit(ConfigVisitor& v) {
    v.Field("path", path, "text file");
    v.Require(!path.empty(), "must not be empty");
    v.Field("weight", weight, "share of the mixture");
  }
};

struct SampleTrain {
  SampleOptim optim;
  bool compile = false;
  int64_t steps = 100;
  std::vector<SampleSource> sources;

  void Visit(ConfigVisitor& v) {
    v.Section("optim", optim, "AdamW");
    v.Field("compile", compile, "compile the model");
    v.Field("steps", steps, "optimizer steps");
    v.Require(steps >= 1, "must be at least 1");
    v.List("sources", sources, "what to read");
  }
};

struct SampleConfig {
  std::string name = "run";
  SampleTrain train;
  std::optional<int64_t> seed;
  std::optional<double> clip = 1.0;
  std::vector<int64_t> layers = {1, 2};
  std::vector<double> betas = {0.9, 0.95};
  std::vector<std::string> tags;
  ConfigValue extra;

  void Visit(ConfigVisitor& v) {
    v.Field("name", name, "name of the run");
    v.Section("train", train, "training");
    v.Field("seed", seed, "random seed; null = from the clock");
    v.Field("clip", clip, "gradient norm; null = none");
    v.Field("layers", layers, "layers to watch");
    v.Field("betas", betas, "Adam's betas");
    v.Field("tags", tags, "words for the report");
    v.Field("extra", extra, "anything");
  }
};

}  // namespace ckv
