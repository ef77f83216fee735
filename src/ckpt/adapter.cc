#include "ckpt/adapter.h"

#include <cmath>
#include <map>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"

namespace ckv {
namespace {

constexpr char kConfigFile[] = "config.json";
constexpr char kNamePrefix[] = "base_model.model.";
constexpr int kMaxAdapters = 16;  // one on top of the other

// Keys that change the maths, with the values that leave it alone.
void RefuseOtherKinds(const Json& json, const std::string& path) {
  const auto plain = [](const Json& value) {
    return value.is_null() || value == false || value == "none" ||
           ((value.is_array() || value.is_object()) && value.empty());
  };
  if (json.value("peft_type", Json()) != "LORA") {
    throw FormatError(path, "peft_type", "must be \"LORA\"; no other adapters are known");
  }
  for (const char* key : {"bias", "use_dora", "modules_to_save", "alpha_pattern", "lora_bias",
                          "layer_replication", "megatron_config", "use_qalora", "corda_config",
                          "eva_config", "trainable_token_indices", "target_parameters"}) {
    const auto found = json.find(key);
    if (found == json.end() || plain(*found)) continue;
    throw FormatError(path, key, Str("is ", found->dump(), ", which this program does not know"));
  }
}

double NumberOf(const Json& json, const char* key, const std::string& path) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number() || found->get<double>() <= 0.0) {
    throw FormatError(path, key, "must be a number above 0");
  }
  return found->get<double>();
}

bool HasModel(const std::string& folder) {
  return FileExists(JoinPath(folder, kConfigFile)) || IsAdapterFolder(folder);
}

TensorFiles OpenChain(const std::string& folder, const std::string& weights, int depth);

void CheckBase(const TensorFiles& base, const TensorFiles& adapters, const AdapterInfo& info) {
  const std::string expected = adapters.Metadata(kBaseHashKey);
  if (expected.empty() || expected == HashHex(base.Hash())) return;
  throw FormatError(adapters.PathOf(adapters.Names().front()), "",
                    Str("was trained on a base model with other weights than those of ", info.base,
                        " (", kAdapterConfigFile, " names it)"));
}

TensorFiles MergedFiles(const std::string& folder, const std::string& weights, int depth) {
  if (depth == kMaxAdapters) {
    throw FormatError(folder, kAdapterConfigFile,
                      Str("more than ", kMaxAdapters, " adapters stand on top of each other"));
  }
  const AdapterInfo info = ReadAdapterInfo(folder);
  TensorFiles base = OpenChain(info.base, "model", depth + 1);
  const TensorFiles adapters =
      TensorFiles::OpenPart(folder, weights == "ema" ? "ema" : kAdapterStem);
  if (adapters.Names().empty()) throw FormatError(folder, kAdapterStem, "holds no tensors");
  CheckBase(base, adapters, info);

  const std::string prefix = kNamePrefix;
  const std::string ends[] = {".lora_A.weight", ".lora_B.weight"};
  std::map<std::string, std::pair<std::string, std::string>> pairs;  // weight: A, B
  for (const std::string& name : adapters.Names()) {
    const size_t dot = name.size() >= ends[0].size() ? name.size() - ends[0].size() : 0;
    const std::string end = name.substr(dot);
    const bool known = name.compare(0, prefix.size(), prefix) == 0 && dot > prefix.size() &&
                       (end == ends[0] || end == ends[1]);
    const std::string weight =
        known ? name.substr(prefix.size(), dot - prefix.size()) + ".weight" : "";
    if (!known || !base.Has(weight)) {
      throw FormatError(adapters.PathOf(name), Str("tensor '", name, "'"),
                        "is no adapter of a weight of the base model");
    }
    (end == ends[0] ? pairs[weight].first : pairs[weight].second) = name;
  }
  for (const auto& [weight, names] : pairs) {
    const auto& [a, b] = names;
    if (a.empty() || b.empty()) {
      throw FormatError(adapters.PathOf(a + b), Str("tensor '", a + b, "'"),
                        "has no partner: lora_A and lora_B belong together");
    }
    const std::vector<int64_t>& shape = base.Shape(weight);
    const std::vector<int64_t>& in = adapters.Shape(a);
    const std::vector<int64_t>& out = adapters.Shape(b);
    if (shape.size() != 2 || in.size() != 2 || out.size() != 2 || in[0] != out[1] || in[0] == 0 ||
        in[1] != shape[1] || out[0] != shape[0]) {
      throw FormatError(
          adapters.PathOf(a), Str("tensor '", a, "'"),
          Str("of shape ", at::IntArrayRef(in), " and its partner of ", at::IntArrayRef(out),
              " do not fit the weight of ", at::IntArrayRef(shape)));
    }
    const auto rank = static_cast<double>(in[0]);
    const double scale = info.alpha / (info.rank_stabilized ? std::sqrt(rank) : rank);
    base.AddProduct(weight, adapters.Read(b), adapters.Read(a), scale);
  }
  return base;
}

TensorFiles OpenChain(const std::string& folder, const std::string& weights, int depth) {
  if (IsAdapterFolder(folder)) return MergedFiles(folder, weights, depth);
  if (weights == "model") return TensorFiles::OpenModel(folder);
  return TensorFiles::OpenPart(folder, weights);
}

}  // namespace

bool IsAdapterFolder(const std::string& folder) {
  return FileExists(JoinPath(folder, kAdapterConfigFile));
}

std::string AdapterConfigText(const AdapterInfo& info) {
  OrderedJson json;
  json["peft_type"] = "LORA";
  json["task_type"] = "CAUSAL_LM";
  json["base_model_name_or_path"] = info.base;
  json["r"] = info.rank;
  json["lora_alpha"] = info.alpha;
  json["lora_dropout"] = info.dropout;
  json["target_modules"] = info.targets;
  json["bias"] = "none";
  json["inference_mode"] = true;
  return json.dump(2) + "\n";
}

AdapterInfo ReadAdapterInfo(const std::string& folder) {
  const std::string path = JoinPath(folder, kAdapterConfigFile);
  const Json json = ReadJsonFile(path);
  if (!json.is_object()) throw FormatError(path, "", "must be a JSON object");
  RefuseOtherKinds(json, path);
  AdapterInfo info;
  info.rank = static_cast<int64_t>(NumberOf(json, "r", path));
  info.alpha = NumberOf(json, "lora_alpha", path);
  info.rank_stabilized = json.value("use_rslora", Json()) == true;
  const Json base = json.value("base_model_name_or_path", Json());
  if (!base.is_string() || base.get<std::string>().empty()) {
    throw FormatError(path, "base_model_name_or_path", "must name the base model's folder");
  }
  info.base = base.get<std::string>();
  // Relative to where the program runs, as PEFT has it, or to the adapter.
  if (!HasModel(info.base)) {
    const std::string beside = JoinPath(folder, info.base);
    if (!HasModel(beside)) {
      throw FormatError(path, "base_model_name_or_path",
                        Str("there is no model in ", info.base,
                            "; write the folder of the adapter's base model here"));
    }
    info.base = beside;
  }
  return info;
}

std::string ConfigFolder(const std::string& folder) {
  std::string place = folder;
  for (int i = 0; i < kMaxAdapters; ++i) {
    if (FileExists(JoinPath(place, kConfigFile)) || !IsAdapterFolder(place)) break;
    place = ReadAdapterInfo(place).base;
  }
  return place;
}

TensorFiles OpenModelWeights(const std::string& folder, const std::string& weights) {
  if (weights == "ema" && !TensorFiles::HasPart(folder, "ema")) {
    throw FormatError(folder, "ema.safetensors", "the checkpoint has no running mean");
  }
  return OpenChain(folder, weights, 0);
}

}  // namespace ckv
