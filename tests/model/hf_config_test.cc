#include "model/hf_config.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "config/config.h"
#include "tests/model/tiny_decoder.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

Json Written(const DecoderConfig& config) {
  return Json::parse(ToHfConfig(config, "float32").dump());
}

TEST(ToHfConfig, NamesTheModelTypeThatCanLoadIt) {
  EXPECT_EQ(Written(TinyConfig("0_1_2")).at("model_type"), "llama");
  EXPECT_EQ(Written(TinyConfig("0_2_2")).at("model_type"), "lckv-llama");
  EXPECT_EQ(Written(TinyConfig("0_2_2")).at("layer_types"), "0_2_2");
  EXPECT_EQ(Written(TinyConfig("0_1/0_2")).at("model_type"), "crosskv-llama");
}

TEST(FromHfConfig, ReadsBackWhatWasWritten) {
  for (const char* spec : {"0_1_2", "0_2_2", "0s_1s_1", "0_1/0_2"}) {
    for (const char* scaling : {"none", "linear", "dynamic", "llama3", "yarn"}) {
      DecoderConfig config = TinyConfig(spec);
      config.rope.scaling = scaling;
      config.rope.factor = scaling == std::string("none") ? 1.0 : 4.0;
      config.tie_word_embeddings = true;
      config.eos_token_id = 2;
      const DecoderConfig back = FromHfConfig(Written(config), "config.json");
      EXPECT_EQ(back.sharing(), config.sharing());
      EXPECT_EQ(back.rope.scaling, config.rope.scaling);
      EXPECT_EQ(back.rope.factor, config.rope.factor);
      EXPECT_EQ(back.head_width(), config.head_width());
      EXPECT_EQ(back.tie_word_embeddings, true);
      EXPECT_EQ(back.eos_token_id, config.eos_token_id);
      EXPECT_EQ(back.forward_passes, 7);
    }
  }
}

TEST(FromHfConfig, ReadsBackHowPassesStartAndEnd) {
  DecoderConfig config = TinyConfig("0_2_2");
  EXPECT_FALSE(Written(config).contains("kv_start"));
  config.kv_start = "guess";
  config.pass_tolerance = 0.25;
  config.fp8_passes = true;
  // The published implementation has neither.
  EXPECT_EQ(Written(config).at("model_type"), "crosskv-llama");
  const DecoderConfig back = FromHfConfig(Written(config), "config.json");
  EXPECT_EQ(back.kv_start, "guess");
  EXPECT_EQ(back.pass_tolerance, 0.25);
  EXPECT_TRUE(back.fp8_passes);
  EXPECT_EQ(ErrorOf([&] { ToHfConfig(config, "float32", HfFormat::kLckv); }),
            "2: --to lckv: the published implementation knows none of 'kv_start', "
            "'pass_tolerance' and 'fp8_passes'; hf and crosskv can say them");
  Json json = Written(config);
  json["kv_start"] = "ones";
  EXPECT_EQ(ErrorOf([&] { FromHfConfig(json, "c.json"); }).substr(0, 10), "3: c.json:");
}

TEST(FromHfConfig, RefusesWhatTheModelLacks) {
  Json json = Written(TinyConfig("0_1"));
  json["model_type"] = "mamba";
  EXPECT_EQ(ErrorOf([&] { FromHfConfig(json, "c.json"); }),
            "3: c.json: model_type: 'mamba' is not one of llama, lckv-llama, crosskv-llama");
  json = Written(TinyConfig("0_1"));
  json["hidden_act"] = "relu";
  EXPECT_EQ(ErrorOf([&] { FromHfConfig(json, "c.json"); }),
            "3: c.json: hidden_act: 'relu' is not one of silu, gelu, gelu_pytorch_tanh");
  json = Written(TinyConfig("0_1"));
  json["num_attention_heads"] = 3;
  EXPECT_EQ(ErrorOf([&] { FromHfConfig(json, "c.json"); }).substr(0, 10), "3: c.json:");
}

TEST(FromHfConfig, RefusesWhatWouldChangeTheMaths) {
  Json json = Written(TinyConfig("0_1"));
  json["partial_rotary_factor"] = 0.5;
  EXPECT_EQ(ErrorOf([&] { FromHfConfig(json, "c.json"); }).substr(0, 33),
            "3: c.json: partial_rotary_factor:");
  json = Written(TinyConfig("0_1"));
  json["quantization_config"] = {{"bits", 4}};
  EXPECT_EQ(ErrorOf([&] { FromHfConfig(json, "c.json"); }),
            "3: c.json: quantization_config: quantised weights are not supported");
}

TEST(FromHfConfig, ABrokenConfigIsABrokenFile) {
  Json json = Written(TinyConfig("0_2_2"));
  json["num_hidden_layers"] = 2;
  EXPECT_EQ(ErrorOf([&] { FromHfConfig(json, "c.json"); }).substr(0, 24),
            "3: c.json: layer_types: ");
  json = Written(TinyConfig("0_1/0"));
  json["kv_sharing"] = "0_7";
  EXPECT_EQ(ErrorOf([&] { FromHfConfig(json, "c.json"); }).substr(0, 23),
            "3: c.json: kv_sharing: ");
  for (const char* key : {"vocab_size", "head_dim", "num_key_value_heads"}) {
    json = Written(TinyConfig("0_1"));
    json[key] = int64_t{1} << 62;
    EXPECT_EQ(ErrorOf([&] { FromHfConfig(json, "c.json"); }),
              Str("3: c.json: ", key, ": 4611686018427387904, but must be 1 to 2147483647"));
  }
}

// Whatever the defaults of a new model are.
TEST(FromHfConfig, PublishedConfigsKeepTheDefaultsOfTheirImplementation) {
  Json json = Written(TinyConfig("0_2_2"));
  for (const char* key :
       {"forward_passes", "backward_passes", "use_sequential", "force_nodiag", "sliding_window"}) {
    json.erase(key);
  }
  const DecoderConfig config = FromHfConfig(json, "c.json");
  EXPECT_EQ(config.forward_passes, 7);
  EXPECT_EQ(config.backward_passes, 2);
  EXPECT_FALSE(config.sequential);
  EXPECT_FALSE(config.force_nodiag);
  EXPECT_EQ(config.sliding_window, 4096);
}

TEST(ToHfConfig, FormatsSayWhoLoadsThem) {
  const auto type = [](const char* sharing, HfFormat format) {
    const OrderedJson json = ToHfConfig(TinyConfig(sharing), "float32", format);
    return json.at("model_type").get<std::string>() + (json.contains("auto_map") ? "+code" : "");
  };
  EXPECT_EQ(type("0_1", HfFormat::kTransformers), "llama");
  EXPECT_EQ(type("0_0", HfFormat::kTransformers), "crosskv-llama+code");
  EXPECT_EQ(type("0_0/1", HfFormat::kTransformers), "crosskv-llama+code");
  EXPECT_EQ(type("0_1", HfFormat::kLckv), "lckv-llama");
  EXPECT_EQ(ErrorOf([&] { type("0_0/1", HfFormat::kLckv); }).substr(0, 2), "2:");
}

}  // namespace
}  // namespace ckv
