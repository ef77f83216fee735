// `data`: which token files a run trains and validates on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/value.h"
#include "config/visitor.h"

namespace ckv {

// One part of a mixture: a folder that `ckv data prepare` wrote, and its share of the samples.
struct WeightedDataset {
  std::string path;
  double weight = 1.0;
};

struct DataConfig {
  std::string kind = "tokens";
  // train: data/x        or   train: [data/x, {path: data/y, weight: 0.5}]
  ConfigValue train;
  std::string valid;
  double valid_percent = 0.0;
  int64_t valid_tokens = 0;
  int64_t seq_len = 1024;
  bool shuffle = true;
  int64_t seed = 0;
  bool reset_attention = false;
  bool verify = false;
  std::string prompt_field = "prompt";
  std::string target_field = "target";
  bool prompt_loss = false;
  std::string chat_template;

  void Visit(ConfigVisitor& v) {
    v.Field(
        "kind", kind,
        "tokens: folders of token shards | pairs: files of JSON lines with prompts and targets");
    v.Require(kind == "tokens" || kind == "pairs", "must be tokens or pairs");
    v.Field("train", train,
            "folder of token shards, or a list of folders and {path, weight} to mix");
    v.Field("valid", valid, "folder of token shards for validation");
    v.Field(
        "valid_percent", valid_percent,
        "share of the training data, at its end, held out for validation if valid is not given");
    v.Require(valid_percent >= 0 && valid_percent < 100, "must be from 0 to below 100");
    v.Require(valid_percent == 0 || valid.empty(), "holds nothing out where 'valid' is given");
    v.Field("valid_tokens", valid_tokens,
            "validate on about so many tokens, evenly spread; 0 = all");
    v.Require(valid_tokens >= 0, "must be >= 0");
    v.Field("seq_len", seq_len, "tokens a sample");
    v.Require(seq_len >= 1, "must be >= 1");
    v.Field("shuffle", shuffle,
            "new random order of the samples in each epoch; false = file order");
    v.Field("seed", seed, "of the order of the samples");
    v.Field("reset_attention", reset_attention,
            "documents packed into one sample do not see each other");
    v.Field("verify", verify, "check the content of the token shards against their hashes first");
    v.Field("prompt_field", prompt_field, "pairs: field of a line that holds the prompt");
    v.Field("target_field", target_field, "pairs: field of a line that holds the target");
    v.Field("prompt_loss", prompt_loss, "pairs: the prompt's tokens count in the loss too");
    v.Field("chat_template", chat_template,
            "pairs: a message and its answer as this template of `ckv chat` has them; empty = "
            "prompt, blank, target");
    v.Require(chat_template.empty() || pairs(), "is for pairs, but 'data.kind' is " + kind);
  }

  bool pairs() const { return kind == "pairs"; }

  // The parts of `train`, at least one. Throws ConfigError at the value's place.
  std::vector<WeightedDataset> TrainDatasets() const;
};

}  // namespace ckv
