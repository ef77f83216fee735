// DecoderConfig to and from the `config.json` of Hugging Face checkpoints.
//
// A model without sharing is a plain `llama`, which stock Transformers loads. Other specs become
// `lckv-llama` with `layer_types`, which the published implementation of cross-layer sharing loads.
// Specs whose keys and values have different sources have no string there; they are written as
// `crosskv-llama` with `kv_sharing`, which this program alone reads.
#pragma once

#include <string>

#include "base/json.h"
#include "model/decoder_config.h"

namespace ckv {

// `dtype`: "float32", "bfloat16", ... of the stored weights.
OrderedJson ToHfConfig(const DecoderConfig& config, const std::string& dtype);

// A resolved config from a parsed config.json. Missing keys take Hugging Face's defaults; model
// types and features that this model lacks throw FormatError(path, key, ...).
DecoderConfig FromHfConfig(const Json& json, const std::string& path);

}  // namespace ckv
