#include "ckpt/adapter.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"
#include "tests/temp_dir.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;

constexpr char kWeight[] = "model.layers.0.self_attn.q_proj.weight";
constexpr char kOther[] = "model.norm.weight";

std::string Of(const std::string& end) {
  return "base_model.model.model.layers.0.self_attn.q_proj." + end;
}

class AdapterTest : public ::testing::Test {
 protected:
  AdapterTest() {
    MakeDirs(base_);
    WriteFileAtomically(JoinPath(base_, "config.json"), "{}");
    WriteTensors(JoinPath(base_, "model.safetensors"), {{kWeight, weight_}, {kOther, norm_}});
    MakeDirs(folder_);
    Write({{Of("lora_A.weight"), a_}, {Of("lora_B.weight"), b_}});
    Configure();
  }

  void Write(const NamedTensors& tensors, const std::map<std::string, std::string>& metadata = {}) {
    WriteTensors(JoinPath(folder_, "adapter_model.safetensors"), tensors, metadata);
  }

  // The usual adapter_config.json with some keys changed.
  void Configure(const Json& changes = Json::object()) {
    AdapterInfo info;
    info.base = base_;
    info.rank = 2;
    info.alpha = 6.0;
    info.targets = {"q_proj"};
    Json json = Json::parse(AdapterConfigText(info));
    json.update(changes);
    WriteFileAtomically(JoinPath(folder_, kAdapterConfigFile), json.dump());
  }

  std::string Error() {
    try {
      OpenModelWeights(folder_);
    } catch (const FormatError& error) {
      return error.what();
    }
    return "no error";
  }

  TempDir dir_;
  std::string base_ = dir_.File("base");
  std::string folder_ = dir_.File("adapter");
  Tensor weight_ = RandomTensor({3, 4}, 1, at::kFloat);
  Tensor norm_ = RandomTensor({4}, 2, at::kFloat);
  Tensor a_ = RandomTensor({2, 4}, 3, at::kFloat);
  Tensor b_ = RandomTensor({3, 2}, 4, at::kFloat);
};

TEST_F(AdapterTest, AWeightReadsAsItselfPlusTheScaledProduct) {
  const TensorFiles merged = OpenModelWeights(folder_);
  const Tensor wanted =
      weight_.to(at::kDouble) + b_.to(at::kDouble).mm(a_.to(at::kDouble)) * (6.0 / 2.0);
  EXPECT_EQ(MaxAbsDiff(merged.Read(kWeight), wanted.to(at::kFloat)), 0.0);
  EXPECT_EQ(MaxAbsDiff(merged.Read(kOther), norm_), 0.0);
  Configure({{"use_rslora", true}});
  const Tensor stabilized =
      weight_.to(at::kDouble) + b_.to(at::kDouble).mm(a_.to(at::kDouble)) * (6.0 / std::sqrt(2.0));
  EXPECT_LT(MaxAbsDiff(OpenModelWeights(folder_).Read(kWeight), stabilized), 1e-6);
}

TEST_F(AdapterTest, AnAdapterMayStandOnAnother) {
  const std::string above = dir_.File("above");
  MakeDirs(above);
  WriteTensors(JoinPath(above, "adapter_model.safetensors"),
               {{Of("lora_A.weight"), a_}, {Of("lora_B.weight"), b_}});
  AdapterInfo info;
  info.base = "../adapter";  // beside it
  info.rank = 2;
  info.alpha = 2.0;
  WriteFileAtomically(JoinPath(above, kAdapterConfigFile), AdapterConfigText(info));
  EXPECT_LT(MaxAbsDiff(OpenModelWeights(above).Read(kWeight), weight_ + b_.mm(a_) * 4.0), 1e-5);
  EXPECT_EQ(FileExists(JoinPath(ConfigFolder(above), "config.json")), true);
}

TEST_F(AdapterTest, BaseIsKnownByItsContent) {
  const std::string hash = HashHex(OpenModelWeights(base_).Hash());
  Write({{Of("lora_A.weight"), a_}, {Of("lora_B.weight"), b_}}, {{kBaseHashKey, hash}});
  EXPECT_EQ(Error(), "no error");
  // The same weights in two files are the same.
  RemoveAll(JoinPath(base_, "model.safetensors"));
  WriteTensors(JoinPath(base_, "one.safetensors"), {{kOther, norm_}});
  WriteTensors(JoinPath(base_, "two.safetensors"), {{kWeight, weight_}});
  const Json places = {{kOther, "one.safetensors"}, {kWeight, "two.safetensors"}};
  WriteFileAtomically(JoinPath(base_, "model.safetensors.index.json"),
                      Json{{"weight_map", places}}.dump());
  EXPECT_EQ(Error(), "no error");
  WriteTensors(JoinPath(base_, "one.safetensors"), {{kOther, norm_ + 1}});
  EXPECT_THAT(Error(),
              HasSubstr("trained on a base model with other weights than those of " + base_));
}

TEST_F(AdapterTest, FaultsAreNamed) {
  Configure({{"base_model_name_or_path", "nowhere"}});
  EXPECT_THAT(Error(), HasSubstr("adapter_config.json: base_model_name_or_path: there is no model "
                                 "in nowhere"));
  Configure({{"use_dora", true}});
  EXPECT_THAT(Error(), HasSubstr("use_dora: is true, which this program does not know"));
  Configure({{"modules_to_save", {"lm_head"}}});
  EXPECT_THAT(Error(), HasSubstr("modules_to_save: is [\"lm_head\"]"));
  Configure({{"peft_type", "IA3"}});
  EXPECT_THAT(Error(), HasSubstr("peft_type: must be \"LORA\""));
  Configure({{"lora_alpha", 0}});
  EXPECT_THAT(Error(), HasSubstr("lora_alpha: must be a number above 0"));
  Configure({{"base_model_name_or_path", folder_}});
  EXPECT_THAT(Error(), HasSubstr("stand on top of each other"));
  Configure();
  Write({{Of("lora_A.weight"), a_}});
  EXPECT_THAT(Error(), HasSubstr("lora_A.weight': has no partner"));
  Write({{Of("lora_A.weight"), a_}, {Of("lora_B.weight"), b_.t().contiguous()}});
  EXPECT_THAT(Error(), HasSubstr("do not fit the weight of [3, 4]"));
  Write({{Of("lora_magnitude_vector"), a_}});
  EXPECT_THAT(Error(), HasSubstr("is no adapter of a weight of the base model"));
}

}  // namespace
}  // namespace ckv
