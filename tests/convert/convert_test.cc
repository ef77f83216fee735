#include "convert/convert.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "base/signals.h"
#include "convert/owner_projections.h"
#include "tests/convert/model_folder.h"
#include "tests/temp_dir.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

DecoderConfig ConvertConfig(const std::string& sharing, bool bias = false, bool tied = false) {
  DecoderConfig config = TinyConfig(sharing);
  config.attention_bias = bias;
  config.mlp_bias = bias;
  config.tie_word_embeddings = tied;
  return config;
}

std::string KeyName(int layer, const std::string& part = "weight") {
  return KvTensorName(layer, KvKind::kKeys, part);
}
std::string ValueName(int layer) { return KvTensorName(layer, KvKind::kValues, "weight"); }

// Equal names, dtypes and bits.
void ExpectSameWeights(const std::map<std::string, Tensor>& got,
                       const std::map<std::string, Tensor>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (const auto& [name, tensor] : want) {
    ASSERT_EQ(got.count(name), 1u) << name;
    EXPECT_EQ(got.at(name).scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(got.at(name).equal(tensor)) << name;
  }
}

class ConvertTest : public ::testing::Test {
 protected:
  std::string source() const { return dir_.File("source"); }
  std::string out() const { return dir_.File("out"); }
  // Nothing but the source is left.
  std::vector<std::string> Left() const { return ListDir(dir_.path()); }

  TempDir dir_;
};

TEST_F(ConvertTest, ThereAndBackIsTheSameBitForBit) {
  for (const char* sharing : {"0_1_2", "0_2_2", "0_0s_1", "0_1/0_0"}) {
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
      for (const HfFormat format : {HfFormat::kNative, HfFormat::kTransformers}) {
        TempDir dir;
        WriteFolder(dir.File("a"), ConvertConfig(sharing, true, true), dtype);
        ConvertOptions options = OptionsFor(dir.File("a"), dir.File("b"));
        options.format = format;
        ConvertModel(options);
        options = OptionsFor(dir.File("b"), dir.File("c"));
        ConvertModel(options);
        ExpectSameWeights(ReadAll(dir.File("c")), ReadAll(dir.File("a")));
        EXPECT_EQ(ReadJsonFile(dir.File("c") + "/config.json"),
                  ReadJsonFile(dir.File("a") + "/config.json"));
      }
    }
  }
}

TEST_F(ConvertTest, WritesAndReadsShards) {
  WriteFolder(source(), ConvertConfig("0_1_2"));
  ConvertOptions options = OptionsFor(source(), out());
  options.max_shard_bytes = 5000;
  const ConvertReport report = ConvertModel(options);
  EXPECT_GT(report.weights.num_files, 2);
  EXPECT_FALSE(FileExists(out() + "/model.safetensors"));
  const Json index = ReadJsonFile(out() + "/model.safetensors.index.json");
  EXPECT_EQ(index.at("metadata").at("total_size"), report.weights.num_bytes);
  for (const auto& [tensor, file] : index.at("weight_map").items()) {
    const TensorFile shard(JoinPath(out(), file.get<std::string>()));
    EXPECT_TRUE(shard.Has(tensor));
    // Only a tensor that is larger by itself may exceed the limit.
    if (shard.header().entries().size() > 1) {
      EXPECT_LE(shard.header().entries().back().end - shard.header().entries().front().begin,
                5000u);
    }
  }
  ExpectSameWeights(ReadAll(out()), ReadAll(source()));

  ConvertOptions joined = OptionsFor(out(), dir_.File("joined"));
  ConvertModel(joined);
  ExpectSameWeights(ReadAll(dir_.File("joined")), ReadAll(source()));
  EXPECT_TRUE(FileExists(dir_.File("joined") + "/model.safetensors"));
}

TEST_F(ConvertTest, ChangesTheDtypeWhenAsked) {
  WriteFolder(source(), ConvertConfig("0_1"));
  ConvertOptions options = OptionsFor(source(), out());
  options.dtype = SafetensorsDtype::kBF16;
  ConvertModel(options);
  const std::map<std::string, Tensor> want = ReadAll(source());
  for (const auto& [name, tensor] : ReadAll(out())) {
    EXPECT_TRUE(tensor.equal(want.at(name).to(at::kBFloat16))) << name;
  }
  EXPECT_EQ(ReadJsonFile(out() + "/config.json").at("torch_dtype"), "bfloat16");
}

TEST_F(ConvertTest, AverageTakesTheReadersAndTheOwnerOnlyIfItReadsItself) {
  WriteFolder(source(), ConvertConfig("0_1_2_3", /*bias=*/true));
  ConvertModel(OptionsFor(source(), out(), "0_0_1_3", "average"));
  const std::map<std::string, Tensor> from = ReadAll(source());
  const std::map<std::string, Tensor> to = ReadAll(out());
  EXPECT_TRUE(to.at(KeyName(0)).equal((from.at(KeyName(0)) + from.at(KeyName(1))) / 2));
  EXPECT_TRUE(to.at(KeyName(1)).equal(from.at(KeyName(2))));  // layer 2 alone reads layer 1
  EXPECT_TRUE(to.at(KeyName(1, "bias")).equal(from.at(KeyName(2, "bias"))));
  EXPECT_TRUE(to.at(KeyName(3)).equal(from.at(KeyName(3))));
  EXPECT_EQ(to.count(KeyName(2)), 0u);
  // Everything but keys and values is as it was.
  for (const auto& [name, tensor] : to) {
    if (name.find("k_proj") != std::string::npos || name.find("v_proj") != std::string::npos) {
      continue;
    }
    EXPECT_TRUE(tensor.equal(from.at(name))) << name;
  }
}

TEST_F(ConvertTest, BiasesAreAveragedLikeWeights) {
  Decoder decoder = WriteFolder(source(), ConvertConfig("0_1_2", /*bias=*/true));
  NamedTensors tensors;
  for (const auto& [name, tensor] : NamedParameters(*decoder)) {
    const bool bias = name.find("k_proj.bias") != std::string::npos;
    tensors.emplace_back(
        name, bias ? RandomTensor({8}, name.size() + name[13], at::kFloat) : tensor.detach());
  }
  WriteTensors(source() + "/model.safetensors", tensors);
  ConvertModel(OptionsFor(source(), out(), "0_2_2", "average"));
  const std::map<std::string, Tensor> from = ReadAll(source());
  ASSERT_FALSE(from.at(KeyName(1, "bias")).equal(from.at(KeyName(2, "bias"))));
  EXPECT_TRUE(ReadAll(out())
                  .at(KeyName(2, "bias"))
                  .equal((from.at(KeyName(1, "bias")) + from.at(KeyName(2, "bias"))) / 2));
}

TEST_F(ConvertTest, KeysAndValuesGoByTheirOwnReaders) {
  WriteFolder(source(), ConvertConfig("0_1_2"));
  ConvertModel(OptionsFor(source(), out(), "0_2/0_2", "average"));
  const std::map<std::string, Tensor> from = ReadAll(source());
  const std::map<std::string, Tensor> to = ReadAll(out());
  EXPECT_TRUE(to.at(KeyName(2)).equal((from.at(KeyName(1)) + from.at(KeyName(2))) / 2));
  EXPECT_TRUE(to.at(ValueName(2)).equal(from.at(ValueName(2))));
  EXPECT_TRUE(to.at(KeyName(0)).equal(from.at(KeyName(0))));
  EXPECT_TRUE(to.at(ValueName(0)).equal((from.at(ValueName(0)) + from.at(ValueName(1))) / 2));
}

TEST_F(ConvertTest, TiedEmbeddingsStayTiedAndUntiedOnesUntied) {
  for (const bool tied : {false, true}) {
    TempDir dir;
    WriteFolder(dir.File("a"), ConvertConfig("0_1", false, tied));
    ConvertModel(OptionsFor(dir.File("a"), dir.File("b"), "0_0"));
    const std::map<std::string, Tensor> from = ReadAll(dir.File("a"));
    const std::map<std::string, Tensor> to = ReadAll(dir.File("b"));
    EXPECT_EQ(to.count("lm_head.weight"), tied ? 0u : 1u);
    EXPECT_TRUE(to.at("model.embed_tokens.weight").equal(from.at("model.embed_tokens.weight")));
    EXPECT_EQ(ReadConfigOf(dir.File("b")).tie_word_embeddings, tied);
  }
}

TEST_F(ConvertTest, EveryMethodGivesAModelThatLoads) {
  WriteFolder(source(), ConvertConfig("0_1_2_3", /*bias=*/true));
  Decoder full(ReadConfigOf(source()));
  LoadWeights(TensorFiles::OpenModel(source()), *full);
  full->eval();
  Calibration calibration(full, KvSharingSpec::Parse("0_2_2_3"));
  calibration.Add(RandomIds({4, 16}, 31, 1));
  std::vector<Tensor> keys;
  for (const std::string& method : ConvertMethods()) {
    const std::string folder = dir_.File(method);
    const bool calibrated = method == "calibrated";
    const ConvertReport report = ConvertModel(OptionsFor(source(), folder, "0_2_2_3", method),
                                              calibrated ? &calibration : nullptr);
    EXPECT_EQ(report.num_changed, method == "direct" ? 0 : 2) << method;
    Decoder decoder(ReadConfigOf(folder));
    LoadWeights(TensorFiles::OpenModel(folder), *decoder);
    keys.push_back(ReadAll(folder).at(KeyName(2)));
    for (size_t other = 0; other + 1 < keys.size(); ++other) {
      EXPECT_FALSE(keys[other].equal(keys.back())) << method;
    }
  }
}

TEST_F(ConvertTest, KeepsWhatItDoesNotUseOfTheConfig) {
  WriteFolder(source(), ConvertConfig("0_1"));
  Json json = ReadJsonFile(source() + "/config.json");
  json["pad_token_id"] = 7;
  json["eos_token_id"] = {2, 5};
  json["rope_theta"] = 5000.0;
  WriteFileAtomically(source() + "/config.json", json.dump());
  ConvertModel(OptionsFor(source(), out(), "0_0"));
  const Json written = ReadJsonFile(out() + "/config.json");
  EXPECT_EQ(written.at("pad_token_id"), 7);
  EXPECT_EQ(written.at("eos_token_id"), Json::array({2, 5}));
  EXPECT_EQ(written.at("rope_theta"), 5000.0);
  EXPECT_EQ(written.at("layer_types"), "0_0");
}

TEST_F(ConvertTest, LckvFormatIsWhatThePublishedImplementationReads) {
  WriteFolder(source(), ConvertConfig("0_1"));
  ConvertOptions options = OptionsFor(source(), out());
  options.format = HfFormat::kLckv;
  EXPECT_EQ(ConvertModel(options).model_type, "lckv-llama");
  EXPECT_EQ(ReadJsonFile(out() + "/config.json").at("layer_types"), "0_1");
}

TEST_F(ConvertTest, LckvFormatRefusesOrWarnsAboutWhatItCannotSay) {
  WriteFolder(source(), ConvertConfig("0_1_2"));
  ConvertOptions options = OptionsFor(source(), out(), "0_0/1_2");
  options.format = HfFormat::kLckv;
  EXPECT_THAT(ErrorOf([&] { ConvertModel(options); }),
              HasSubstr("2: --to lckv: 'layer_types' cannot say 0_0/1_2"));
  options = OptionsFor(source(), out(), "0_2s_2");
  options.window = 3;
  options.format = HfFormat::kLckv;
  const ConvertReport report = ConvertModel(options);
  ASSERT_EQ(report.warnings.size(), 2u);
  EXPECT_THAT(report.warnings[0], HasSubstr("one key more than sliding_window = 3"));
  EXPECT_THAT(report.warnings[1], HasSubstr("token by token"));
}

TEST_F(ConvertTest, TheRunningMeanCanBeTaken) {
  WriteFolder(source(), ConvertConfig("0_1"));
  ConvertOptions options = OptionsFor(source(), out());
  options.ema = true;
  EXPECT_THAT(ErrorOf([&] { ConvertModel(options); }), HasSubstr("has no running mean"));
  Decoder mean = TinyDecoder(ConvertConfig("0_1"), 99);
  WriteTensors(source() + "/ema.safetensors", NamedParameters(*mean));
  ConvertModel(options);
  EXPECT_TRUE(ReadAll(out()).at(KeyName(0)).equal(mean->named_parameters()[KeyName(0)]));
}

TEST_F(ConvertTest, RefusesASourceThatLacksWhatTheMethodNeeds) {
  WriteFolder(source(), ConvertConfig("0_0_2_3"));
  EXPECT_THAT(
      ErrorOf([&] { ConvertModel(OptionsFor(source(), out(), "0_1_2_2")); }),
      HasSubstr("layer 1: has no k_proj (it reads the keys of layer 0), but 'average' makes "
                "those of layer 1 from it; convert from the full model"));
  EXPECT_THAT(ErrorOf([&] { ConvertModel(OptionsFor(source(), out(), "0_0_0_3")); }),
              HasSubstr("layer 1: has no k_proj"));
  EXPECT_THAT(Left(), ElementsAre("source"));
  // What is there suffices for these.
  ConvertModel(OptionsFor(source(), dir_.File("direct"), "0_0_0_3", "direct"));
  ConvertModel(OptionsFor(source(), dir_.File("same"), "0_0_2_3"));
  ExpectSameWeights(ReadAll(dir_.File("same")), ReadAll(source()));
}

TEST_F(ConvertTest, RefusesOptionsThatMakeNoSense) {
  WriteFolder(source(), ConvertConfig("0_1"));
  EXPECT_THAT(ErrorOf([&] { ConvertModel(OptionsFor(source(), out(), "0_1_2")); }),
              HasSubstr("2: "));
  EXPECT_THAT(ErrorOf([&] { ConvertModel(OptionsFor(source(), out(), "0_5")); }), HasSubstr("2: "));
  EXPECT_THAT(ErrorOf([&] { ConvertModel(OptionsFor(source(), out(), "0_0", "mean")); }),
              HasSubstr("2: --method: 'mean' is not one of average, direct, svd, calibrated"));
  EXPECT_THAT(Left(), ElementsAre("source"));
  MakeDirs(out());
  EXPECT_THAT(ErrorOf([&] { ConvertModel(OptionsFor(source(), out())); }),
              HasSubstr("2: --out: " + out() + " is there already"));
}

TEST_F(ConvertTest, RefusesBrokenSources) {
  WriteFolder(source(), ConvertConfig("0_1"));
  Json json = ReadJsonFile(source() + "/config.json");
  json["num_hidden_layers"] = 3;
  WriteFileAtomically(source() + "/config.json", json.dump());
  EXPECT_THAT(ErrorOf([&] { ConvertModel(OptionsFor(source(), out())); }),
              HasSubstr("tensor 'model.layers.2.input_layernorm.weight': is not there"));
  json["num_hidden_layers"] = 1;
  WriteFileAtomically(source() + "/config.json", json.dump());
  EXPECT_THAT(ErrorOf([&] { ConvertModel(OptionsFor(source(), out())); }),
              HasSubstr("is no parameter of the model"));
  json["quantization_config"] = {{"bits", 4}};
  WriteFileAtomically(source() + "/config.json", json.dump());
  EXPECT_THAT(ErrorOf([&] { ConvertModel(OptionsFor(source(), out())); }),
              HasSubstr("quantization_config: quantised weights are not supported"));
  RemoveAll(source() + "/model.safetensors");
  json.erase("quantization_config");
  WriteFileAtomically(source() + "/config.json", json.dump());
  EXPECT_THAT(ErrorOf([&] { ConvertModel(OptionsFor(source(), out())); }), HasSubstr("no weights"));
  EXPECT_THAT(Left(), ElementsAre("source"));
}

TEST_F(ConvertTest, AFailureHalfWayLeavesNothing) {
  const Decoder full = WriteFolder(source(), ConvertConfig("0_1_2_3"));
  // No text was added: solving fails when the third layer's turn comes.
  const Calibration empty(full, KvSharingSpec::Parse("0_1_2_2"));
  const ConvertOptions options = OptionsFor(source(), out(), "0_1_2_2", "calibrated");
  EXPECT_THAT(ErrorOf([&] { ConvertModel(options, &empty); }), HasSubstr("1: "));
  EXPECT_THAT(Left(), ElementsAre("source"));
}

TEST_F(ConvertTest, ASignalStopsItAndLeavesNothing) {
  WriteFolder(source(), ConvertConfig("0_1"));
  const auto stopped = [&] {
    WatchSignals();
    ::raise(SIGTERM);
    const std::string error = ErrorOf([&] { ConvertModel(OptionsFor(source(), out())); });
    std::fprintf(stderr, "%s, left: %zu\n", error.c_str(), Left().size());
    std::exit(0);
  };
  EXPECT_EXIT(stopped(), ::testing::ExitedWithCode(0),
              "143: .*the conversion was stopped; nothing was written, left: 1");
}

TEST_F(ConvertTest, WhatAKilledRunLeftIsReplaced) {
  WriteFolder(source(), ConvertConfig("0_1"));
  MakeDirs(dir_.File(".out.unfinished"));
  WriteFileAtomically(dir_.File(".out.unfinished/model.safetensors"), "half");
  ConvertModel(OptionsFor(source(), out() + "/"));
  EXPECT_THAT(Left(), ElementsAre("out", "source"));
  ExpectSameWeights(ReadAll(out()), ReadAll(source()));
}

TEST_F(ConvertTest, TheWindowComesFromPresetOptionOrSource) {
  WriteFolder(source(), ConvertConfig("0_1"));  // llama: the config says nothing of a window
  EXPECT_THAT(ErrorOf([&] { ConvertModel(OptionsFor(source(), out(), "0s_0")); }),
              HasSubstr("need 'model.sliding_window'"));
  ConvertOptions options = OptionsFor(source(), out(), "0s_0");
  options.window = 12;
  ConvertModel(options);
  EXPECT_EQ(ReadConfigOf(out()).sliding_window, 12);
  ConvertModel(OptionsFor(out(), dir_.File("again"), "0s_0s", "direct"));
  EXPECT_EQ(ReadConfigOf(dir_.File("again")).sliding_window, 12);
}

}  // namespace
}  // namespace ckv
