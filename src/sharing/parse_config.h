// Reads `model.kv_sharing`. What it may be:
//
//   0_6*6_7                                              the notation of spec.h
//   {pattern: sandwich, target: middle, kv_layers: 4}    a pattern; or reduction: 2x instead of
//                                                        kv_layers; first_layer_kv: true
//   {preset: cla, factor: 2}                             a row of presets.h and its parameters
//   [0, 5s, 5/0, {kv: 5}, {k: 5, v: 0, window: true}]    one entry a layer
//   null                                                 every layer has its own KVs
#pragma once

#include <cstdint>
#include <optional>

#include "config/value.h"
#include "sharing/spec.h"

namespace ckv {

struct ResolvedSharing {
  KvSharingSpec spec;
  std::optional<int64_t> window;  // if the value says how large the sliding window is
};

// `num_layers`: the model's, if it states it. A text or list must agree with it; the other forms
// cannot do without. Throws ConfigError with the place in the YAML.
ResolvedSharing ResolveSharing(const ConfigValue& value, std::optional<int64_t> num_layers);

}  // namespace ckv
