#include "sharing/presets.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "sharing/patterns.h"

namespace ckv {

namespace {

using ParamKind = PresetParam::Kind;

std::optional<int64_t> NumberArg(const PresetArgs& args, const char* key) {
  const auto found = args.numbers.find(key);
  if (found == args.numbers.end()) return std::nullopt;
  return found->second;
}

// Each layer reads `source(i)` and has a window if `windowed(i)`.
template <typename Source, typename Windowed>
KvSharingSpec BuildSpec(const PresetArgs& args, Source source, Windowed windowed) {
  std::vector<LayerSharing> layers;
  for (int i = 0; i < args.num_layers; ++i) layers.push_back({source(i), source(i), windowed(i)});
  return KvSharingSpec::FromLayers(std::move(layers), args.origin);
}

std::string LayersText(int num_layers) {
  return Str("the model has ", num_layers, num_layers == 1 ? " layer" : " layers");
}

PresetResult MakeVanilla(const PresetArgs& args) {
  return {KvSharingSpec(args.num_layers), std::nullopt};
}

PresetResult MakeLckv(const PresetArgs& args) {
  const int64_t warmup = args.numbers.at("warmup");
  if (warmup % 2 != 0 || warmup >= args.num_layers) {
    const int highest = (args.num_layers - 1) / 2 * 2;
    throw ConfigError(
        args.origin,
        Str("preset 'lckv' puts half of its 'warmup' layers at the bottom and half at the top, "
            "but it is ",
            warmup, " and ", LayersText(args.num_layers), "; ",
            highest == 0 ? std::string("only 0 works")
                         : Str("even numbers from 0 to ", highest, " work")));
  }
  return {MakePattern(SharingPattern::kSandwich, GroupTarget::kTop, args.num_layers, warmup + 1,
                      /*first_layer_kv=*/false, args.origin),
          std::nullopt};
}

PresetResult MakeCla(const PresetArgs& args) {
  const int64_t factor = args.numbers.at("factor");
  if (factor > args.num_layers) {
    throw ConfigError(args.origin,
                      Str("preset 'cla' has 'factor' ", factor, ", but ",
                          LayersText(args.num_layers), "; 1 to ", args.num_layers, " work"));
  }
  const int group = static_cast<int>(factor);
  return {BuildSpec(
              args, [&](int i) { return i / group * group; }, [](int) { return false; }),
          std::nullopt};
}

PresetResult MakeMlkv(const PresetArgs& args) {
  const int64_t kv_layers = args.numbers.at("kv_layers");
  if (kv_layers > args.num_layers) {
    throw ConfigError(args.origin,
                      Str("preset 'mlkv' has 'kv_layers' ", kv_layers, ", but ",
                          LayersText(args.num_layers), "; 1 to ", args.num_layers, " work"));
  }
  return {MakePattern(SharingPattern::kLasagna, GroupTarget::kBottom, args.num_layers, kv_layers,
                      /*first_layer_kv=*/false, args.origin),
          std::nullopt};
}

PresetResult MakeYoco(const PresetArgs& args) {
  const int half = args.num_layers / 2;
  return {BuildSpec(
              args, [&](int i) { return std::min(i, half); }, [&](int i) { return i < half; }),
          NumberArg(args, "window")};
}

// Blocks of six layers: full, window owner, its reader, window owner, its two readers.
PresetResult MakeMixAttention(const PresetArgs& args) {
  const auto source = [&](int i) {
    const bool without_readers = i == args.num_layers - 1;
    switch (i % 6) {
      case 0:  // the full layer of each second block reads the one of the block before
        return i / 6 % 2 == 0 ? i : i - 6;
      case 1:  // left alone at the end, it reads the block before's second window owner
        return without_readers && i > 6 ? i - 4 : i;
      case 2:
        return i - 1;
      case 3:  // left alone at the end, it reads this block's first window owner
        return without_readers ? i - 2 : i;
      case 4:
        return i - 1;
      default:
        return i - 2;
    }
  };
  return {BuildSpec(args, source, [](int i) { return i % 6 != 0; }), NumberArg(args, "window")};
}

// The last layer of the same kind as `layer` among the first `num_owners`, or -1.
int LastOwnerOfKind(const std::string& kinds, int layer, int num_owners) {
  const auto kind = [&](int i) { return kinds[static_cast<size_t>(i) % kinds.size()]; };
  for (int i = num_owners - 1; i >= 0; --i) {
    if (kind(i) == kind(layer)) return i;
  }
  return -1;
}

bool CanShareLast(const std::string& kinds, int num_layers, int shared) {
  for (int i = num_layers - shared; i < num_layers; ++i) {
    if (LastOwnerOfKind(kinds, i, num_layers - shared) < 0) return false;
  }
  return true;
}

PresetResult MakeGemma3n(const PresetArgs& args) {
  const std::string& kinds = args.texts.at("pattern");
  const int64_t wanted = args.numbers.at("shared");
  const int shared = static_cast<int>(std::min<int64_t>(wanted, args.num_layers));
  if (wanted > args.num_layers || !CanShareLast(kinds, args.num_layers, shared)) {
    int highest = 0;
    while (CanShareLast(kinds, args.num_layers, highest + 1)) ++highest;
    throw ConfigError(
        args.origin,
        Str("preset 'gemma3n' has 'shared' ", wanted, ", but each of the last ", wanted,
            " layers needs a layer of its kind (pattern '", kinds, "') below them and ",
            LayersText(args.num_layers), "; ",
            highest == 0 ? std::string("only 0 works") : Str("0 to ", highest, " work")));
  }
  const int owners = args.num_layers - shared;
  return {BuildSpec(
              args, [&](int i) { return i < owners ? i : LastOwnerOfKind(kinds, i, owners); },
              [&](int i) { return kinds[static_cast<size_t>(i) % kinds.size()] == 's'; }),
          NumberArg(args, "window")};
}

PresetResult MakeFusedKvLite(const PresetArgs& args) {
  const int half = args.num_layers / 2;
  if (half == 0) {
    throw ConfigError(args.origin,
                      "preset 'fusedkv_lite' splits the layers in halves, but the model has one "
                      "layer; 2 or more work");
  }
  std::vector<LayerSharing> layers;
  for (int i = 0; i < args.num_layers; ++i) {
    layers.push_back(i < half ? LayerSharing{i, i, false} : LayerSharing{half - 1, 0, false});
  }
  return {KvSharingSpec::FromLayers(std::move(layers), args.origin), std::nullopt};
}

const PresetParam kWindowParam = {"window", ParamKind::kNumber,
                                  "tokens that a windowed layer sees (unset: the model's own key)",
                                  "", 1};

std::vector<Preset> MakeTable() {
  return {
      {"vanilla", "every layer has its own KVs", {}, MakeVanilla},
      {"lckv",
       "the middle layers read the topmost of them (Wu and Tu 2024)",
       {{"warmup", ParamKind::kNumber, "layers that keep their own KVs, half at each end; even",
         "2"}},
       MakeLckv},
      {"cla",
       "groups of layers read their lowest one (Brandon et al. 2024)",
       {{"factor", ParamKind::kNumber, "layers in a group", "2", 1}},
       MakeCla},
      {"mlkv",
       "a given number of equal groups read their lowest layer (Zuhri et al. 2024)",
       {{"kv_layers", ParamKind::kNumber, "groups, hence layers with KVs", nullptr, 1}},
       MakeMlkv},
      {"yoco",
       "windows in the lower half; the upper half reads one layer (Sun et al. 2024)",
       {kWindowParam},
       MakeYoco},
      {"mixattention",
       "full and windowed layers mixed, both kinds shared (Rajput et al. 2024)",
       {kWindowParam},
       MakeMixAttention},
      {"gemma3n",
       "the last layers read the last owner of their kind, windowed or full",
       {{"shared", ParamKind::kNumber, "layers at the top that have no KVs of their own", nullptr},
        {"pattern", ParamKind::kLayerKinds,
         "kinds of consecutive layers, repeated upwards: s = windowed, f = full", "ssssf"},
        kWindowParam},
       MakeGemma3n},
      {"fusedkv_lite",
       "the upper half reads the middle layer's keys and layer 0's values (arXiv 2512.03870)",
       {},
       MakeFusedKvLite},
  };
}

std::string ParamList(const Preset& preset) {
  if (preset.params.empty()) return Str("preset '", preset.name, "' takes no parameters");
  std::string keys;
  for (const PresetParam& param : preset.params) {
    keys += Str(keys.empty() ? "'" : ", '", param.key, "'");
  }
  return Str("preset '", preset.name, "' takes ", keys);
}

void SetParam(const Preset& preset, const PresetParam& param, const std::string& text,
              PresetArgs* args) {
  if (param.kind == ParamKind::kLayerKinds) {
    const bool good = !text.empty() && text.size() <= KvSharingSpec::kMaxLayers &&
                      text.find_first_not_of("sf") == std::string::npos;
    if (!good) {
      throw ConfigError(args->origin, Str("'", param.key, "' of preset '", preset.name, "' is '",
                                          text.substr(0, 40),
                                          "', but must be like ssssf: s = windowed, f = full"));
    }
    args->texts[param.key] = text;
    return;
  }
  int64_t number = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), number);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size() || number < param.min) {
    throw ConfigError(args->origin,
                      Str("'", param.key, "' of preset '", preset.name, "' is '",
                          text.substr(0, 40), "', but must be an integer >= ", param.min));
  }
  args->numbers[param.key] = number;
}

}  // namespace

const std::vector<Preset>& Presets() {
  static const std::vector<Preset> presets = MakeTable();
  return presets;
}

const Preset* FindPreset(std::string_view name) {
  for (const Preset& preset : Presets()) {
    if (name == preset.name) return &preset;
  }
  return nullptr;
}

PresetResult MakePreset(std::string_view name, int64_t num_layers,
                        const std::map<std::string, std::string>& params, std::string_view origin) {
  const Preset* preset = FindPreset(name);
  if (preset == nullptr) {
    std::string names;
    for (const Preset& row : Presets()) names += Str(names.empty() ? "" : ", ", row.name);
    throw ConfigError(origin,
                      Str("unknown preset '", name.substr(0, 40), "' (choices: ", names, ")"));
  }
  CheckNumLayers(num_layers, origin);
  PresetArgs args;
  args.num_layers = static_cast<int>(num_layers);
  args.origin = origin;
  for (const auto& [key, text] : params) {
    const std::string& wanted = key;
    const auto param = std::find_if(preset->params.begin(), preset->params.end(),
                                    [&](const PresetParam& row) { return wanted == row.key; });
    if (param == preset->params.end()) {
      throw ConfigError(origin,
                        Str("unknown parameter '", key.substr(0, 40), "'; ", ParamList(*preset)));
    }
    SetParam(*preset, *param, text, &args);
  }
  for (const PresetParam& param : preset->params) {
    if (params.count(param.key) != 0) continue;
    if (param.default_value == nullptr) {
      throw ConfigError(origin,
                        Str("preset '", preset->name, "' needs '", param.key, "': ", param.help));
    }
    if (*param.default_value != '\0') SetParam(*preset, param, param.default_value, &args);
  }
  return preset->make(args);
}

}  // namespace ckv
