#include "sharing/presets.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;

std::string PresetText(const char* name, int64_t num_layers,
                       const std::map<std::string, std::string>& params = {}) {
  return MakePreset(name, num_layers, params).spec.ToString();
}

class PresetTest : public ::testing::TestWithParam<size_t> {};

TEST_P(PresetTest, AnyNumberOfLayersGivesASpecOrSaysWhatWouldWork) {
  const Preset& preset = Presets()[GetParam()];
  for (int layers = 1; layers <= 64; ++layers) {
    // The first number that is asked for goes through many values; the others stay as they are.
    std::string key;
    for (const PresetParam& param : preset.params) {
      if (param.kind == PresetParam::Kind::kNumber && key.empty()) key = param.key;
    }
    for (int value = 0; value <= (key.empty() ? 0 : 70); ++value) {
      std::map<std::string, std::string> params;
      if (!key.empty()) params[key] = std::to_string(value);
      std::string spec;
      const std::string error = ErrorOf([&] { spec = PresetText(preset.name, layers, params); });
      if (error.empty()) {
        EXPECT_EQ(KvSharingSpec::Parse(spec, layers).ToString(), spec);
      } else {
        EXPECT_THAT(error, AnyOf(HasSubstr(" work"), HasSubstr("must be an integer >= 1")));
      }
    }
  }
}

TEST_P(PresetTest, IsDescribed) {
  const Preset& preset = Presets()[GetParam()];
  EXPECT_EQ(FindPreset(preset.name), &preset);
  EXPECT_NE(std::string(preset.help), "");
  std::set<std::string> keys;
  for (const PresetParam& param : preset.params) {
    EXPECT_TRUE(keys.insert(param.key).second) << param.key;
    EXPECT_NE(std::string(param.help), "");
  }
}

INSTANTIATE_TEST_SUITE_P(AllRows, PresetTest, ::testing::Range(size_t{0}, Presets().size()),
                         [](const auto& row) { return std::string(Presets()[row.param].name); });

TEST(Presets, GiveThePublishedStrings) {
  EXPECT_EQ(PresetText("vanilla", 3), "0_1_2");
  EXPECT_EQ(PresetText("lckv", 22), KvSharingSpec::Parse("0_20*20_21").ToString());
  EXPECT_EQ(PresetText("lckv", 22, {{"warmup", "10"}}),
            KvSharingSpec::Parse("0_1_2_3_4_16*12_17_18_19_20_21").ToString());
  EXPECT_EQ(PresetText("lckv", 4, {{"warmup", "0"}}), "3_3_3_3");
  EXPECT_EQ(PresetText("cla", 7), "0_0_2_2_4_4_6");
  EXPECT_EQ(PresetText("cla", 8, {{"factor", "3"}}), "0_0_0_3_3_3_6_6");
  EXPECT_EQ(PresetText("mlkv", 8, {{"kv_layers", "3"}}), "0_0_2_2_2_5_5_5");
  EXPECT_EQ(PresetText("yoco", 6), "0s_1s_2s_3_3_3");
  EXPECT_EQ(PresetText("yoco", 5), "0s_1s_2_2_2");
  EXPECT_EQ(PresetText("fusedkv_lite", 8), "0_1_2_3_3/0_3/0_3/0_3/0");
  EXPECT_EQ(PresetText("fusedkv_lite", 2), "0_0");
}

TEST(Presets, MixAttentionAtAnyDepth) {
  EXPECT_EQ(PresetText("mixattention", 22),
            "0_1s_1s_3s_3s_3s_0_7s_7s_9s_9s_9s_12_13s_13s_15s_15s_15s_12_19s_19s_19s");
  EXPECT_EQ(PresetText("mixattention", 1), "0");
  EXPECT_EQ(PresetText("mixattention", 2), "0_1s");
  EXPECT_EQ(PresetText("mixattention", 3), "0_1s_1s");
  EXPECT_EQ(PresetText("mixattention", 4), "0_1s_1s_1s");
  EXPECT_EQ(PresetText("mixattention", 5), "0_1s_1s_3s_3s");
  EXPECT_EQ(PresetText("mixattention", 7), "0_1s_1s_3s_3s_3s_0");
  EXPECT_EQ(PresetText("mixattention", 8), "0_1s_1s_3s_3s_3s_0_3s");
  EXPECT_EQ(PresetText("mixattention", 13), "0_1s_1s_3s_3s_3s_0_7s_7s_9s_9s_9s_12");
  EXPECT_EQ(PresetText("mixattention", 14), "0_1s_1s_3s_3s_3s_0_7s_7s_9s_9s_9s_12_9s");
}

TEST(Presets, GemmaSharesWithinOneKind) {
  EXPECT_EQ(PresetText("gemma3n", 10, {{"shared", "4"}}), "0s_1s_2s_3s_4_5s_5s_5s_5s_4");
  EXPECT_EQ(PresetText("gemma3n", 6, {{"shared", "3"}, {"pattern", "sf"}}), "0s_1_2s_1_2s_1");
  // The published 35-layer model: the last 15 layers read layers 18 (windowed) and 19 (full).
  const KvSharingSpec spec = MakePreset("gemma3n", 35, {{"shared", "15"}}).spec;
  EXPECT_EQ(spec.k_source(33), 18);
  EXPECT_EQ(spec.k_source(34), 19);
  EXPECT_EQ(spec.kv_layers().size(), 20U);
}

TEST(Presets, NeverMixKindsOfAttention) {
  for (int layers = 1; layers <= 64; ++layers) {
    const KvSharingSpec spec = MakePreset("mixattention", layers).spec;
    for (int i = 0; i < layers; ++i) {
      EXPECT_EQ(spec.windowed(i), spec.windowed(spec.k_source(i))) << spec.ToString();
    }
  }
}

TEST(Presets, HandOnTheWindow) {
  EXPECT_EQ(MakePreset("yoco", 4, {{"window", "128"}}).window, 128);
  EXPECT_EQ(MakePreset("yoco", 4).window, std::nullopt);
  EXPECT_THAT(ErrorOf([] { MakePreset("yoco", 4, {{"window", "0"}}); }), HasSubstr(">= 1"));
}

TEST(Presets, SayWhatWouldWork) {
  EXPECT_EQ(
      ErrorOf([] {
        MakePreset("lckv", 8, {{"warmup", "3"}}, "a.yaml:2:3");
      }),
      "2: a.yaml:2:3: preset 'lckv' puts half of its 'warmup' layers at the bottom and half at "
      "the top, but it is 3 and the model has 8 layers; even numbers from 0 to 6 work");
  EXPECT_THAT(ErrorOf([] { MakePreset("lckv", 2); }), HasSubstr("only 0 works"));
  EXPECT_THAT(ErrorOf([] { MakePreset("cla", 4, {{"factor", "5"}}); }), HasSubstr("1 to 4 work"));
  EXPECT_THAT(ErrorOf([] {
                MakePreset("mlkv", 4, {{"kv_layers", "5"}});
              }),
              HasSubstr("1 to 4 work"));
  EXPECT_THAT(ErrorOf([] { MakePreset("mlkv", 4); }), HasSubstr("needs 'kv_layers'"));
  EXPECT_THAT(ErrorOf([] {
                MakePreset("gemma3n", 8, {{"shared", "4"}});
              }),
              HasSubstr("0 to 3 work"));
  EXPECT_THAT(ErrorOf([] { MakePreset("fusedkv_lite", 1); }), HasSubstr("2 or more work"));
  EXPECT_THAT(ErrorOf([] { MakePreset("cola", 4); }), HasSubstr("lckv, cla, mlkv, yoco"));
  EXPECT_THAT(ErrorOf([] { MakePreset("cla", 4, {{"depth", "2"}}); }), HasSubstr("takes 'factor'"));
  EXPECT_THAT(ErrorOf([] {
                MakePreset("gemma3n", 8, {{"shared", "2"}, {"pattern", "sx"}});
              }),
              HasSubstr("like ssssf"));
}

}  // namespace
}  // namespace ckv
