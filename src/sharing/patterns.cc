#include "sharing/patterns.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace ckv {

namespace {

// Position in `names`, whose order is the enum's.
int IndexOfName(const std::vector<std::string>& names, std::string_view name, const char* what,
                std::string_view origin) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found != names.end()) return static_cast<int>(found - names.begin());
  std::string choices;
  for (const std::string& choice : names) choices += (choices.empty() ? "" : ", ") + choice;
  throw ConfigError(origin,
                    Str("unknown ", what, " '", name.substr(0, 40), "' (choices: ", choices, ")"));
}

int TargetOf(GroupTarget target, int first, int last) {
  switch (target) {
    case GroupTarget::kBottom:
      return first;
    case GroupTarget::kTop:
      return last;
    case GroupTarget::kMiddle:
      return (first + last) / 2;
    case GroupTarget::kMiddleQuarter:
      return first + (last - first) / 4;
    case GroupTarget::kMiddleThree:
      return first + 3 * (last - first) / 4;
  }
  CKV_CHECK(false, "target ", static_cast<int>(target));
}

// The sharing groups (first, last) of a pattern over layers 0 .. num_layers-1; layers outside them
// read themselves.
std::vector<std::pair<int, int>> GroupsOf(SharingPattern pattern, int num_layers, int kv_layers) {
  switch (pattern) {
    case SharingPattern::kPizza:
      return {{kv_layers - 1, num_layers - 1}};
    case SharingPattern::kSandwich: {
      const int below = kv_layers / 2;
      const int above = kv_layers - 1 - below;
      return {{below, num_layers - 1 - above}};
    }
    case SharingPattern::kLasagna: {
      std::vector<std::pair<int, int>> groups;
      for (int g = 0; g < kv_layers; ++g) {
        groups.push_back({g * num_layers / kv_layers, (g + 1) * num_layers / kv_layers - 1});
      }
      return groups;
    }
  }
  CKV_CHECK(false, "pattern ", static_cast<int>(pattern));
}

}  // namespace

const std::vector<std::string>& SharingPatternNames() {
  static const std::vector<std::string> names = {"pizza", "sandwich", "lasagna"};
  return names;
}

const std::vector<std::string>& GroupTargetNames() {
  static const std::vector<std::string> names = {"bottom", "top", "middle", "middle-1/4",
                                                 "middle-3/4"};
  return names;
}

SharingPattern ParseSharingPattern(std::string_view name, std::string_view origin) {
  return static_cast<SharingPattern>(
      IndexOfName(SharingPatternNames(), name, "sharing pattern", origin));
}

GroupTarget ParseGroupTarget(std::string_view name, std::string_view origin) {
  return static_cast<GroupTarget>(
      IndexOfName(GroupTargetNames(), name, "target of a sharing pattern", origin));
}

KvSharingSpec MakePattern(SharingPattern pattern, GroupTarget target, int64_t num_layers,
                          int64_t kv_layers, bool first_layer_kv, std::string_view origin) {
  CheckNumLayers(num_layers, origin);
  if (kv_layers < 1 || kv_layers > num_layers) {
    throw ConfigError(origin, Str("a sharing pattern over ", num_layers, " layers has 1 to ",
                                  num_layers, " layers with KVs, not ", kv_layers));
  }
  if (first_layer_kv && kv_layers == 1 && num_layers > 1) {
    throw ConfigError(origin, Str("'first_layer_kv' takes one of the layers with KVs and the "
                                  "pattern above it needs another: 'kv_layers' must be 2 to ",
                                  num_layers, ", not 1"));
  }
  const int offset = first_layer_kv && num_layers > 1 ? 1 : 0;
  std::vector<LayerSharing> layers;
  for (int i = 0; i < num_layers; ++i) layers.push_back({i, i, false});
  for (const auto& [first, last] : GroupsOf(pattern, static_cast<int>(num_layers) - offset,
                                            static_cast<int>(kv_layers) - offset)) {
    const int source = TargetOf(target, first + offset, last + offset);
    for (int i = first + offset; i <= last + offset; ++i) {
      layers[static_cast<size_t>(i)] = {source, source, false};
    }
  }
  return KvSharingSpec::FromLayers(std::move(layers), origin);
}

int64_t KvLayersForReduction(int64_t num_layers, double reduction, std::string_view origin) {
  if (!(reduction >= 1)) {
    throw ConfigError(origin, Str("'reduction' is ", reduction, ", but must be at least 1"));
  }
  const double kv_layers = static_cast<double>(num_layers) / reduction;
  return std::max<int64_t>(static_cast<int64_t>(std::floor(kv_layers + 0.5)), 1);
}

void CheckNumLayers(int64_t num_layers, std::string_view origin) {
  if (num_layers >= 1 && num_layers <= KvSharingSpec::kMaxLayers) return;
  throw ConfigError(
      origin, Str("a model has 1 to ", KvSharingSpec::kMaxLayers, " layers, not ", num_layers));
}

}  // namespace ckv
