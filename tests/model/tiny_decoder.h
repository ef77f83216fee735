// A small decoder in fp64 with random weights, for property tests.
#pragma once

#include <string>

#include "model/decoder.h"

namespace ckv {

inline DecoderConfig TinyConfig(const std::string& sharing) {
  DecoderConfig config;
  config.vocab_size = 31;
  config.hidden_size = 16;
  config.intermediate_size = 24;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.initializer_range = 0.3;
  config.sliding_window = 3;
  config.kv_sharing = ConfigValue::Scalar(sharing);
  config.Resolve();
  return config;
}

inline Decoder TinyDecoder(const DecoderConfig& config, uint64_t seed = 0) {
  Decoder decoder(config);
  decoder->to(at::kDouble);
  decoder->InitializeWeights(seed);
  return decoder;
}

inline Decoder TinyDecoder(const std::string& sharing, uint64_t seed = 0) {
  return TinyDecoder(TinyConfig(sharing), seed);
}

}  // namespace ckv
