// Fine-tuning with adapters, from training to use.
#include <csignal>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "ckpt/adapter.h"
#include "record/checkpoint_dir.h"
#include "tests/app/run_program.h"
#include "tests/app/tiny_model.h"
#include "tests/temp_dir.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;

class LoraCommandTest : public ::testing::Test {
 protected:
  LoraCommandTest() {
    WriteModel(base_, "0_2_2_3");
    std::string text;
    for (int i = 0; i < 60; ++i) text += Str("line ", i, " of a short text\n");
    WriteFileAtomically(dir_.File("text.txt"), text);
    EXPECT_EQ(RunCkv({"data", "prepare", dir_.File("text.txt"), "--tokenizer", "byte", "--out",
                      dir_.File("set")})
                  .exit_code,
              0);
    WriteFileAtomically(
        config_, Str("run: {device: cpu, threads: 1}\ninit_from: ", base_,
                     "\nmodel: {num_layers: 4, kv_sharing: 0_2_2_3, hidden_size: 16,\n",
                     "  intermediate_size: 24, num_attention_heads: 4, num_key_value_heads: 2,\n",
                     "  max_position_embeddings: 64, forward_passes: 1, backward_passes: 1}\n",
                     "data: {train: ", dir_.File("set"), ", valid_percent: 10, seq_len: 12}\n",
                     "train: {steps: 300, batch_size: 2, save_every: 50, eval_every: 300,\n",
                     "  log_every: 50, ema_decay: 0.9, optim: {lr: 1e-2},\n",
                     "  schedule: {warmup_steps: 10},\n",
                     "  lora: {rank: 2, alpha: 4, dropout: 0.1, targets: [q_proj, v_proj, "
                     "down_proj]}}\n"));
  }

  std::vector<std::string> Train(const std::string& name,
                                 const std::vector<std::string>& sets = {}) const {
    std::vector<std::string> words = {"train", config_, "--set", "run.dir=" + dir_.File(name)};
    for (const std::string& set : sets) words.insert(words.end(), {"--set", set});
    return words;
  }

  std::string LatestFolder(const std::string& name) const {
    const CheckpointDir checkpoints(dir_.File(name));
    return checkpoints.PathOf(checkpoints.Latest().value());
  }

  double Perplexity(const std::string& model) const {
    const Json json = RunCkvJson({"eval", "perplexity", model, "--data", dir_.File("text.txt"),
                                  "--seq-len", "12", "--device", "cpu", "--precision", "fp64"});
    return json.is_null() ? -1.0 : json["parallel"]["token_perplexity"].get<double>();
  }

  TempDir dir_;
  std::string base_ = dir_.File("base");
  std::string config_ = dir_.File("config.yaml");
};

TEST_F(LoraCommandTest, TrainsAdaptersAloneAndMergesThem) {
  const std::string before = ReadFile(JoinPath(base_, "model.safetensors"));
  const Json result = RunCkvJson(Train("run"));
  EXPECT_EQ(ReadFile(JoinPath(base_, "model.safetensors")), before);
  // q: 4 layers of 16 and 16, v: owners 0, 2, 3 of 16 and 8, down: 4 of 24 and 16; times the rank.
  EXPECT_EQ(result["trained_parameters"], 2 * (4 * 32 + 3 * 24 + 4 * 40));
  EXPECT_FALSE(FileExists(JoinPath(LatestFolder("run"), "model.safetensors")));
  const TensorFile adapters(JoinPath(LatestFolder("run"), "adapter_model.safetensors"));
  EXPECT_EQ(adapters.header().entries().size(), 2u * (4 + 3 + 4));
  EXPECT_TRUE(adapters.Has("base_model.model.model.layers.2.self_attn.v_proj.lora_B.weight"));
  const Json described = ReadJsonFile(JoinPath(LatestFolder("run"), "adapter_config.json"));
  EXPECT_EQ(described["r"], 2);
  EXPECT_EQ(described["lora_alpha"], 4);
  EXPECT_EQ(described["base_model_name_or_path"], base_);

  const double tuned = Perplexity(dir_.File("run"));
  EXPECT_LT(tuned, 0.5 * Perplexity(base_));
  // The result is that of the running mean, which the run's evaluation takes too.
  for (const std::string to : {"crosskv", "hf"}) {
    const std::string merged = dir_.File("merged-" + to);
    ASSERT_EQ(RunCkv({"convert", dir_.File("run"), "--to", to, "--dtype", "fp64", "--out", merged})
                  .exit_code,
              0);
    EXPECT_FALSE(FileExists(JoinPath(merged, "adapter_config.json")));
    EXPECT_NEAR(Perplexity(merged), tuned, 1e-6 * tuned);
  }
  const std::vector<std::string> prompt = {"--prompt", "line 1",   "--max-tokens",
                                           "8",        "--device", "cpu"};
  std::vector<std::string> words = {"generate", dir_.File("run")};
  words.insert(words.end(), prompt.begin(), prompt.end());
  const ProgramResult direct = RunCkv(words);
  words[1] = dir_.File("merged-crosskv");
  EXPECT_EQ(direct.exit_code, 0) << direct.err;
  EXPECT_EQ(direct.out, RunCkv(words).out);
}

// What training saw is what evaluation gives: the validation at the run's end ran unmerged.
TEST_F(LoraCommandTest, ValidationWhileTrainingIsThatOfTheMergedModel) {
  const Json result =
      RunCkvJson(Train("run", {"data.valid_percent=0", "data.valid=" + dir_.File("set")}));
  const Json json = RunCkvJson({"eval", "perplexity", dir_.File("run"), "--data", dir_.File("set"),
                                "--seq-len", "12", "--device", "cpu"});
  EXPECT_NEAR(result["valid_perplexity"].get<double>(),
              json["parallel"]["token_perplexity"].get<double>(),
              1e-4 * json["parallel"]["token_perplexity"].get<double>());
}

TEST_F(LoraCommandTest, AKilledRunGoesOnBitForBit) {
  ASSERT_EQ(RunCkv(Train("whole")).exit_code, kExitOk);
  ProgramLimits limits;
  limits.signal_number = SIGKILL;
  limits.signal_at = dir_.File("cut") + "/checkpoints/latest";
  EXPECT_EQ(RunCkv(Train("cut"), limits).exit_code, 128 + SIGKILL);
  EXPECT_EQ(RunCkv(Train("cut")).exit_code, kExitOk);
  for (const char* part :
       {"adapter_model.safetensors", "optimizer.safetensors", "ema.safetensors"}) {
    EXPECT_EQ(ReadFile(JoinPath(LatestFolder("cut"), part)),
              ReadFile(JoinPath(LatestFolder("whole"), part)))
        << part;
  }
}

TEST_F(LoraCommandTest, AnotherBaseIsRefused) {
  ASSERT_EQ(RunCkv(Train("run", {"train.steps=50"})).exit_code, kExitOk);
  WriteModel(base_, "0_2_2_3", /*seed=*/2);
  EXPECT_THAT(CkvError(kExitFormat, {"eval", "perplexity", dir_.File("run"), "--data",
                                     dir_.File("text.txt"), "--device", "cpu"}),
              HasSubstr("was trained on a base model with other weights than those of " + base_));
  RemoveAll(JoinPath(dir_.File("run"), "result.json"));
  EXPECT_THAT(CkvError(kExitFormat, Train("run", {"train.steps=50"})),
              HasSubstr("other weights than those of this run"));
}

TEST_F(LoraCommandTest, WhatDoesNotFitIsRefused) {
  EXPECT_THAT(CkvError(kExitConfig, Train("run", {"init_from="})),
              HasSubstr("'train.lora' adapts the weights of 'init_from', which is not given"));
  EXPECT_THAT(CkvError(kExitConfig, Train("run", {"dist.zero=3"})), HasSubstr("use 0, 1 or 2"));
  EXPECT_THAT(CkvError(kExitConfig, Train("run", {"train.lora.targets=[lm_head]"})),
              HasSubstr("must be one or several of q_proj, k_proj"));
  EXPECT_THAT(CkvError(kExitConfig, Train("run", {"train.lora.rank=-1"})),
              HasSubstr("'train.lora.rank' is -1, but must be >= 0"));
  WriteFileAtomically(dir_.File("encoder.yaml"),
                      "model: {family: probtrans}\ntrain: {lora: {rank: 2}}\n");
  EXPECT_THAT(CkvError(kExitConfig, {"train", dir_.File("encoder.yaml")}),
              HasSubstr("'train.lora' does not apply to the family probtrans"));
}

}  // namespace
}  // namespace ckv
