#include "app/init_weights.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "ckpt/weights.h"
#include "model/hf_config.h"
#include "record/checkpoint_dir.h"

namespace ckv {
namespace {

bool Contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

std::string CheckpointOf(const std::string& path) {
  if (!IsDirectory(path)) throw IoError(path, "is not the folder of a run or checkpoint");
  const CheckpointDir checkpoints(path);
  if (!IsDirectory(checkpoints.path())) return path;
  std::optional<int64_t> step = checkpoints.Best();
  if (!step.has_value()) step = checkpoints.Latest();
  if (!step.has_value()) throw FormatError(path, "", "the run has no checkpoint yet");
  return checkpoints.PathOf(*step);
}

void InitializeFrom(const std::string& path, DecoderImpl& model) {
  const std::string folder = CheckpointOf(path);
  const std::string config_path = JoinPath(folder, "config.json");
  FromHfConfig(ReadJsonFile(config_path), config_path);  // refuses other model families
  LoadOptions options;
  options.may_grow_rows = true;
  const bool tied = model.config().tie_word_embeddings;
  options.may_ignore = [tied](const std::string& name) {
    return Contains(name, ".self_attn.k_proj.") || Contains(name, ".self_attn.v_proj.") ||
           Contains(name, ".rotary_emb.inv_freq") || (tied && name == "lm_head.weight");
  };
  LoadWeights(TensorFiles::OpenModel(folder), model, options);
}

}  // namespace ckv
