// Folders of small models for tests of commands.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "ckpt/tensor_file.h"
#include "ckpt/weights.h"
#include "model/decoder.h"
#include "model/hf_config.h"
#include "text/tokenizer.h"

namespace ckv {

// Big enough for the byte tokenizer.
inline DecoderConfig BytesConfig(const std::string& sharing) {
  DecoderConfig config;
  config.vocab_size = 258;
  config.hidden_size = 16;
  config.intermediate_size = 24;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.initializer_range = 0.3;
  config.max_position_embeddings = 64;
  config.forward_passes = 1;
  config.backward_passes = 1;
  config.kv_sharing = ConfigValue::Scalar(sharing);
  config.Resolve();
  return config;
}

inline Decoder RandomModel(const DecoderConfig& config, uint64_t seed) {
  Decoder decoder(config);
  decoder->InitializeWeights(seed);
  return decoder;
}

// Writes config.json and model.safetensors, and tokenizer.byte unless told otherwise.
inline void WriteModel(const std::string& folder, Decoder& decoder, bool tokenizer = true) {
  MakeDirs(folder);
  WriteFileAtomically(JoinPath(folder, "config.json"),
                      ToHfConfig(decoder->config(), "float32").dump());
  WriteTensors(JoinPath(folder, "model.safetensors"), NamedParameters(*decoder));
  if (tokenizer) SaveTokenizer(*LoadTokenizer("byte"), folder);
}

inline void WriteModel(const std::string& folder, const std::string& sharing, uint64_t seed = 1) {
  Decoder decoder = RandomModel(BytesConfig(sharing), seed);
  WriteModel(folder, decoder);
}

}  // namespace ckv
