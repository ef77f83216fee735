// Low-rank adapters in files as PEFT has them, and the models that they make.
//
//   adapter_config.json        r, lora_alpha, target_modules, base_model_name_or_path
//   adapter_model.safetensors  base_model.model.<projection>.lora_A.weight [r, in] and
//                              base_model.model.<projection>.lora_B.weight [out, r]
//   ema.safetensors            their running mean, under the same names, of our own training
//
// The model is the base with W + scale * B A in place of each weight W that has an adapter.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ckpt/tensor_file.h"

namespace ckv {

inline constexpr char kAdapterConfigFile[] = "adapter_config.json";
inline constexpr char kAdapterStem[] = "adapter_model";
// Metadata of a file of adapters: HashHex of TensorFiles::Hash of the base.
inline constexpr char kBaseHashKey[] = "base_hash";

struct AdapterInfo {
  std::string base;  // folder of the base model, itself perhaps an adapter's
  int64_t rank = 0;
  double alpha = 0.0;
  double dropout = 0.0;
  std::vector<std::string> targets;
  bool rank_stabilized = false;  // the scale is alpha / sqrt(r) instead of alpha / r
};

bool IsAdapterFolder(const std::string& folder);

// The content of adapter_config.json. Written without rank_stabilized.
std::string AdapterConfigText(const AdapterInfo& info);

// Reads it. Throws FormatError also for what changes the maths and is not known here (DoRA, biases,
// modules trained whole, alpha by pattern), and if the base is not there.
AdapterInfo ReadAdapterInfo(const std::string& folder);

// The folder itself, or if it is an adapter's without a config.json, as PEFT writes it, that of the
// base.
std::string ConfigFolder(const std::string& folder);

// The weights of a model's folder, the adapter's merged if it is one; `weights` = "model" or "ema".
// Throws FormatError, also if the base is another than the one that the adapter was trained on.
TensorFiles OpenModelWeights(const std::string& folder, const std::string& weights = "model");

}  // namespace ckv
