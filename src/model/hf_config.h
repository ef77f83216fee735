// DecoderConfig to and from the `config.json` of Hugging Face checkpoints.
//
// Three model types. `llama` is the plain model, which stock Transformers loads. `lckv-llama`, with
// `layer_types`, is that of the published implementation of cross-layer sharing. `crosskv-llama`,
// with `kv_sharing`, says everything this program knows; Transformers loads it with the modeling
// code that `ckv convert --to hf` puts beside it.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "model/decoder_config.h"

namespace ckv {

// Who is to load a folder.
enum class HfFormat {
  kNative,        // this program: llama if plain, else lckv-llama, else crosskv-llama
  kTransformers,  // Transformers: llama if plain, else crosskv-llama with auto_map
  kLckv,          // the published implementation: lckv-llama
};

// `dtype`: "float32", "bfloat16", ... of the stored weights. Throws ConfigError for what the format
// cannot say.
OrderedJson ToHfConfig(const DecoderConfig& config, const std::string& dtype,
                       HfFormat format = HfFormat::kNative);

// What the format says, but its reader may do otherwise; one sentence each.
std::vector<std::string> ExportWarnings(const DecoderConfig& config, HfFormat format);

// `config`, what ToHfConfig wrote, and behind it the keys of `source`, the config.json that it was
// read from, that this program has no use for (pad_token_id, ...). A list of end-of-sequence ids
// comes back too.
OrderedJson WithKeysOf(const Json& source, OrderedJson config);

// A resolved config from a parsed config.json. Missing keys take the defaults of the model type's
// own implementation, among them m = 7 and b = 2 passes, whatever the defaults of this program are;
// model types and features that this model lacks throw FormatError(path, key, ...).
DecoderConfig FromHfConfig(const Json& json, const std::string& path);

}  // namespace ckv
