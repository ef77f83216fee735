// `ckv train` as a process: interrupted, resumed, on a full disk, with damaged checkpoints.
#include <csignal>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "record/checkpoint_dir.h"
#include "tests/app/run_program.h"
#include "tests/app/tiny_model.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr int kSteps = 600;

class TrainCommandTest : public ::testing::Test {
 protected:
  TrainCommandTest() {
    std::string text;
    for (int i = 0; i < 60; ++i) text += Str("line ", i, " of a short text\n");
    WriteFileAtomically(dir_.File("text.txt"), text);
    EXPECT_EQ(RunCkv({"data", "prepare", dir_.File("text.txt"), "--tokenizer", "byte", "--out",
                      dir_.File("set")})
                  .exit_code,
              0);
    WriteFileAtomically(
        config_, Str("run: {device: cpu, threads: 1}\n",
                     "model: {num_layers: 4, kv_sharing: 0_2_2_3, hidden_size: 16,\n",
                     "        intermediate_size: 24, num_attention_heads: 2, forward_passes: 1,\n",
                     "        attention_dropout: 0.1}\n", "data: {train: ", dir_.File("set"),
                     ", valid_percent: 10, seq_len: 12}\n", "train: {steps: ", kSteps,
                     ", batch_size: 2, save_every: 100, eval_every: 200, log_every: 50,\n",
                     "        ema_decay: 0.9, schedule: {warmup_steps: 10}}\n"));
  }

  std::string RunPath(const std::string& name) const { return dir_.File(name); }

  std::vector<std::string> Train(const std::string& name,
                                 const std::vector<std::string>& sets = {}) const {
    std::vector<std::string> words = {"train", config_, "--set", "run.dir=" + RunPath(name)};
    for (const std::string& set : sets) words.insert(words.end(), {"--set", set});
    return words;
  }

  // Trains `name` until its first checkpoint is there, then sends the signal.
  ProgramResult Interrupt(const std::string& name, int signal_number) const {
    ProgramLimits limits;
    limits.signal_number = signal_number;
    limits.signal_at = RunPath(name) + "/checkpoints/latest";
    return RunCkv(Train(name), limits);
  }

  std::string LatestFolder(const std::string& name) const {
    const CheckpointDir checkpoints(RunPath(name));
    return checkpoints.PathOf(checkpoints.Latest().value());
  }

  // Everything that a later session could see of the runs' last checkpoints must be equal.
  void ExpectSameEnd(const std::string& one, const std::string& other) const {
    for (const char* part : {"model.safetensors", "optimizer.safetensors", "ema.safetensors"}) {
      EXPECT_EQ(ReadFile(JoinPath(LatestFolder(one), part)),
                ReadFile(JoinPath(LatestFolder(other), part)))
          << part;
    }
    const auto data = [&](const std::string& name) {
      return ReadJsonFile(JoinPath(LatestFolder(name), "state.json")).at("data");
    };
    EXPECT_EQ(data(one), data(other));
  }

  TempDir dir_;
  std::string config_ = dir_.File("config.yaml");
};

class TrainSignalTest : public TrainCommandTest, public ::testing::WithParamInterface<int> {};

TEST_P(TrainSignalTest, TheSameCommandGoesOnToTheSameWeightsBitForBit) {
  ASSERT_EQ(RunCkv(Train("whole")).exit_code, kExitOk);
  const ProgramResult stopped = Interrupt("cut", GetParam());
  EXPECT_EQ(stopped.exit_code, kExitSignalBase + GetParam()) << stopped.err;
  EXPECT_THAT(stopped.err, HasSubstr("the checkpoint is saved, and the same command goes on"));
  EXPECT_FALSE(FileExists(RunPath("cut") + "/result.json"));
  const Json result = RunCkvJson(Train("cut"));
  EXPECT_EQ(result["steps"], kSteps);
  ExpectSameEnd("cut", "whole");
}

INSTANTIATE_TEST_SUITE_P(Signals, TrainSignalTest, ::testing::Values(SIGTERM, SIGINT, SIGUSR1));

TEST_F(TrainCommandTest, AKilledRunGoesOnFromItsLastCheckpoint) {
  ASSERT_EQ(RunCkv(Train("whole")).exit_code, kExitOk);
  EXPECT_EQ(Interrupt("cut", SIGKILL).exit_code, 128 + SIGKILL);
  EXPECT_EQ(RunCkv(Train("cut")).exit_code, kExitOk);
  ExpectSameEnd("cut", "whole");
}

TEST_F(TrainCommandTest, TheResolvedConfigGivesTheSameRun) {
  ASSERT_EQ(RunCkv(Train("whole")).exit_code, kExitOk);
  ASSERT_EQ(
      RunCkv({"train", RunPath("whole") + "/config.yaml", "--set", "run.dir=" + RunPath("again")})
          .exit_code,
      kExitOk);
  ExpectSameEnd("again", "whole");
}

TEST_F(TrainCommandTest, ACompleteRunIsNotTrainedAgain) {
  const Json first = RunCkvJson(Train("whole"));
  const std::string log = ReadFile(RunPath("whole") + "/metrics.jsonl");
  EXPECT_EQ(RunCkvJson(Train("whole")), first);
  EXPECT_EQ(ReadFile(RunPath("whole") + "/metrics.jsonl"), log);
}

TEST_F(TrainCommandTest, OtherSettingsOnARunAreRefusedByName) {
  Interrupt("cut", SIGTERM);
  EXPECT_THAT(CkvError(kExitConfig, Train("cut", {"train.optim.lr=1e-5", "run.seed=4"})),
              HasSubstr("the run was started with other settings: run.seed is 0 there and 4 here; "
                        "train.optim.lr is"));
}

TEST_F(TrainCommandTest, AFullDiskKeepsTheEarlierCheckpoint) {
  ASSERT_EQ(RunCkv(Train("whole")).exit_code, kExitOk);
  Interrupt("cut", SIGTERM);
  const std::string before = LatestFolder("cut");
  ProgramLimits limits;
  limits.file_bytes = 20000;  // the model takes 60 kB
  EXPECT_THAT(CkvError(kExitIo, Train("cut"), limits), HasSubstr("File too large"));
  EXPECT_EQ(LatestFolder("cut"), before);
  EXPECT_EQ(RunCkv({"eval", "perplexity", RunPath("cut"), "--checkpoint", "latest", "--data",
                    dir_.File("text.txt"), "--device", "cpu"})
                .exit_code,
            kExitOk);
  EXPECT_EQ(RunCkv(Train("cut")).exit_code, kExitOk);
  ExpectSameEnd("cut", "whole");
}

// The last bytes of the newest checkpoint are not what was written.
TEST_F(TrainCommandTest, ABrokenNewestCheckpointIsPassedOverWithAWarning) {
  ASSERT_EQ(RunCkv(Train("whole")).exit_code, kExitOk);
  ASSERT_EQ(RunCkv(Train("cut")).exit_code, kExitOk);
  RemoveAll(RunPath("cut") + "/result.json");
  const std::string file = JoinPath(LatestFolder("cut"), "model.safetensors");
  std::string content = ReadFile(file);
  content.back() = static_cast<char>(content.back() ^ 1);
  WriteFileAtomically(file, content);
  const ProgramResult result = RunCkv(Train("cut"));
  EXPECT_EQ(result.exit_code, kExitOk) << result.err;
  EXPECT_THAT(result.err, HasSubstr(file + ": its content is not what was written: the checksum "
                                           "differs; taking the checkpoint before it"));
  EXPECT_THAT(result.err, HasSubstr("going on from step 500 of 600"));
  ExpectSameEnd("cut", "whole");
}

TEST_F(TrainCommandTest, MissingAndBrokenPartsOfACheckpointAreNamed) {
  Interrupt("cut", SIGTERM);
  const std::string folder = LatestFolder("cut");
  CheckpointDir checkpoints(RunPath("cut"));
  for (const int64_t step : checkpoints.Steps()) {
    if (checkpoints.PathOf(step) != folder) checkpoints.Remove(step);
  }
  const std::string optimizer = JoinPath(folder, "optimizer.safetensors");
  const std::string content = ReadFile(optimizer);
  RemoveAll(optimizer);
  EXPECT_EQ(CkvError(kExitFormat, Train("cut")),
            Str(folder, ": optimizer.safetensors: part of the checkpoint is missing"));
  WriteFileAtomically(optimizer, content.substr(0, content.size() - 1));
  EXPECT_THAT(CkvError(kExitFormat, Train("cut")), HasSubstr(optimizer));
  WriteFileAtomically(optimizer, content);
  RemoveAll(JoinPath(folder, "model.safetensors"));
  EXPECT_THAT(CkvError(kExitFormat, {"eval", "perplexity", folder, "--weights", "model", "--data",
                                     dir_.File("text.txt"), "--device", "cpu"}),
              HasSubstr("model.safetensors"));
}

TEST_F(TrainCommandTest, ACheckpointOfAnotherShapeIsNamedByTensor) {
  WriteModel(dir_.File("other"), "0_2_2_3");
  EXPECT_THAT(
      CkvError(kExitFormat,
               Train("new", {"init_from=" + dir_.File("other"), "model.num_attention_heads=4",
                             "model.num_key_value_heads=2", "model.intermediate_size=20"})),
      ::testing::AllOf(HasSubstr("mlp."), HasSubstr("but the model needs ["), HasSubstr("20")));
  EXPECT_FALSE(FileExists(RunPath("new") + "/metrics.jsonl"));
}

// Fresh schedule and optimizer, the weights of the other run.
TEST_F(TrainCommandTest, StartsFromTheWeightsOfARun) {
  ASSERT_EQ(RunCkv(Train("first")).exit_code, kExitOk);
  const double fresh = RunCkvJson(Train("fresh", {"train.steps=20"}))["valid_loss"].get<double>();
  const Json warm =
      RunCkvJson(Train("second", {"init_from=" + RunPath("first"), "train.steps=20"}));
  EXPECT_EQ(warm["steps"], 20);
  EXPECT_LT(warm["valid_loss"].get<double>(), fresh - 0.5);
}

// The same shapes, but other mathematics or another vocabulary.
TEST_F(TrainCommandTest, StartsOnlyFromWeightsThatMeanTheSame) {
  ASSERT_EQ(RunCkv(Train("first", {"train.steps=20"})).exit_code, kExitOk);
  const std::string from = "init_from=" + RunPath("first");
  const auto train = [&](const std::string& name, const std::string& set) {
    return Train(name, {from, "train.steps=20", set});
  };
  EXPECT_THAT(CkvError(kExitConfig, train("heads", "model.num_attention_heads=1")),
              HasSubstr("has 2 as 'model.num_attention_heads', but this run has 1"));
  EXPECT_THAT(CkvError(kExitConfig, train("tied", "model.tie_word_embeddings=true")),
              HasSubstr("output head of its own"));
  const ProgramResult rope = RunCkv(train("rope", "model.rope.theta=500"));
  EXPECT_EQ(rope.exit_code, kExitOk);
  EXPECT_THAT(rope.err, HasSubstr("'model.rope.theta' is 500"));
}

// As after a kill between the last checkpoint and the result.
TEST_F(TrainCommandTest, ACompleteRunTellsItsResultAgain) {
  const Json first = RunCkvJson(Train("run", {"train.steps=20"}));
  ASSERT_FALSE(first.is_null());
  RemoveAll(RunPath("run") + "/result.json");
  const Json again = RunCkvJson(Train("run", {"train.steps=20"}));
  for (const char* key : {"loss", "valid_loss", "steps", "tokens"}) {
    EXPECT_EQ(again[key], first[key]) << key;
  }
}

TEST_F(TrainCommandTest, AForeignResultIsNoRun) {
  MakeDirs(RunPath("foreign"));
  WriteFileAtomically(RunPath("foreign") + "/result.json", "{\"a\": 1}\n");
  EXPECT_THAT(CkvError(kExitConfig, Train("foreign", {"train.steps=20"})), HasSubstr("run.dir: "));
  EXPECT_THAT(CkvError(kExitConfig, Train("threads", {"run.threads=100000"})),
              HasSubstr("must be from 0 to 1024"));
  for (const char* set : {"dist.timeout_s=1e10", "dist.bucket_mb=1e30"}) {
    EXPECT_THAT(CkvError(kExitConfig, Train("dist", {set})),
                HasSubstr("must be above 0 and at most"));
  }
}

// Too large to be a name: the newest checkpoint is taken.
TEST_F(TrainCommandTest, ALatestThatIsNoNameIsPassedOver) {
  const Json first = RunCkvJson(Train("run", {"train.steps=20"}));
  ASSERT_FALSE(first.is_null());
  RemoveAll(RunPath("run") + "/result.json");
  WriteFileAtomically(RunPath("run") + "/checkpoints/latest", std::string(5000, 'x'));
  const ProgramResult again = RunCkv(Train("run", {"train.steps=20"}));
  EXPECT_EQ(again.exit_code, kExitOk) << again.err;
  EXPECT_THAT(again.err, HasSubstr("going on from step 20"));
}

TEST_F(TrainCommandTest, ADivergedRunStopsAndKeepsTheLastGoodCheckpoint) {
  const std::vector<std::string> sets = {"train.optim.lr=1e30", "train.schedule.warmup_steps=0",
                                         "train.optim.clip_norm=0"};
  EXPECT_THAT(CkvError(kExitDiverged, Train("bad", sets)),
              HasSubstr("the loss or a gradient is not finite"));
  EXPECT_FALSE(FileExists(RunPath("bad") + "/result.json"));
}

TEST_F(TrainCommandTest, AnEmptyTextMakesNoDataSet) {
  WriteFileAtomically(dir_.File("empty.txt"), "\n \n");
  EXPECT_THAT(CkvError(kExitFormat, {"data", "prepare", dir_.File("empty.txt"), "--tokenizer",
                                     "byte", "--out", dir_.File("none")}),
              HasSubstr("no text"));
  EXPECT_FALSE(FileExists(dir_.File("none")));
}

}  // namespace
}  // namespace ckv
