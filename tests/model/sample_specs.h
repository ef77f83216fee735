// Sharing specs for property tests: every preset and pattern, splits of keys and values, windows,
// nested groups, and random ones.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "sharing/patterns.h"
#include "sharing/presets.h"
#include "tests/sharing/random_spec.h"

namespace ckv {

inline std::vector<std::string> SampleSpecs() {
  std::set<std::string> specs = {"0_1_2_3",       "2_2_2_5_5_5", "1_1_3_3",  "0_3s_3_3s_4",
                                 "5_2_2_4_4_5",   "0_0_1_4_3_4", "1_2s_0",   "0_1_1/0_1/0",
                                 "0_3/0_3/0_3_4", "0_0/3_0/3_3", "0s_1s_2s", "2/1_0_1/2_3",
                                 "1s_1s_2s_3_3",  "0_1s_1/0_3s"};
  constexpr int kLayers = 6;
  for (const Preset& preset : Presets()) {
    std::map<std::string, std::string> params;
    for (const PresetParam& param : preset.params) {
      // Of six layers in Gemma's pattern only the last one can share.
      const bool one = std::string(preset.name) == "gemma3n";
      if (param.default_value == nullptr) params[param.key] = one ? "1" : "2";
    }
    specs.insert(MakePreset(preset.name, kLayers, params).spec.ToString());
  }
  for (const std::string& pattern : SharingPatternNames()) {
    for (const std::string& target : GroupTargetNames()) {
      for (const int kv_layers : {2, 3}) {
        specs.insert(
            MakePattern(ParseSharingPattern(pattern), ParseGroupTarget(target), kLayers, kv_layers)
                .ToString());
      }
    }
  }
  Random random(8);
  for (int i = 0; i < 12; ++i) specs.insert(RandomSpec(random, 7).ToString());
  return {specs.begin(), specs.end()};
}

}  // namespace ckv
