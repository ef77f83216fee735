#include "sharing/stores.h"

#include <gtest/gtest.h>

#include "tests/sharing/random_spec.h"

namespace ckv {
namespace {

std::vector<bool> Keys(const char* spec) {
  return FindWindowedStores(KvSharingSpec::Parse(spec)).keys;
}
std::vector<bool> Values(const char* spec) {
  return FindWindowedStores(KvSharingSpec::Parse(spec)).values;
}

TEST(WindowedStores, NeedAWindowInEveryReader) {
  EXPECT_EQ(Keys("0s_0s_2"), (std::vector<bool>{true, false, false}));
  EXPECT_EQ(Keys("0s_0_2s"), (std::vector<bool>{false, false, true}));
}

// Layer 1 walks keys of 1 beside values of 1; layer 2 needs all keys of 1.
TEST(WindowedStores, KeysAndValuesOfAReaderGoTogether) {
  EXPECT_EQ(Values("0_1s_1/0"), (std::vector<bool>{false, false, false}));
  EXPECT_EQ(Keys("0s_1s_2/1s"), (std::vector<bool>{true, true, true}));
}

TEST(WindowedStores, FollowTheRulesForRandomSpecs) {
  Random random(4);
  for (int i = 0; i < 2000; ++i) {
    const KvSharingSpec spec = RandomSpec(random, 9);
    const WindowedStores stores = FindWindowedStores(spec);
    bool any_full_reader = false;
    for (int layer = 0; layer < spec.num_layers(); ++layer) {
      const bool keys = stores.keys[static_cast<size_t>(spec.k_source(layer))];
      const bool values = stores.values[static_cast<size_t>(spec.v_source(layer))];
      EXPECT_EQ(keys, values) << spec.ToString();
      EXPECT_TRUE(spec.windowed(layer) || !keys) << spec.ToString();
      any_full_reader = any_full_reader || !spec.windowed(layer);
      EXPECT_TRUE(spec.computes_k(layer) || !stores.keys[static_cast<size_t>(layer)]);
    }
    if (any_full_reader) continue;
    for (const int layer : spec.kv_layers()) {
      EXPECT_EQ(stores.keys[static_cast<size_t>(layer)], spec.computes_k(layer));
      EXPECT_EQ(stores.values[static_cast<size_t>(layer)], spec.computes_v(layer));
    }
  }
}

}  // namespace
}  // namespace ckv
