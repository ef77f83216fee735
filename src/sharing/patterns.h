// The sharing patterns of the Systematic Study (Wu, Wu and Tu 2024): a stack of layers that own
// their KVs, and one or more groups of layers that share the KVs of one of them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sharing/spec.h"

namespace ckv {

enum class SharingPattern {
  kPizza,     // own KVs at the bottom, one group above
  kSandwich,  // own KVs at the bottom and at the top, one group between
  kLasagna,   // groups only, of equal size
};

// The layer of a group first..last whose KVs all of it read.
enum class GroupTarget {
  kBottom,         // first
  kTop,            // last
  kMiddle,         // half-way, rounded down
  kMiddleQuarter,  // a quarter of the way, rounded down
  kMiddleThree,    // three quarters of the way, rounded down
};

// "pizza", ... and "bottom", ..., "middle-3/4". The parsers throw ConfigError(origin, ...).
const std::vector<std::string>& SharingPatternNames();
const std::vector<std::string>& GroupTargetNames();
SharingPattern ParseSharingPattern(std::string_view name, std::string_view origin = {});
GroupTarget ParseGroupTarget(std::string_view name, std::string_view origin = {});

// The spec of `num_layers` layers of which `kv_layers` own KVs. With `first_layer_kv`, layer 0 is
// one of these and reads itself, and the pattern is laid over the layers above it.
//
// Throws ConfigError(origin, ...) unless 1 <= kv_layers <= num_layers (2 <= with `first_layer_kv`
// and more than one layer).
KvSharingSpec MakePattern(SharingPattern pattern, GroupTarget target, int64_t num_layers,
                          int64_t kv_layers, bool first_layer_kv = false,
                          std::string_view origin = {});

// num_layers / reduction rounded half up, at least 1. Throws ConfigError(origin, ...) for a
// reduction below 1.
int64_t KvLayersForReduction(int64_t num_layers, double reduction, std::string_view origin = {});

// Throws ConfigError(origin, ...) unless 1 <= num_layers <= KvSharingSpec::kMaxLayers.
void CheckNumLayers(int64_t num_layers, std::string_view origin = {});

}  // namespace ckv
