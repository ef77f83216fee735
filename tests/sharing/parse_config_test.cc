#include "sharing/parse_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "config/yaml_reader.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;

std::string Resolved(const std::string& yaml, std::optional<int64_t> num_layers = std::nullopt) {
  return ResolveSharing(ReadYaml(yaml, "a.yaml"), num_layers).spec.ToString();
}

std::string ResolveError(const std::string& yaml,
                         std::optional<int64_t> num_layers = std::nullopt) {
  return ErrorOf([&] { Resolved(yaml, num_layers); });
}

TEST(ResolveSharing, TakesText) {
  EXPECT_EQ(Resolved("0_6*6_7", 8), "0_6_6_6_6_6_6_7");
  EXPECT_EQ(Resolved("0"), "0");
  EXPECT_EQ(Resolved("0_1_2"), "0_1_2");
  EXPECT_EQ(Resolved("'0_1_1/0s'"), "0_1_1/0s");
}

TEST(ResolveSharing, TakesNullForThePlainModel) {
  EXPECT_EQ(ResolveSharing(ConfigValue(), 3).spec, KvSharingSpec(3));
  EXPECT_EQ(Resolved("null", 3), "0_1_2");
  EXPECT_THAT(ResolveError("null"), HasSubstr("needs 'model.num_layers'"));
}

TEST(ResolveSharing, TakesPatterns) {
  EXPECT_EQ(Resolved("{pattern: sandwich, target: middle, kv_layers: 3}", 8), "0_3_3_3_3_3_3_7");
  EXPECT_EQ(Resolved("{pattern: lasagna, target: bottom, reduction: 2x}", 4), "0_0_2_2");
  EXPECT_EQ(Resolved("{pattern: lasagna, target: bottom, reduction: 2}", 4), "0_0_2_2");
  EXPECT_EQ(Resolved("{pattern: pizza, target: middle-3/4, reduction: 4}", 8), "0_5_5_5_5_5_5_5");
  EXPECT_EQ(Resolved("{pattern: lasagna, target: top, kv_layers: 3, first_layer_kv: true}", 5),
            "0_2_2_4_4");
}

TEST(ResolveSharing, TakesPresets) {
  EXPECT_EQ(Resolved("{preset: cla, factor: 3}", 6), "0_0_0_3_3_3");
  EXPECT_EQ(Resolved("{preset: vanilla}", 2), "0_1");
  EXPECT_EQ(Resolved("{preset: gemma3n, shared: 2, pattern: sf}", 4), "0s_1_0s_1");
  EXPECT_EQ(Resolved("{preset: gemma3n, shared: 2, pattern: [window, full]}", 4), "0s_1_0s_1");
  const ResolvedSharing yoco = ResolveSharing(ReadYaml("{preset: yoco, window: 64}", "a.yaml"), 4);
  EXPECT_EQ(yoco.window, 64);
}

TEST(ResolveSharing, TakesAListOfLayers) {
  EXPECT_EQ(Resolved("[0, 2s, 2/0, {kv: 3}, {k: 2, v: 0, window: true}]", 5), "0_2s_2/0_3_2/0s");
  EXPECT_EQ(Resolved("[{kv: 0, window: true}]"), "0s");
}

TEST(ResolveSharing, SaysWhereTheFaultIs) {
  EXPECT_EQ(ResolveError("0_6_6", 8),
            "2: a.yaml:1:1: 'model.kv_sharing' has 3 entries but the model has 8 layers");
  EXPECT_EQ(ResolveError("[0, 1, 5]"),
            "2: a.yaml:1:1: layer 2 reads the KVs of layer 5, but the model has layers 0 to 2");
  EXPECT_THAT(ResolveError("[0, 1x]"), HasSubstr("a.yaml:1:5: layer 1: '1x' is not the entry"));
  EXPECT_THAT(ResolveError("[0, 1*2]"), HasSubstr("is not the entry"));
  EXPECT_THAT(ResolveError("[0, [1]]"), HasSubstr("'model.kv_sharing[1]' is a list"));
  EXPECT_THAT(ResolveError("[0]", 2), HasSubstr("has 1 entries but the model has 2 layers"));
  EXPECT_THAT(ResolveError("[]"), HasSubstr("1 to 4096 layers"));
  EXPECT_THAT(ResolveError("[{kv: 99999999999}]"), HasSubstr("must be a layer"));
  EXPECT_THAT(ResolveError("[{k: 0}]"), HasSubstr("either 'kv' or both 'k' and 'v'"));
  EXPECT_THAT(ResolveError("[{kv: 0, k: 0, v: 0}]"), HasSubstr("either 'kv' or both"));
}

TEST(ResolveSharing, SuggestsTheNearestName) {
  EXPECT_EQ(ResolveError("{pattern: pizza, target: top, kv_layer: 2}", 4),
            "2: a.yaml:1:31: unknown key 'model.kv_sharing.kv_layer' (did you mean 'kv_layers'?)");
  EXPECT_THAT(ResolveError("{pattern: sandwhich, target: top, kv_layers: 2}", 4),
              HasSubstr("did you mean 'sandwich'?"));
  EXPECT_THAT(ResolveError("{preset: yoko}", 4), HasSubstr("did you mean 'yoco'?"));
  EXPECT_THAT(ResolveError("{preset: cla, warmup: 2}", 4),
              HasSubstr("unknown key 'model.kv_sharing.warmup' (choices: preset, factor)"));
  EXPECT_THAT(ResolveError("[{kv: 0, windo: true}]"), HasSubstr("did you mean 'window'?"));
  EXPECT_THAT(ResolveError("{target: top}", 4), HasSubstr("needs 'pattern' or 'preset'"));
  EXPECT_THAT(ResolveError("yoco", 4), HasSubstr("write {preset: yoco}"));
  EXPECT_THAT(ResolveError("pizza", 4), HasSubstr("{pattern: pizza, target"));
}

TEST(ResolveSharing, RefusesIncompletePatterns) {
  EXPECT_THAT(ResolveError("{pattern: pizza, kv_layers: 2}", 4),
              HasSubstr("needs 'target': the layer of a group whose KVs are shared (choices: "
                        "bottom, top, middle, middle-1/4, middle-3/4)"));
  EXPECT_THAT(ResolveError("{pattern: pizza, target: top}", 4), HasSubstr("needs one of"));
  EXPECT_THAT(ResolveError("{pattern: pizza, target: top, kv_layers: 2, reduction: 2}", 4),
              HasSubstr("needs only one of"));
  EXPECT_THAT(ResolveError("{pattern: pizza, target: top, kv_layers: 2}"),
              HasSubstr("needs 'model.num_layers'"));
  EXPECT_THAT(ResolveError("{pattern: pizza, target: top, kv_layers: x}", 4),
              HasSubstr("model.kv_sharing.kv_layers"));
  EXPECT_THAT(ResolveError("{pattern: pizza, target: top, reduction: 0.5x}", 4),
              HasSubstr("at least 1"));
  EXPECT_THAT(ResolveError("{preset: lckv}", 0), HasSubstr("1 to 4096 layers"));
}

}  // namespace
}  // namespace ckv
