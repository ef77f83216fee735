// Random sharing specs for tests: sources anywhere, some layers with K and V apart, some windows.
#pragma once

#include <vector>

#include "base/random.h"
#include "sharing/spec.h"

namespace ckv {

inline KvSharingSpec RandomSpec(Random& random, int max_layers) {
  const int num_layers = 1 + static_cast<int>(random.Below(static_cast<uint64_t>(max_layers)));
  const auto any = [&] {
    return static_cast<int>(random.Below(static_cast<uint64_t>(num_layers)));
  };
  // Some specs share little, some all; some never split keys from values.
  const double own = random.Uniform();
  const double split = random.Below(2) == 0 ? 0.0 : random.Uniform();
  std::vector<LayerSharing> layers;
  for (int i = 0; i < num_layers; ++i) {
    LayerSharing entry;
    entry.k_source = random.Uniform() < own ? i : any();
    entry.v_source = random.Uniform() < split ? any() : entry.k_source;
    entry.windowed = random.Below(4) == 0;
    layers.push_back(entry);
  }
  return KvSharingSpec::FromLayers(layers);
}

}  // namespace ckv
