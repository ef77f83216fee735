// Folders of small models for tests of conversion.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json.h"
#include "ckpt/tensor_file.h"
#include "ckpt/weights.h"
#include "convert/convert.h"
#include "model/decoder.h"
#include "model/hf_config.h"
#include "tests/model/tiny_decoder.h"

namespace ckv {

// Writes a model with random weights, biases included, as a checkpoint of ours.
inline Decoder WriteFolder(const std::string& folder, const DecoderConfig& config,
                           at::ScalarType dtype = at::kFloat, uint64_t seed = 1) {
  Decoder decoder = TinyDecoder(config, seed);
  decoder->to(dtype);
  for (const auto& [name, parameter] : NamedParameters(*decoder)) {
    at::NoGradGuard no_grad;
    Tensor target = parameter;
    if (name.find(".bias") != std::string::npos) target.fill_(0.0).add_(0.01 * name.size());
  }
  MakeDirs(folder);
  const std::string type = dtype == at::kBFloat16 ? "bfloat16" : "float32";
  WriteFileAtomically(JoinPath(folder, "config.json"), ToHfConfig(config, type).dump());
  WriteTensors(JoinPath(folder, "model.safetensors"), NamedParameters(*decoder));
  return decoder;
}

inline ConvertOptions OptionsFor(const std::string& source, const std::string& out,
                                 const std::string& sharing = "",
                                 const std::string& method = "average") {
  ConvertOptions options;
  options.source = source;
  options.out = out;
  options.method = method;
  if (!sharing.empty()) options.sharing = ConfigValue::Scalar(sharing, /*quoted=*/true);
  return options;
}

inline std::map<std::string, Tensor> ReadAll(const std::string& folder) {
  const TensorFiles files = TensorFiles::OpenModel(folder);
  std::map<std::string, Tensor> all;
  for (const std::string& name : files.Names()) all[name] = files.Read(name);
  return all;
}

inline DecoderConfig ReadConfigOf(const std::string& folder) {
  const std::string path = JoinPath(folder, "config.json");
  return FromHfConfig(ReadJsonFile(path), path);
}

}  // namespace ckv
