// Checkpoints of several ranks: written beside training, read by any number of ranks.
#include <csignal>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/signals.h"
#include "tests/dist/error_of.h"
#include "tests/dist/parallel_run.h"
#include "tests/dist/ranks.h"
#include "tests/tensors.h"
#include "train/checkpoint_saver.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;

class RankCheckpointTest : public ::testing::Test {
 protected:
  void SetUp() override {
    CKV_NEEDS_GLOO();
    at::set_num_threads(1);
    WriteTinyDataset(data_, 2000);
  }

  // Goes on with the newest checkpoint of `run_dir` until `options.train.steps`, saving every two
  // steps; stops after `stop` with the save under way completed. Leaves the weights at `name`.
  void Train(int world, const std::string& run_dir, const ParallelRunOptions& options,
             const std::string& name, int64_t stop = -1) {
    ExpectRanks(world, [&](CommGroup* group) {
      ParallelRun run(group, data_, options);
      Ema ema(run.optimizer->Weights(), 0.9);
      DecoderConfig config = run.decoder->config();
      TrainingParts parts;
      parts.optimizer = run.optimizer.get();
      parts.parallel = run.parallel.get();
      parts.ema = &ema;
      parts.data = run.data.get();
      parts.model = &config;
      parts.config_yaml = "run: {}\n";
      CheckpointDir checkpoints(run_dir);
      CheckpointSaver saver(checkpoints, group, {});
      if (const auto step = checkpoints.Latest()) {
        VerifyCheckpoint(checkpoints.PathOf(*step));
        run.state = LoadTrainingCheckpoint(checkpoints.PathOf(*step), parts);
        saver.SetSaved(*step);
      }
      run.hooks.save = [&](const TrainState& now) {
        saver.Start(parts, now, false);
        if (now.step == stop) {
          saver.Finish();
          throw Interrupted(SIGTERM, "enough");
        }
      };
      run.hooks.after_step = [&](DataParallel::Report* report) {
        saver.Poll(report, run.parallel ? &run.parallel->agreed() : nullptr);
      };
      run.hooks.finish = [&] { saver.Finish(); };
      try {
        run.Train(nullptr, &ema);
      } catch (const Interrupted&) {
      }
      const NamedTensors weights = run.WholeWeights();
      if (group == nullptr || group->root()) WriteTensors(dir_.File(name), weights);
    });
  }

  double Difference(const std::string& one, const std::string& other) const {
    const TensorFile a(dir_.File(one));
    const TensorFile b(dir_.File(other));
    double worst = 0.0;
    for (const SafetensorsEntry& entry : a.header().entries()) {
      worst = std::max(worst, MaxAbsDiff(a.Read(entry.name), b.Read(entry.name)));
    }
    return worst;
  }

  static ParallelRunOptions Options(int64_t stage) {
    ParallelRunOptions options;
    options.dist.zero = stage;
    options.dist.bucket_mb = 0.01;
    options.train = ParallelTraining(8);
    options.train.save_every = 2;
    return options;
  }

  TempDir dir_;
  std::string data_ = dir_.File("data");
};

TEST_F(RankCheckpointTest, AnyNumberOfRanksGoesOnWithWhatAnyOtherWrote) {
  Train(0, dir_.File("whole"), Options(0), "whole.weights");
  const std::string run = dir_.File("cut");
  // One process; ZeRO-1 on three; ZeRO-3 on two; plain on four; one process again.
  Train(0, run, Options(0), "part", 2);
  Train(3, run, Options(1), "part", 4);
  Train(2, run, Options(3), "part", 6);
  Train(4, run, Options(0), "cut.weights");
  EXPECT_LT(Difference("whole.weights", "cut.weights"), 1e-10);
  Train(0, run, Options(0), "again.weights");  // nothing is left to do
  EXPECT_LT(Difference("cut.weights", "again.weights"), 1e-15);
}

TEST_F(RankCheckpointTest, TheSameRanksGoOnBitForBit) {
  for (const int64_t stage : {0, 2, 3}) {
    ParallelRunOptions options = Options(stage);
    options.type = at::kFloat;
    const std::string name = Str("stage", stage);
    Train(3, dir_.File(name + "whole"), options, "whole");
    Train(3, dir_.File(name + "cut"), options, "part", 4);
    Train(3, dir_.File(name + "cut"), options, "cut");
    EXPECT_EQ(Difference("whole", "cut"), 0.0) << stage;
  }
}

// Other programs read the sharded weights by their index.
TEST_F(RankCheckpointTest, SharesAreWholeTensorsWithAnIndex) {
  const std::string run = dir_.File("run");
  Train(3, run, Options(2), "weights");
  const std::string folder = CheckpointDir(run).PathOf(8);
  EXPECT_FALSE(FileExists(JoinPath(folder, "model.safetensors")));
  EXPECT_TRUE(FileExists(JoinPath(folder, "model-00001-of-00003.safetensors")));
  EXPECT_TRUE(FileExists(JoinPath(folder, "checksums-00003-of-00003.json")));
  const TensorFiles files = TensorFiles::OpenModel(folder);
  const TensorFile weights(dir_.File("weights"));
  EXPECT_EQ(files.Names().size(), weights.header().entries().size());
  for (const std::string& name : files.Names()) {
    EXPECT_TRUE(files.Read(name).equal(weights.Read(name))) << name;
  }
  EXPECT_TRUE(TensorFiles::HasPart(folder, "ema"));
}

TEST_F(RankCheckpointTest, DamageOfAnyFileIsFound) {
  const std::string run = dir_.File("run");
  Train(2, run, Options(1), "weights");
  const std::string folder = CheckpointDir(run).PathOf(8);
  for (const std::string& file : ListDir(folder)) {
    const std::string path = JoinPath(folder, file);
    const std::string content = ReadFile(path);
    RemoveAll(path);
    EXPECT_THAT(ThrownBy([&] { VerifyCheckpoint(folder); }),
                HasSubstr(file + ": part of the checkpoint is missing"));
    WriteFileAtomically(path, content.substr(0, content.size() / 2));
    EXPECT_THAT(ThrownBy([&] { VerifyCheckpoint(folder); }), HasSubstr("3: " + path)) << file;
    if (file.compare(0, 9, "checksums") != 0 && file != "state.json") {
      std::string changed = content;
      changed[changed.size() / 2] = static_cast<char>(changed[changed.size() / 2] ^ 4);
      WriteFileAtomically(path, changed);
      EXPECT_THAT(ThrownBy([&] { VerifyCheckpoint(folder); }), HasSubstr("the checksum differs"));
    }
    WriteFileAtomically(path, content);
  }
  VerifyCheckpoint(folder);
  const std::string state = JoinPath(folder, "state.json");
  const std::string content = ReadFile(state);
  for (const char* other : {"{}", "[]", "{\"rankq\": 2}"}) {
    WriteFileAtomically(state, other);
    EXPECT_THAT(ThrownBy([&] { VerifyCheckpoint(folder); }),
                HasSubstr("ranks: must be a whole number"))
        << other;
  }
  WriteFileAtomically(state, content);
  // Ranks share the looking.
  RemoveAll(JoinPath(folder, "model-00002-of-00002.safetensors"));
  VerifyCheckpoint(folder, 0, 2);
  EXPECT_THAT(ThrownBy([&] { VerifyCheckpoint(folder, 1, 2); }), HasSubstr("is missing"));
}

// A signal that reaches one rank stops all after the same step.
TEST_F(RankCheckpointTest, ASignalToOneRankStopsAll) {
  const std::vector<RankEnd> ends = RunRanks(3, [&](CommGroup* group) {
    ParallelRunOptions options = Options(1);
    options.train.steps = 100000;
    options.train.save_every = 0;
    ParallelRun run(group, data_, options);
    WatchSignals();
    int64_t saved = -1;
    run.hooks.after_step = [&](DataParallel::Report*) {
      if (group->rank() == 2 && run.state.step == 5) ::raise(SIGUSR1);
    };
    run.hooks.save = [&](const TrainState& now) { saved = now.step; };
    try {
      run.Train();
    } catch (const Interrupted&) {
      const std::vector<std::string> steps = group->Gather(std::to_string(saved));
      CKV_EXPECT_IN_RANK(steps[0] == steps[1] && steps[1] == steps[2] && saved >= 5);
      throw;
    }
  });
  for (const RankEnd& end : ends) {
    EXPECT_EQ(end.exit_code, kExitSignalBase + SIGUSR1) << end.message;
  }
}

}  // namespace
}  // namespace ckv
