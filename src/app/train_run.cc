#include "app/train_run.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "record/run_dir.h"

namespace ckv {
namespace {

// Keys that may differ between the sessions of one run: none has an effect on weights.
bool IsOfPlace(const std::string& key) {
  return key == "run.study" || key == "run.name" || key == "run.dir" || key == "run.device" ||
         key == "run.threads" || key == "train.async_checkpoints" || key.rfind("tasks.", 0) == 0 ||
         (key.compare(0, 5, "dist.") == 0 && key != "dist.reduce");
}

FlatConfig KeysThatCount(FlatConfig flat) {
  flat.erase(std::remove_if(flat.begin(), flat.end(),
                            [](const auto& entry) { return IsOfPlace(entry.first); }),
             flat.end());
  return flat;
}

std::string Stem(const std::string& path) {
  const std::string name = BaseName(path);
  return name.substr(0, name.rfind('.'));
}

void CheckTogether(const TrainRun& run, const ConfigValue& tree) {
  const auto fail = [&tree](const char* key, const std::string& what) {
    throw ConfigError(OriginOf(tree, key), what);
  };
  if (run.data.seq_len > run.model.max_position_embeddings) {
    fail("data.seq_len", Str("'data.seq_len' is ", run.data.seq_len,
                             ", but must be at most 'model.max_position_embeddings', which is ",
                             run.model.max_position_embeddings));
  }
  if (run.train.checkpoint_layers > 0 && run.model.sequential) {
    fail("train.checkpoint_layers",
         "'train.checkpoint_layers' needs training in parallel, but 'model.sequential' is true");
  }
  if (!run.train.passes.empty() && run.model.sequential) {
    fail("train.passes", "'train.passes' has no meaning when 'model.sequential' is true");
  }
  if (run.train.lora.enabled()) {
    if (run.init_from.empty()) {
      fail("train.lora.rank",
           "'train.lora' adapts the weights of 'init_from', which is not given; train without "
           "adapters, or name a model");
    }
    if (run.dist.zero == 3) {
      fail("dist.zero",
           "'dist.zero' is 3, which shards the weights that are trained, but with "
           "'train.lora' those are small and the others frozen; use 0, 1 or 2");
    }
    if (run.model.fp8_passes) {
      fail("model.fp8_passes",
           "'model.fp8_passes' has no effect with 'train.lora', whose layers are not fused");
    }
  }
  // Its own check of warm-up against the number of steps.
  LrSchedule(run.train.schedule, run.train.steps);
}

}  // namespace

void RunConfig::Visit(ConfigVisitor& v) {
  v.Field("study", study, "folder under experiments/ that the run belongs to");
  v.Field("name", name, "the run's folder; empty = the config file's name");
  v.Field("dir", dir, "the run's folder as a path; empty = experiments/<study>/runs/<name>");
  v.Field("seed", seed, "of fresh weights and dropout");
  v.Field("device", device, "auto, cpu, cuda or cuda:N");
  v.Field("threads", threads, "CPU threads; 0 = as many as cores");
  v.Require(threads >= 0 && threads <= 1024, "must be from 0 to 1024");
}

void TrainRun::Visit(ConfigVisitor& v) {
  v.Section("run", run, "name, place, seed");
  v.Field("tokenizer", tokenizer, "tokenizer file or folder, or 'byte'; empty = that of the data");
  v.Field("init_from", init_from,
          "start from the weights of a run, checkpoint or Hugging Face folder; empty = fresh");
  v.Section("model", model, "the decoder");
  v.Section("data", data, "what it is trained and validated on");
  v.Section("train", train, "how it is trained");
  v.Section("tasks", tasks, "downstream tasks that are evaluated on the way");
  v.Section("dist", dist, "how several processes (ranks) share the work");
}

std::string TrainRun::Dir() const {
  return run.dir.empty() ? DefaultRunDir(run.study, run.name) : run.dir;
}

TrainRun LoadTrainRun(const std::string& path, const std::vector<std::string>& sets) {
  return ReadTrainRun(LoadConfig(path, sets), path);
}

TrainRun ReadTrainRun(const ConfigValue& tree, const std::string& path) {
  if (IsExplicit(tree, "model.family")) {
    throw ConfigError(OriginOf(tree, "model.family"),
                      "'model.family' makes this the config of an encoder, which has no KV cache "
                      "and is not for this command; ckv train takes it");
  }
  TrainRun run;
  ReadConfig(tree, run);
  run.model.Resolve();
  if (run.run.name.empty()) run.run.name = Stem(path);
  CheckTogether(run, tree);
  return run;
}

std::unique_ptr<Tokenizer> ResolveTokenizer(TrainRun& run) {
  const std::string path =
      run.tokenizer.empty() ? run.data.TrainDatasets().front().path : run.tokenizer;
  if (run.tokenizer.empty() && run.data.pairs()) {
    throw ConfigError("", "'tokenizer' must be given: files of pairs hold none");
  }
  std::unique_ptr<Tokenizer> tokenizer = LoadTokenizer(path);
  DecoderConfig& model = run.model;
  if (model.vocab_size == 0) model.vocab_size = tokenizer->vocab_size();
  if (model.vocab_size < tokenizer->vocab_size()) {
    throw ConfigError("", Str("'model.vocab_size' is ", model.vocab_size, ", but the tokenizer ",
                              path, " has ", tokenizer->vocab_size(), " entries"));
  }
  if (!model.bos_token_id.has_value() && tokenizer->bos_id() >= 0) {
    model.bos_token_id = tokenizer->bos_id();
  }
  if (!model.eos_token_id.has_value() && tokenizer->eos_id() >= 0) {
    model.eos_token_id = tokenizer->eos_id();
  }
  return tokenizer;
}

FlatConfig KeysThatCount(const TrainRun& run) {
  FlatConfig flat = FlattenConfig(run);
  flat.erase(std::remove_if(flat.begin(), flat.end(),
                            [](const auto& entry) { return IsOfPlace(entry.first); }),
             flat.end());
  return flat;
}

void CheckSameRun(const TrainRun& run, const std::string& config_path) {
  TrainRun before;
  ReadConfig(LoadConfig(config_path), before);
  before.model.Resolve();
  CheckSameKeys(FlattenConfig(before), FlattenConfig(run), config_path);
}

void CheckSameKeys(FlatConfig before, FlatConfig now, const std::string& config_path) {
  const FlatConfig was = KeysThatCount(std::move(before));
  const FlatConfig is = KeysThatCount(std::move(now));
  if (ConfigHash(was) == ConfigHash(is)) return;
  std::string text;
  for (const ConfigDifference& difference : DiffConfigs(was, is)) {
    const auto shown = [](const std::string& value) { return value.empty() ? "absent" : value; };
    text += Str(text.empty() ? "" : "; ", difference.key, " is ", shown(difference.left),
                " there and ", shown(difference.right), " here");
  }
  throw ConfigError(config_path, Str("the run was started with other settings: ", text,
                                     " (go on with those, or set another run.name)"));
}

OrderedJson ResultOfCompleteRun(const std::string& folder) {
  const std::string path = JoinPath(folder, "result.json");
  if (!FileExists(path)) return OrderedJson();
  if (!FileExists(JoinPath(folder, "config.yaml"))) {
    throw ConfigError("run.dir", Str(folder,
                                     " has a result.json but no config.yaml: it is not a "
                                     "run of ours; choose another folder"));
  }
  LogInfo("train", Str("the run ", folder, " is complete"));
  const std::string text = ReadFile(path);
  ParseJson(text, path);  // for its messages; only OrderedJson keeps the keys' order
  return OrderedJson::parse(text);
}

}  // namespace ckv
