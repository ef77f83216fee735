#include "train/training_checkpoint.h"

#include <sys/resource.h>

#include <csignal>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tensors.h"
#include "tests/train/tiny_run.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;

class TrainingCheckpointTest : public ::testing::Test {
 protected:
  TrainingCheckpointTest() {
    at::set_num_threads(1);
    WriteTinyDataset(data_, 2000);
  }

  // A run of three steps, saved at `path`.
  void SaveRun(const std::string& path) {
    TinyRun run(data_, TinyTraining(3));
    run.Train();
    SaveTrainingCheckpoint(path, run.Parts(), run.state);
  }

  TempDir dir_;
  std::string data_ = dir_.File("data");
};

// Weights, moments, means, random state, data position: nothing may be lost.
TEST_F(TrainingCheckpointTest, ResumedRunIsTheUninterruptedRunBitForBit) {
  TinyRun whole(data_, TinyTraining(30));  // more than an epoch of 25 steps
  whole.Train();

  const std::string path = dir_.File("checkpoint");
  for (const int64_t stop : {1, 7, 26}) {
    {
      TinyRun first(data_, TinyTraining(stop));
      first.train.steps = 30;  // the schedule is that of the whole run
      first.train.save_every = stop;
      first.hooks.save = [&](const TrainState& state) {
        if (state.step == stop) {
          SaveTrainingCheckpoint(path, first.Parts(), state);
          throw Interrupted(SIGTERM, "enough");
        }
      };
      EXPECT_THROW(first.Train(), Interrupted);
    }
    TinyRun second(data_, TinyTraining(30));
    torch::manual_seed(999);  // must be replaced
    second.state = LoadTrainingCheckpoint(path, second.Parts());
    EXPECT_EQ(second.state.step, stop);
    second.Train();
    EXPECT_EQ(second.state.tokens, whole.state.tokens);
    EXPECT_EQ(second.losses.back(), whole.losses.back());
    const auto expect_equal = [](const AdamW::Named& got, const AdamW::Named& want) {
      for (size_t i = 0; i < want.size(); ++i) {
        EXPECT_TRUE(got[i].second.equal(want[i].second)) << want[i].first;
      }
    };
    expect_equal(second.optimizer->Weights(), whole.optimizer->Weights());
    expect_equal(second.optimizer->State(), whole.optimizer->State());
    expect_equal(second.ema->weights(), whole.ema->weights());
  }
}

TEST_F(TrainingCheckpointTest, MissingPartIsNamed) {
  for (const char* part :
       {"state.json", "model.safetensors", "optimizer.safetensors", "ema.safetensors"}) {
    const std::string path = dir_.File("checkpoint");
    SaveRun(path);
    RemoveAll(JoinPath(path, part));
    TinyRun run(data_, TinyTraining(3));
    const at::Tensor before = run.optimizer->Weights()[0].second.clone();
    EXPECT_EQ(ErrorOf([&] { LoadTrainingCheckpoint(path, run.Parts()); }),
              Str("3: ", path, ": ", part, ": part of the checkpoint is missing"));
    EXPECT_TRUE(run.optimizer->Weights()[0].second.equal(before)) << part;
  }
}

TEST_F(TrainingCheckpointTest, TruncatedPartIsRefused) {
  const std::string path = dir_.File("checkpoint");
  SaveRun(path);
  const std::string model = JoinPath(path, "model.safetensors");
  std::string content = ReadFile(model);
  content.resize(content.size() / 2);
  WriteFileAtomically(model, content);
  TinyRun run(data_, TinyTraining(3));
  EXPECT_THAT(ErrorOf([&] { LoadTrainingCheckpoint(path, run.Parts()); }),
              HasSubstr("3: " + model));
}

TEST_F(TrainingCheckpointTest, OtherShapeIsRefusedByName) {
  const std::string path = dir_.File("checkpoint");
  SaveRun(path);
  TinyRun run(data_, TinyTraining(3));
  DecoderConfig wide = TinyConfig("0_2_2_3");
  wide.intermediate_size = 32;
  Decoder decoder(wide);
  decoder->InitializeWeights(0);
  AdamW optimizer(NamedParameters(*decoder), OptimConfig());
  TrainingParts parts = run.Parts();
  parts.optimizer = &optimizer;
  EXPECT_THAT(
      ErrorOf([&] { LoadTrainingCheckpoint(path, parts); }),
      HasSubstr("mlp.gate_proj.weight': has the shape [24, 16], but the run needs [32, 16]"));
}

// In a process of its own, which may write no file larger than 4 KiB.
[[noreturn]] void SaveOnFullDisk(const std::string& data, const std::string& path) {
  std::signal(SIGXFSZ, SIG_IGN);
  TinyRun run(data, TinyTraining(1));
  run.Train();
  const rlimit limit = {4096, 4096};
  ::setrlimit(RLIMIT_FSIZE, &limit);
  const std::string error = ErrorOf([&] { SaveTrainingCheckpoint(path, run.Parts(), run.state); });
  std::fprintf(stderr, "%s\n", error.c_str());
  std::exit(error.substr(0, 3) == "4: " && !FileExists(path) ? 0 : 1);
}

TEST_F(TrainingCheckpointTest, DiskFullLeavesNoHalfCheckpoint) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");  // a fork could not use a GPU in use
  EXPECT_EXIT(SaveOnFullDisk(data_, dir_.File("checkpoint")), ::testing::ExitedWithCode(0),
              "File too large");
}

TEST_F(TrainingCheckpointTest, IsAModelThatStandsAlone) {
  const std::string path = dir_.File("checkpoint");
  SaveRun(path);
  for (const char* part : {"config.json", "config.yaml"}) {
    EXPECT_TRUE(FileExists(JoinPath(path, part))) << part;
  }
  Decoder decoder(TinyConfig("0_2_2_3"));
  LoadWeights(TensorFiles::OpenModel(path), *decoder);
}

}  // namespace
}  // namespace ckv
