// What `ckv train` says of input that it cannot use, before it does any work.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "tests/app/run_program.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class BadInputTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string text;
    for (int i = 0; i < 40; ++i) text += Str("line ", i, "\n");
    WriteFileAtomically(dir_.File("text.txt"), text);
    ASSERT_EQ(RunCkv({"data", "prepare", dir_.File("text.txt"), "--tokenizer", "byte", "--out",
                      dir_.File("set")})
                  .exit_code,
              0);
    WriteConfig("");
  }

  // A config that trains for one step, with more lines at its end.
  void WriteConfig(const std::string& more) const {
    const std::string text =
        Str("run: {dir: ", dir_.File("run"), ", device: cpu, threads: 1}\n", "model:\n",
            "  num_layers: 2\n  hidden_size: 16\n  intermediate_size: 16\n",
            "  num_attention_heads: 2\n", "data: {train: ", dir_.File("set"), ", seq_len: 8}\n",
            "train: {steps: 1, batch_size: 2, schedule: {warmup_steps: 0}}\n", more);
    WriteFileAtomically(config_, text);
  }

  // The error of a training that must not have begun.
  std::string TrainError(int exit_code, const std::vector<std::string>& sets = {}) const {
    std::vector<std::string> arguments = {"train", config_};
    for (const std::string& set : sets) arguments.insert(arguments.end(), {"--set", set});
    const std::string error = CkvError(exit_code, arguments);
    EXPECT_FALSE(FileExists(dir_.File("run/metrics.jsonl")));
    EXPECT_FALSE(FileExists(dir_.File("run/result.json")));
    return error;
  }

  TempDir dir_;
  std::string config_ = dir_.File("config.yaml");
};

TEST_F(BadInputTest, GoodInputTrains) {
  const Json result = RunCkvJson({"train", config_});
  EXPECT_TRUE(result.is_object());
  EXPECT_TRUE(FileExists(dir_.File("run/result.json")));
}

TEST_F(BadInputTest, UnknownKeysAreNamedWithTheirPlace) {
  WriteConfig("tran: 3\n");
  EXPECT_THAT(TrainError(kExitConfig),
              StartsWith(config_ + ":9:1: unknown key 'tran' (did you mean 'train'?)"));
  WriteConfig("");
  EXPECT_EQ(TrainError(kExitConfig, {"train.optm.lr=1"}),
            "--set train.optm.lr=1: unknown key 'train.optm' (did you mean 'train.optim'?)");
}

TEST_F(BadInputTest, WrongTypesAndSpecsAreNamed) {
  EXPECT_THAT(TrainError(kExitConfig, {"train.steps=many"}),
              StartsWith("--set train.steps=many: 'train.steps' is 'many' (a string)"));
  EXPECT_EQ(TrainError(kExitConfig, {"model.kv_sharing=0_0_0"}),
            "--set model.kv_sharing=0_0_0: 'model.kv_sharing' has 3 entries but the model has 2 "
            "layers");
  EXPECT_THAT(TrainError(kExitConfig, {"model.kv_sharing=0_7"}), HasSubstr("layer 1"));
}

TEST_F(BadInputTest, SizesBeyondAnyModelAreRefused) {
  for (const char* set : {"model.hidden_size=400000000000", "model.intermediate_size=400000000000",
                          "model.vocab_size=400000000000", "model.num_attention_heads=400000000000",
                          "model.max_position_embeddings=400000000000",
                          "train.batch_size=400000000000", "train.steps=4000000000000000000",
                          "data.seq_len=400000000000", "model.num_layers=400000000000"}) {
    EXPECT_THAT(TrainError(kExitConfig, {set}), HasSubstr(" 4000000000")) << set;
  }
}

TEST_F(BadInputTest, MissingKeysAreSaidOfTheFile) {
  WriteFileAtomically(config_, "");
  EXPECT_EQ(TrainError(kExitConfig),
            config_ + ": 'model.kv_sharing' is not set, which needs 'model.num_layers'");
  WriteFileAtomically(config_, "model: {num_layers: 2}\n");
  EXPECT_EQ(TrainError(kExitConfig),
            config_ + ": 'data.train' is not given; name a folder that 'ckv data prepare' wrote");
}

TEST_F(BadInputTest, MissingFilesAreNamed) {
  EXPECT_THAT(CkvError(kExitIo, {"train", dir_.File("none.yaml")}), HasSubstr("none.yaml"));
  EXPECT_THAT(TrainError(kExitIo, {"data.train=" + dir_.File("none")}), HasSubstr("none"));
  EXPECT_THAT(TrainError(kExitIo, {"tokenizer=" + dir_.File("none.model")}),
              HasSubstr("none.model"));
}

TEST_F(BadInputTest, DataOfAnotherTokenizerIsRefused) {
  ASSERT_EQ(RunCkv({"data", "tokenizer", dir_.File("text.txt"), "--type", "char", "--out",
                    dir_.File("other.char")})
                .exit_code,
            0);
  EXPECT_THAT(TrainError(kExitFormat, {"tokenizer=" + dir_.File("other.char")}),
              HasSubstr("set: was made with a vocabulary of 258"));
}

TEST_F(BadInputTest, ATruncatedShardIsRefused) {
  const std::string path = dir_.File("set/tokens-00000.bin");
  const std::string shard = ReadFile(path);
  WriteFileAtomically(path, shard.substr(0, shard.size() - 8));
  EXPECT_THAT(TrainError(kExitFormat), HasSubstr("tokens-00000.bin"));
}

TEST_F(BadInputTest, SequencesLongerThanTheDataAreRefused) {
  EXPECT_THAT(TrainError(kExitConfig, {"data.seq_len=4000"}), HasSubstr("seq_len"));
}

}  // namespace
}  // namespace ckv
