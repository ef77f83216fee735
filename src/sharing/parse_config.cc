#include "sharing/parse_config.h"

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sharing/patterns.h"
#include "sharing/presets.h"

namespace ckv {

namespace {

using ValueKind = ConfigValue::Kind;
using Names = std::vector<std::string>;

const std::string kKey = "model.kv_sharing";

// Insertions, deletions and replacements that turn `a` into `b`.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

// " (did you mean 'x'?)", or the choices if none is near.
std::string Hint(std::string_view name, const Names& choices) {
  const std::string* nearest = nullptr;
  size_t best = std::max<size_t>(name.size() / 3, 2) + 1;
  for (const std::string& choice : choices) {
    const size_t distance = name.size() > 64 ? best : EditDistance(name, choice);
    if (distance < best) {
      best = distance;
      nearest = &choice;
    }
  }
  if (nearest != nullptr) return Str(" (did you mean '", *nearest, "'?)");
  std::string all;
  for (const std::string& choice : choices) all += (all.empty() ? "" : ", ") + choice;
  return Str(" (choices: ", all, ")");
}

void CheckKeys(const ConfigValue& map, const std::string& path, const Names& keys) {
  for (const auto& [key, value] : map.entries()) {
    if (std::find(keys.begin(), keys.end(), key) != keys.end()) continue;
    const std::string& place = value.key_origin().empty() ? value.origin() : value.key_origin();
    throw ConfigError(place.empty() ? map.origin() : place,
                      Str("unknown key '", path, ".", key.substr(0, 40), "'", Hint(key, keys)));
  }
}

// The value of `key`, or nullptr if it is absent or null.
const ConfigValue* FindSet(const ConfigValue& map, const char* key) {
  const ConfigValue* value = map.Find(key);
  return value == nullptr || value->is_null() ? nullptr : value;
}

int64_t LayersOrThrow(const ConfigValue& value, std::optional<int64_t> num_layers,
                      const char* what) {
  if (!num_layers) {
    throw ConfigError(value.origin(),
                      Str("'", kKey, "' is ", what, ", which needs 'model.num_layers'"));
  }
  CheckNumLayers(*num_layers, value.origin());
  return *num_layers;
}

// One of `choices`, else an error with a hint.
std::string Choose(const ConfigValue& value, const std::string& name, const Names& choices) {
  const std::string text = AsString(value, name);
  if (std::find(choices.begin(), choices.end(), text) != choices.end()) return text;
  throw ConfigError(value.origin(),
                    Str("unknown '", name, "' '", text.substr(0, 40), "'", Hint(text, choices)));
}

// "2", "2x", "1.5x".
double ReductionOf(const ConfigValue& value) {
  const std::string name = kKey + ".reduction";
  if (value.kind() == ValueKind::kScalar && !value.text().empty() && value.text().back() == 'x') {
    ConfigValue number = ConfigValue::Scalar(value.text().substr(0, value.text().size() - 1));
    number.set_origin(value.origin());
    return AsDouble(number, name);
  }
  return AsDouble(value, name);
}

ResolvedSharing ResolvePattern(const ConfigValue& map, std::optional<int64_t> num_layers) {
  CheckKeys(map, kKey, {"pattern", "target", "kv_layers", "reduction", "first_layer_kv"});
  const int64_t layers = LayersOrThrow(map, num_layers, "a pattern");
  const SharingPattern pattern = ParseSharingPattern(
      Choose(*FindSet(map, "pattern"), kKey + ".pattern", SharingPatternNames()));

  const ConfigValue* target = FindSet(map, "target");
  if (target == nullptr) {
    throw ConfigError(map.origin(), Str("'", kKey, "' needs 'target': the layer of a group whose ",
                                        "KVs are shared", Hint("", GroupTargetNames())));
  }
  const GroupTarget group_target =
      ParseGroupTarget(Choose(*target, kKey + ".target", GroupTargetNames()));

  const ConfigValue* kv_layers = FindSet(map, "kv_layers");
  const ConfigValue* reduction = FindSet(map, "reduction");
  if ((kv_layers == nullptr) == (reduction == nullptr)) {
    throw ConfigError(map.origin(), Str("'", kKey, "' needs ", kv_layers ? "only one" : "one",
                                        " of 'kv_layers' (layers that own KVs) and 'reduction' "
                                        "(all layers over those)"));
  }
  const int64_t owners =
      kv_layers != nullptr
          ? AsInt(*kv_layers, kKey + ".kv_layers")
          : KvLayersForReduction(layers, ReductionOf(*reduction), reduction->origin());

  const ConfigValue* first = FindSet(map, "first_layer_kv");
  const bool first_layer_kv = first != nullptr && AsBool(*first, kKey + ".first_layer_kv");
  const std::string& origin = kv_layers != nullptr ? kv_layers->origin() : map.origin();
  return {MakePattern(pattern, group_target, layers, owners, first_layer_kv, origin), std::nullopt};
}

// The text of a preset's parameter. Kinds of layers may also be a list of "window" and "full".
std::string ParamText(const ConfigValue& value, const PresetParam& param) {
  const std::string name = Str(kKey, ".", param.key);
  if (param.kind == PresetParam::Kind::kNumber) return std::to_string(AsInt(value, name));
  if (value.kind() != ValueKind::kList) return AsString(value, name);
  std::string kinds;
  for (const ConfigValue& item : value.items()) {
    kinds += Choose(item, name, {"window", "full"}) == "window" ? 's' : 'f';
  }
  return kinds;
}

ResolvedSharing ResolvePreset(const ConfigValue& map, std::optional<int64_t> num_layers) {
  Names names;
  for (const Preset& preset : Presets()) names.push_back(preset.name);
  const Preset& preset = *FindPreset(Choose(*FindSet(map, "preset"), kKey + ".preset", names));

  Names keys = {"preset"};
  for (const PresetParam& param : preset.params) keys.push_back(param.key);
  CheckKeys(map, kKey, keys);
  const int64_t layers = LayersOrThrow(map, num_layers, "a preset");

  std::map<std::string, std::string> params;
  for (const PresetParam& param : preset.params) {
    const ConfigValue* value = FindSet(map, param.key);
    if (value != nullptr) params[param.key] = ParamText(*value, param);
  }
  PresetResult result = MakePreset(preset.name, layers, params, map.origin());
  return {std::move(result.spec), result.window};
}

// A layer's number in a map entry; range is checked with the whole spec.
int SourceOf(const ConfigValue& value, const std::string& name) {
  const int64_t source = AsInt(value, name);
  if (source < 0 || source >= KvSharingSpec::kMaxLayers) {
    throw SharingError(SharingError::Stage::kRange, value.origin(),
                       Str("'", name, "' is ", source, ", but must be a layer"));
  }
  return static_cast<int>(source);
}

LayerSharing ReadMapEntry(const ConfigValue& map, const std::string& path) {
  CheckKeys(map, path, {"kv", "k", "v", "window"});
  const ConfigValue* kv = FindSet(map, "kv");
  const ConfigValue* k = FindSet(map, "k");
  const ConfigValue* v = FindSet(map, "v");
  const bool both = kv != nullptr && k == nullptr && v == nullptr;
  const bool apart = kv == nullptr && k != nullptr && v != nullptr;
  if (!both && !apart) {
    throw ConfigError(map.origin(), Str("'", path, "' must have either 'kv' or both 'k' and 'v'"));
  }
  LayerSharing entry;
  entry.k_source = SourceOf(both ? *kv : *k, path + (both ? ".kv" : ".k"));
  entry.v_source = SourceOf(both ? *kv : *v, path + (both ? ".kv" : ".v"));
  const ConfigValue* window = FindSet(map, "window");
  entry.windowed = window != nullptr && AsBool(*window, path + ".window");
  return entry;
}

ResolvedSharing ResolveList(const ConfigValue& list, std::optional<int64_t> num_layers) {
  if (num_layers && static_cast<int64_t>(list.items().size()) != *num_layers) {
    throw SharingError(SharingError::Stage::kCount, list.origin(),
                       Str("'", kKey, "' has ", list.items().size(), " entries but the model has ",
                           *num_layers, *num_layers == 1 ? " layer" : " layers"));
  }
  std::vector<LayerSharing> layers;
  for (const ConfigValue& item : list.items()) {
    const std::string path = Str(kKey, "[", layers.size(), "]");
    if (item.kind() == ValueKind::kScalar) {
      layers.push_back(
          ParseSharingEntry(item.text(), Str(item.origin(), ": layer ", layers.size())));
    } else if (item.kind() == ValueKind::kMap) {
      layers.push_back(ReadMapEntry(item, path));
    } else {
      throw ConfigError(item.origin(), Str("'", path, "' is ", item.Describe(),
                                           ", but must be the entry of a layer: 5, 5s, 5/0 or a "
                                           "map with 'kv'"));
    }
  }
  return {KvSharingSpec::FromLayers(std::move(layers), list.origin()), std::nullopt};
}

ResolvedSharing ResolveText(const ConfigValue& value, std::optional<int64_t> num_layers) {
  const std::string& text = value.text();
  if (FindPreset(text) != nullptr) {
    throw ConfigError(value.origin(), Str("'", kKey, "' is '", text, "'; write {preset: ", text,
                                          "} for the preset"));
  }
  const Names& patterns = SharingPatternNames();
  if (std::find(patterns.begin(), patterns.end(), text) != patterns.end()) {
    throw ConfigError(value.origin(), Str("'", kKey, "' is '", text, "'; write {pattern: ", text,
                                          ", target: ..., kv_layers: ...} for the pattern"));
  }
  return {KvSharingSpec::Parse(text, num_layers, value.origin()), std::nullopt};
}

}  // namespace

ResolvedSharing ResolveSharing(const ConfigValue& value, std::optional<int64_t> num_layers) {
  switch (value.kind()) {
    case ValueKind::kNull: {
      if (value.has_no_value()) {
        throw ConfigError(value.origin(),
                          Str("'", kKey, "' has no value; null stands for KVs in every layer"));
      }
      const int64_t layers = LayersOrThrow(value, num_layers, "not set");
      return {KvSharingSpec(static_cast<int>(layers)), std::nullopt};
    }
    case ValueKind::kScalar:
      return ResolveText(value, num_layers);
    case ValueKind::kList:
      return ResolveList(value, num_layers);
    case ValueKind::kMap:
      break;
  }
  if (FindSet(value, "preset") != nullptr) return ResolvePreset(value, num_layers);
  if (FindSet(value, "pattern") != nullptr) return ResolvePattern(value, num_layers);
  CheckKeys(value, kKey,
            {"pattern", "target", "kv_layers", "reduction", "first_layer_kv", "preset"});
  throw ConfigError(value.origin(), Str("'", kKey, "' needs 'pattern' or 'preset'"));
}

}  // namespace ckv
