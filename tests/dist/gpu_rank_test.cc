// NCCL: one rank equals a process alone, and several, where there are as many GPUs, equal one.
//
// This process must not touch CUDA, which does not survive a fork: all is done in children.
#include <cmath>
#include <iostream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "tests/dist/parallel_run.h"
#include "tests/dist/ranks.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

// GPUs of this host, asked by a child.
int NumGpus() {
  static const int kCount = [] {
    const TempDir dir;
    const std::string path = dir.File("count");
    RunRanks(0, [&](CommGroup*) {
      WriteFileAtomically(path, std::to_string(torch::cuda::device_count()));
    });
    return FileExists(path) ? std::stoi(ReadFile(path)) : 0;
  }();
  return kCount;
}

struct GpuCase {
  int world;
  int64_t stage;
  const char* sharing = "0_2_2_3";
  int64_t checkpoint_layers = 0;
};

void PrintTo(const GpuCase& c, std::ostream* out) {
  *out << c.world << " ranks, ZeRO-" << c.stage << ", " << c.sharing;
  if (c.checkpoint_layers > 0) *out << ", activations computed again";
}

class GpuRankTest : public ::testing::TestWithParam<GpuCase> {
 protected:
  void SetUp() override {
    if (NumGpus() == 0) GTEST_SKIP() << "no CUDA device is here";
    if (NumGpus() < GetParam().world) GTEST_SKIP() << "this host has " << NumGpus() << " GPU(s)";
    WriteTinyDataset(data_, 2000);
  }

  // Trains on `world` GPUs (0: alone on one) and leaves weights and losses of rank 0 at `name`.
  void Train(int world, const std::string& name, const ParallelRunOptions& options) {
    RanksOptions ranks;
    ranks.gpus = true;
    ranks.config = options.dist;
    const auto work = [&](CommGroup* group) {
      const at::Device device = group == nullptr ? at::Device(at::kCUDA, 0) : group->device();
      ParallelRun run(group, data_, options, device);
      run.Train();
      const NamedTensors weights = run.WholeWeights();
      if (group != nullptr) {
        CKV_EXPECT_IN_RANK(group->backend() == "nccl");
        CKV_EXPECT_IN_RANK(group->traffic().summed > 0);
        if (!group->root()) return;
      }
      WriteTensors(dir_.File(name), weights);
      const Json json = {
          {"losses", run.losses}, {"norms", run.norms}, {"tokens", run.state.tokens}};
      WriteFileAtomically(dir_.File(name + ".json"), json.dump());
    };
    ExpectRanks(world, work, ranks);
  }

  TempDir dir_;
  std::string data_ = dir_.File("data");
};

// fp64: what is left is the order of sums.
TEST_P(GpuRankTest, RanksOverNcclGiveTheRunAlone) {
  const GpuCase& c = GetParam();
  ParallelRunOptions options;
  options.sharing = c.sharing;
  options.train = ParallelTraining(6);
  options.train.micro_batch_size = 4;
  options.dist.zero = c.stage;
  options.dist.bucket_mb = 0.01;
  options.dist.timeout_s = 60.0;
  Train(0, "alone", options);
  options.train.checkpoint_layers = c.checkpoint_layers;
  Train(c.world, "ranks", options);
  ASSERT_TRUE(FileExists(dir_.File("alone")) && FileExists(dir_.File("ranks")));
  const TensorFile alone(dir_.File("alone"));
  const TensorFile ranks(dir_.File("ranks"));
  for (const SafetensorsEntry& entry : alone.header().entries()) {
    EXPECT_LE(MaxAbsDiff(alone.Read(entry.name), ranks.Read(entry.name)), 1e-10) << entry.name;
  }
  const Json x = ReadJsonFile(dir_.File("alone.json"));
  const Json y = ReadJsonFile(dir_.File("ranks.json"));
  EXPECT_EQ(x["tokens"], y["tokens"]);
  for (const char* key : {"losses", "norms"}) {
    ASSERT_EQ(x[key].size(), y[key].size());
    for (size_t i = 0; i < x[key].size(); ++i) {
      EXPECT_NEAR(x[key][i].get<double>(), y[key][i].get<double>(), 1e-10) << key << " " << i;
    }
  }
}

// With the fused layers and the fused optimizer. Alone, each micro-batch holds the rows of one
// rank: other rows in a product would round otherwise, and AdamW makes much of little.
TEST_P(GpuRankTest, RanksInBf16GiveTheRunAlone) {
  const GpuCase& c = GetParam();
  ParallelRunOptions options;
  options.sharing = c.sharing;
  options.type = at::kBFloat16;
  options.train = ParallelTraining(6);
  options.train.optim.lr = 1e-3;
  options.train.log_every = 1;
  options.train.checkpoint_layers = c.checkpoint_layers;
  options.dist.zero = c.stage;
  options.dist.bucket_mb = 0.01;
  options.dist.timeout_s = 60.0;
  Train(c.world, "ranks", options);
  options.train.micro_batch_size = options.train.batch_size / c.world;
  Train(0, "alone", options);
  const Json x = ReadJsonFile(dir_.File("alone.json"));
  const Json y = ReadJsonFile(dir_.File("ranks.json"));
  EXPECT_EQ(x["tokens"], y["tokens"]);
  for (const char* key : {"losses", "norms"}) {
    ASSERT_EQ(x[key].size(), y[key].size());
    double most = 0.0;
    for (size_t i = 0; i < x[key].size(); ++i) {
      most = std::max(most, std::abs(y[key][i].get<double>() / x[key][i].get<double>() - 1.0));
    }
    EXPECT_LE(most, 1e-5) << key;  // norms are summed in another order
    std::cout << "most difference of " << key << ": " << most << "\n";
  }
}

INSTANTIATE_TEST_SUITE_P(Stages, GpuRankTest,
                         ::testing::Values(GpuCase{1, 0}, GpuCase{1, 1}, GpuCase{1, 2},
                                           GpuCase{1, 3}, GpuCase{2, 0}, GpuCase{2, 1},
                                           GpuCase{2, 2}, GpuCase{2, 3},
                                           GpuCase{2, 3, "0_3_3_3_4_5", 2},
                                           GpuCase{2, 3, "0_1_2_3"}, GpuCase{4, 0}, GpuCase{4, 3}));

}  // namespace
}  // namespace ckv
