// NCCL with one rank; several need several GPUs.
#include <cstdlib>

#include <gtest/gtest.h>

#include "tests/dist/parallel_run.h"
#include "tests/dist/ranks.h"
#include "tests/gpu.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

class GpuRankTest : public ::testing::TestWithParam<int64_t> {};

TEST_P(GpuRankTest, OneRankOverNcclIsTheRunAlone) {
  CKV_NEEDS_GPU();
  const TempDir dir;
  const std::string data = dir.File("data");
  WriteTinyDataset(data, 2000);
  ParallelRunOptions options;
  options.train = ParallelTraining(6);
  options.train.micro_batch_size = 4;
  options.dist.zero = GetParam();
  options.dist.bucket_mb = 0.01;
  const at::Device device(at::kCUDA, 0);
  ParallelRun alone(nullptr, data, options, device);
  alone.Train();
  Launch launch;
  launch.master = "127.0.0.1";
  launch.port = FreePort();
  CommGroup group(launch, options.dist, device);
  EXPECT_EQ(group.backend(), "nccl");
  ParallelRun ranked(&group, data, options, device);
  ranked.Train();
  const NamedTensors want = alone.WholeWeights();
  const NamedTensors got = ranked.WholeWeights();
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_LT(MaxAbsDiff(want[i].second, got[i].second), 1e-10) << want[i].first;
  }
  EXPECT_EQ(alone.state.tokens, ranked.state.tokens);
  EXPECT_GT(group.traffic().summed, 0);
}

INSTANTIATE_TEST_SUITE_P(Stages, GpuRankTest, ::testing::Values(0, 1, 2, 3));

}  // namespace
}  // namespace ckv
