#include "sharing/stores.h"

#include <cstddef>

namespace ckv {

WindowedStores FindWindowedStores(const KvSharingSpec& spec) {
  const auto num_layers = static_cast<size_t>(spec.num_layers());
  WindowedStores stores;
  stores.keys.resize(num_layers);
  stores.values.resize(num_layers);
  for (int layer = 0; layer < spec.num_layers(); ++layer) {
    stores.keys[static_cast<size_t>(layer)] = spec.k_readers_windowed(layer);
    stores.values[static_cast<size_t>(layer)] = spec.v_readers_windowed(layer);
  }
  // A store that must keep everything makes its readers' other stores do so, and so on.
  bool changed = true;
  while (changed) {
    changed = false;
    for (int reader = 0; reader < spec.num_layers(); ++reader) {
      const auto k = static_cast<size_t>(spec.k_source(reader));
      const auto v = static_cast<size_t>(spec.v_source(reader));
      if (stores.keys[k] == stores.values[v]) continue;
      stores.keys[k] = stores.values[v] = false;
      changed = true;
    }
  }
  return stores;
}

}  // namespace ckv
