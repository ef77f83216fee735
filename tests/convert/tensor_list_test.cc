#include "convert/tensor_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/convert/model_folder.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;

TEST(ModelTensors, AreTheParametersOfTheDecoder) {
  for (const char* sharing : {"0_1_2", "0_2_2", "2_0_1", "0_0/1_1", "0s_0s_0"}) {
    for (const bool flag : {false, true}) {
      DecoderConfig config = TinyConfig(sharing);
      config.attention_bias = flag;
      config.mlp_bias = flag;
      config.tie_word_embeddings = flag;
      config.head_dim = flag ? 6 : 4;
      const Decoder decoder(config);
      std::map<std::string, std::vector<int64_t>> wanted;
      for (const auto& [name, parameter] : NamedParameters(*decoder)) {
        wanted[name] = parameter.sizes().vec();
      }
      std::map<std::string, std::vector<int64_t>> listed;
      for (const ModelTensor& tensor : ModelTensors(config)) listed[tensor.name] = tensor.shape;
      EXPECT_EQ(listed, wanted) << sharing;
    }
  }
}

TEST(ModelTensors, KnowWhichProjectionsTheyAre) {
  DecoderConfig config = TinyConfig("0_0/1");
  config.attention_bias = true;
  for (const ModelTensor& tensor : ModelTensors(config)) {
    if (tensor.kv_layer < 0) continue;
    EXPECT_EQ(tensor.name,
              KvTensorName(tensor.kv_layer, tensor.kind, tensor.is_bias ? "bias" : "weight"));
  }
}

class CheckModelTensorsTest : public ::testing::Test {
 protected:
  std::string Check(const DecoderConfig& config, NamedTensors tensors) {
    WriteTensors(dir_.File("model.safetensors"), tensors);
    return ErrorOf([&] { CheckModelTensors(TensorFiles::OpenModel(dir_.path()), config); });
  }
  TempDir dir_;
};

TEST_F(CheckModelTensorsTest, AcceptsWhatIsSpare) {
  DecoderConfig config = TinyConfig("0_0");
  config.tie_word_embeddings = true;
  NamedTensors tensors = NamedParameters(*TinyDecoder(config));
  tensors.emplace_back("lm_head.weight", at::zeros({31, 16}));
  tensors.emplace_back("model.layers.1.self_attn.k_proj.weight", at::zeros({8, 16}));
  tensors.emplace_back("model.layers.1.self_attn.rotary_emb.inv_freq", at::zeros({2}));
  EXPECT_EQ(Check(config, tensors), "");
}

TEST_F(CheckModelTensorsTest, RefusesWhatIsMissingForeignOrOfTheWrongForm) {
  const DecoderConfig config = TinyConfig("0_0");
  const NamedTensors good = NamedParameters(*TinyDecoder(config));
  EXPECT_EQ(Check(config, good), "");
  NamedTensors less = good;
  less.pop_back();
  EXPECT_THAT(Check(config, less), HasSubstr("tensor 'lm_head.weight': is not there"));
  NamedTensors other = good;
  other.back().second = at::zeros({30, 16});
  EXPECT_THAT(Check(config, other),
              HasSubstr("has the shape [30, 16], but the config asks for [31, 16]"));
  other.back().second = at::zeros({31, 16}, at::kInt);
  EXPECT_THAT(Check(config, other), HasSubstr("is of type I32; expected one of F64"));
  // A bias that the config does not announce must not get lost in silence.
  NamedTensors more = good;
  more.emplace_back("model.layers.0.self_attn.k_proj.bias", at::zeros({8}));
  EXPECT_THAT(Check(config, more), HasSubstr("k_proj.bias': is no parameter of the model"));
}

}  // namespace
}  // namespace ckv
