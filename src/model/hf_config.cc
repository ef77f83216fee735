#include "model/hf_config.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "config/config.h"

namespace ckv {
namespace {

constexpr std::pair<const char*, const char*> kActivations[] = {
    {"silu", "silu"}, {"gelu", "gelu"}, {"gelu_tanh", "gelu_pytorch_tanh"}};

bool IsPlain(const DecoderConfig& config) {
  return config.sharing() == KvSharingSpec(config.sharing().num_layers()) && !config.force_nodiag;
}

// Passes as the published implementation runs them.
bool HasPublishedPasses(const DecoderConfig& config) {
  return config.Start() == KvStart::kZeros && config.pass_tolerance == 0.0 && !config.fp8_passes;
}

std::string ModelType(const DecoderConfig& config, HfFormat format) {
  if (format == HfFormat::kLckv) return "lckv-llama";
  if (IsPlain(config)) return "llama";
  const bool published = format == HfFormat::kNative && config.sharing().symmetric();
  return published && HasPublishedPasses(config) ? "lckv-llama" : "crosskv-llama";
}

const char* Architecture(const std::string& model_type) {
  return model_type == "llama"        ? "LlamaForCausalLM"
         : model_type == "lckv-llama" ? "LCKVLlamaForCausalLM"
                                      : "CrossKVForCausalLM";
}

bool AnyWindowed(const KvSharingSpec& spec) {
  for (int layer = 0; layer < spec.num_layers(); ++layer) {
    if (spec.windowed(layer)) return true;
  }
  return false;
}

// Keys that ToHfConfig does not always write, but that must not come back from another config.
constexpr const char* kOwnKeys[] = {
    "architectures",       "auto_map",        "layer_types",  "kv_sharing",
    "forward_passes",      "backward_passes", "kv_start",     "pass_tolerance",
    "fp8_passes",          "use_sequential",  "force_nodiag", "sliding_window",
    "rope_parameters",     "dtype",           "bos_token_id", "eos_token_id",
    "transformers_version"};

OrderedJson RopeScaling(const DecoderConfig& config) {
  const RopeConfig& rope = config.rope;
  if (rope.scaling == "none") return nullptr;
  OrderedJson scaling = {{"rope_type", rope.scaling}, {"factor", rope.factor}};
  if (rope.scaling == "llama3") {
    scaling["low_freq_factor"] = rope.low_freq_factor;
    scaling["high_freq_factor"] = rope.high_freq_factor;
  }
  if (rope.scaling == "yarn") {
    scaling["beta_fast"] = rope.beta_fast;
    scaling["beta_slow"] = rope.beta_slow;
    if (rope.attention_factor > 0.0) scaling["attention_factor"] = rope.attention_factor;
  }
  if (rope.scaling != "linear") {
    scaling["original_max_position_embeddings"] = rope.original_max_position;
  }
  return scaling;
}

// The keys of a plain Llama.
void WriteShape(const DecoderConfig& config, OrderedJson& json) {
  json["vocab_size"] = config.vocab_size;
  json["hidden_size"] = config.hidden_size;
  json["intermediate_size"] = config.intermediate_size;
  json["num_hidden_layers"] = config.layers();
  json["num_attention_heads"] = config.num_attention_heads;
  json["num_key_value_heads"] = config.kv_heads();
  json["head_dim"] = config.head_width();
  for (const auto& [ours, theirs] : kActivations) {
    if (config.hidden_act == ours) json["hidden_act"] = theirs;
  }
  json["attention_bias"] = config.attention_bias;
  json["attention_dropout"] = config.attention_dropout;
  json["mlp_bias"] = config.mlp_bias;
  json["tie_word_embeddings"] = config.tie_word_embeddings;
  json["rms_norm_eps"] = config.rms_norm_eps;
  json["initializer_range"] = config.initializer_range;
  json["max_position_embeddings"] = config.max_position_embeddings;
  json["rope_theta"] = config.rope.theta;
  json["rope_scaling"] = RopeScaling(config);
}

// What shared layers need beyond the spec itself.
void WritePasses(const DecoderConfig& config, OrderedJson& json) {
  json["forward_passes"] = config.forward_passes;
  json["backward_passes"] = config.backward_passes;
  if (config.Start() != KvStart::kZeros) json["kv_start"] = config.kv_start;
  if (config.pass_tolerance > 0.0) json["pass_tolerance"] = config.pass_tolerance;
  if (config.fp8_passes) json["fp8_passes"] = true;
  json["use_sequential"] = config.sequential;
  json["force_nodiag"] = config.force_nodiag;
  if (config.sliding_window.has_value()) json["sliding_window"] = *config.sliding_window;
}

// Reads keys of one JSON object with messages that name them.
class HfReader {
 public:
  HfReader(const Json& json, const std::string& path) : json_(json), path_(path) {
    if (!json.is_object()) throw FormatError(path, "", "a model config must be a JSON object");
  }

  const Json* Find(const char* key) const {
    const auto found = json_.find(key);
    return found == json_.end() || found->is_null() ? nullptr : &*found;
  }

  template <typename T>
  T Get(const char* key, T fallback) const {
    const Json* value = Find(key);
    return value == nullptr ? fallback : Convert<T>(*value, key);
  }

  template <typename T>
  T Need(const char* key) const {
    const Json* value = Find(key);
    if (value == nullptr) throw FormatError(path_, key, "missing from the model config");
    return Convert<T>(*value, key);
  }

  template <typename T>
  std::optional<T> Maybe(const char* key) const {
    const Json* value = Find(key);
    return value == nullptr ? std::nullopt : std::optional<T>(Convert<T>(*value, key));
  }

  // Products of two sizes must fit.
  std::optional<int64_t> MaybeSize(const char* key) const {
    constexpr int64_t kMaxSize = std::numeric_limits<int32_t>::max();
    const std::optional<int64_t> size = Maybe<int64_t>(key);
    if (size.has_value() && (*size < 1 || *size > kMaxSize)) {
      throw FormatError(path_, key, Str(*size, ", but must be 1 to ", kMaxSize));
    }
    return size;
  }

  int64_t NeedSize(const char* key) const {
    Need<int64_t>(key);
    return *MaybeSize(key);
  }

  const std::string& path() const { return path_; }

 private:
  template <typename T>
  T Convert(const Json& value, const char* key) const {
    const bool fits = std::is_same_v<T, bool>          ? value.is_boolean()
                      : std::is_same_v<T, std::string> ? value.is_string()
                      : std::is_same_v<T, double>      ? value.is_number()
                                                       : value.is_number_integer();
    if (!fits) throw FormatError(path_, key, Str("has the wrong type: ", value.dump()));
    return value.get<T>();
  }

  const Json& json_;
  const std::string& path_;
};

void ReadRope(const HfReader& reader, DecoderConfig& config) {
  RopeConfig& rope = config.rope;
  rope.theta = reader.Get("rope_theta", rope.theta);
  rope.original_max_position = config.max_position_embeddings;
  // Transformers 5 keeps theta and scaling together in rope_parameters.
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const Json* json = reader.Find(key);
    if (json == nullptr) continue;
    const HfReader scaling(*json, reader.path());
    rope.theta = scaling.Get("rope_theta", rope.theta);
    rope.scaling = scaling.Get<std::string>(
        "rope_type", scaling.Get<std::string>("type", std::string("default")));
    if (rope.scaling == "default") rope.scaling = "none";
    const bool known = rope.scaling == "none" || rope.scaling == "linear" ||
                       rope.scaling == "dynamic" || rope.scaling == "llama3" ||
                       rope.scaling == "yarn";
    if (!known) {
      throw FormatError(reader.path(), key,
                        Str("RoPE scaling '", rope.scaling,
                            "' is not one of default, linear, dynamic, llama3, yarn"));
    }
    rope.factor = scaling.Get("factor", rope.factor);
    rope.low_freq_factor = scaling.Get("low_freq_factor", rope.low_freq_factor);
    rope.high_freq_factor = scaling.Get("high_freq_factor", rope.high_freq_factor);
    rope.beta_fast = scaling.Get("beta_fast", rope.beta_fast);
    rope.beta_slow = scaling.Get("beta_slow", rope.beta_slow);
    rope.attention_factor = scaling.Get("attention_factor", rope.attention_factor);
    rope.original_max_position =
        scaling.Get("original_max_position_embeddings", rope.original_max_position);
  }
}

std::string Activation(const HfReader& reader) {
  const auto act = reader.Get<std::string>("hidden_act", "silu");
  for (const auto& [ours, theirs] : kActivations) {
    if (act == theirs) return ours;
  }
  throw FormatError(reader.path(), "hidden_act",
                    Str("'", act, "' is not one of silu, gelu, gelu_pytorch_tanh"));
}

// What `lckv-llama` and `crosskv-llama` say beyond `llama`.
void ReadSharing(const HfReader& reader, const std::string& type, DecoderConfig& config) {
  if (type == "crosskv-llama") {
    config.kv_sharing =
        ConfigValue::Scalar(reader.Need<std::string>("kv_sharing"), /*quoted=*/true);
    config.kv_sharing.set_origin("kv_sharing");
    config.sliding_window = reader.Maybe<int64_t>("sliding_window");
  } else {
    const auto layer_types = reader.Maybe<std::string>("layer_types");
    if (layer_types.has_value()) {
      const KvSharingSpec spec =
          KvSharingSpec::ParseLayerTypes(*layer_types, *config.num_layers, "layer_types");
      config.kv_sharing = ConfigValue::Scalar(spec.ToString(), /*quoted=*/true);
    }
    config.sliding_window = reader.Get<int64_t>("sliding_window", 4096);
  }
  config.forward_passes = reader.Get<int64_t>("forward_passes", 7);
  // The published implementation treats 0 as 1.
  config.backward_passes = std::max<int64_t>(1, reader.Get<int64_t>("backward_passes", 2));
  config.kv_start = reader.Get<std::string>("kv_start", config.kv_start);
  config.pass_tolerance = reader.Get("pass_tolerance", config.pass_tolerance);
  config.fp8_passes = reader.Get("fp8_passes", config.fp8_passes);
  config.sequential = reader.Get("use_sequential", false);
  config.force_nodiag = reader.Get("force_nodiag", false);
}

// An end-of-sequence id may be a list there; the first one counts.
std::optional<int64_t> TokenId(const HfReader& reader, const char* key) {
  const Json* value = reader.Find(key);
  if (value != nullptr && value->is_array() && !value->empty() &&
      value->front().is_number_integer()) {
    return value->front().get<int64_t>();
  }
  return reader.Maybe<int64_t>(key);
}

}  // namespace

OrderedJson ToHfConfig(const DecoderConfig& config, const std::string& dtype, HfFormat format) {
  const std::string type = ModelType(config, format);
  if (type == "lckv-llama" && !config.sharing().symmetric()) {
    throw ConfigError("--to lckv", Str("'layer_types' cannot say ", config.sharing().ToString(),
                                       ", where a layer has keys and values from different "
                                       "layers; hf and crosskv can"));
  }
  if (type == "lckv-llama" && !HasPublishedPasses(config)) {
    throw ConfigError("--to lckv",
                      "the published implementation knows none of 'kv_start', 'pass_tolerance' and "
                      "'fp8_passes'; hf and crosskv can say them");
  }
  OrderedJson json;
  json["architectures"] = {Architecture(type)};
  if (type == "crosskv-llama" && format == HfFormat::kTransformers) {
    json["auto_map"] = {{"AutoConfig", "configuration_crosskv.CrossKVConfig"},
                        {"AutoModel", "modeling_crosskv.CrossKVModel"},
                        {"AutoModelForCausalLM", "modeling_crosskv.CrossKVForCausalLM"}};
  }
  json["model_type"] = type;
  WriteShape(config, json);
  if (type != "llama") {
    json[type == "lckv-llama" ? "layer_types" : "kv_sharing"] = config.sharing().ToString();
    WritePasses(config, json);
  }
  if (config.bos_token_id.has_value()) json["bos_token_id"] = *config.bos_token_id;
  if (config.eos_token_id.has_value()) json["eos_token_id"] = *config.eos_token_id;
  json["torch_dtype"] = dtype;
  json["use_cache"] = true;
  return json;
}

std::vector<std::string> ExportWarnings(const DecoderConfig& config, HfFormat format) {
  std::vector<std::string> warnings;
  if (format == HfFormat::kLckv && AnyWindowed(config.sharing())) {
    warnings.push_back(Str("with FlashAttention the published implementation shows a windowed ",
                           "layer one key more than sliding_window = ", *config.sliding_window));
  }
  if (format == HfFormat::kLckv && config.sharing().cyclic()) {
    warnings.push_back(
        "layers read layers above: the published implementation decodes such models token by token "
        "with the previous token's keys hidden, so its generated text differs");
  }
  return warnings;
}

OrderedJson WithKeysOf(const Json& source, OrderedJson config) {
  for (const auto& [key, value] : source.items()) {
    const bool own = std::find(std::begin(kOwnKeys), std::end(kOwnKeys), key) != std::end(kOwnKeys);
    if (!own && !config.contains(key)) config[key] = value;
  }
  const auto ends = source.find("eos_token_id");
  if (ends != source.end() && ends->is_array()) config["eos_token_id"] = *ends;
  return config;
}

DecoderConfig FromHfConfig(const Json& json, const std::string& path) {
  const HfReader reader(json, path);
  const auto type = reader.Need<std::string>("model_type");
  if (type == "crosskv-encoder") {
    throw FormatError(path, "model_type",
                      "'crosskv-encoder' is an encoder of whole sentences: it has no causal order "
                      "and no KV cache, and generates nothing; ckv predict, parse and eval "
                      "sentences read it");
  }
  if (type != "llama" && type != "lckv-llama" && type != "crosskv-llama") {
    throw FormatError(path, "model_type",
                      Str("'", type, "' is not one of llama, lckv-llama, crosskv-llama"));
  }
  if (reader.Find("quantization_config") != nullptr) {
    throw FormatError(path, "quantization_config", "quantised weights are not supported");
  }
  if (reader.Get("partial_rotary_factor", 1.0) != 1.0) {
    throw FormatError(path, "partial_rotary_factor",
                      "heads that are rotated in part only are not "
                      "supported; expected 1");
  }
  DecoderConfig config;
  config.vocab_size = reader.NeedSize("vocab_size");
  config.hidden_size = reader.NeedSize("hidden_size");
  config.intermediate_size = reader.NeedSize("intermediate_size");
  config.num_layers = reader.NeedSize("num_hidden_layers");
  config.num_attention_heads = reader.NeedSize("num_attention_heads");
  config.num_key_value_heads = reader.MaybeSize("num_key_value_heads");
  config.head_dim = reader.MaybeSize("head_dim");
  config.hidden_act = Activation(reader);
  config.attention_bias = reader.Get("attention_bias", false);
  config.attention_dropout = reader.Get("attention_dropout", 0.0);
  config.mlp_bias = reader.Get("mlp_bias", false);
  config.tie_word_embeddings = reader.Get("tie_word_embeddings", false);
  config.rms_norm_eps = reader.Get("rms_norm_eps", 1e-6);
  config.initializer_range = reader.Get("initializer_range", 0.02);
  config.max_position_embeddings = reader.Get<int64_t>("max_position_embeddings", 2048);
  config.bos_token_id = TokenId(reader, "bos_token_id");
  config.eos_token_id = TokenId(reader, "eos_token_id");
  ReadRope(reader, config);

  try {
    if (type != "llama") ReadSharing(reader, type, config);
    ReadConfig(ConfigValue::Map(), config, "model");  // nothing to read, but all that must hold
    config.Resolve();
  } catch (const ConfigError& error) {
    throw FormatError(path, "", error.what());
  }
  return config;
}

}  // namespace ckv
