// Published sharing schemes by name. The rows of the table are the only list: reading YAML, the
// documentation and the tests walk it; a new scheme is one function and one row.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sharing/spec.h"

namespace ckv {

struct PresetParam {
  enum class Kind {
    kNumber,
    kLayerKinds,  // 's' (windowed) or 'f' (full) for each of some consecutive layers: "ssssf"
  };
  const char* key;
  Kind kind;
  const char* help;
  const char* default_value;  // nullptr: must be given; "": may stay unset
  int64_t min = 0;            // of a number
};

// The values of a preset's parameters, all valid by themselves.
struct PresetArgs {
  int num_layers = 0;
  std::map<std::string, int64_t> numbers;  // without those left unset
  std::map<std::string, std::string> texts;
  std::string origin;  // for errors
};

struct PresetResult {
  KvSharingSpec spec;
  std::optional<int64_t> window;  // size of the sliding window, if the preset was given one
};

struct Preset {
  const char* name;
  const char* help;  // one line, without a full stop
  std::vector<PresetParam> params;
  PresetResult (*make)(const PresetArgs& args);  // throws ConfigError if it cannot be met
};

const std::vector<Preset>& Presets();

// nullptr if there is none of that name.
const Preset* FindPreset(std::string_view name);

// Builds a preset from the texts of its parameters. Throws ConfigError(origin, ...) for an unknown
// preset or parameter, a parameter that misses or is wrong, and a preset that this many layers
// cannot meet; the message says what would work.
PresetResult MakePreset(std::string_view name, int64_t num_layers,
                        const std::map<std::string, std::string>& params = {},
                        std::string_view origin = {});

}  // namespace ckv
