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

}  // namespace
}  // namespace ckv
