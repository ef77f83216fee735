// Which stores of keys and values may forget tokens that have left the window.
//
// A store may drop what is older than the window only if every layer that reads it is windowed. The
// keys and the values that one layer reads are walked side by side, so both must hold the same
// tokens: the rule is applied to all stores that readers tie together.
#pragma once

#include <vector>

#include "sharing/spec.h"

namespace ckv {

// One entry a layer; false where the layer owns none.
struct WindowedStores {
  std::vector<bool> keys;
  std::vector<bool> values;
};

WindowedStores FindWindowedStores(const KvSharingSpec& spec);

}  // namespace ckv
