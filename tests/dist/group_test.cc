#include "dist/group.h"

#include <unistd.h>

#include <csignal>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "base/error.h"
#include "dist/backend.h"
#include "tests/dist/error_of.h"
#include "tests/dist/ranks.h"

namespace ckv {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class GroupTest : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override { CKV_NEEDS_GLOO(); }
};

TEST_P(GroupTest, CollectivesGiveWhatTheyPromise) {
  ExpectRanks(GetParam(), [](CommGroup* group) {
    const int world = group->world();
    const int rank = group->rank();
    for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16, at::kLong}) {
      const Tensor sum = at::full({5}, rank + 1, at::dtype(type));
      group->Sum(sum, "sum");
      CKV_EXPECT_IN_RANK(sum.eq(world * (world + 1) / 2).all().item<bool>());

      const Tensor all = at::arange(3 * world, at::dtype(type));
      const Tensor part = all.narrow(0, 3 * rank, 3);
      group->StartReduceScatter(part, all, "scatter").Wait();
      CKV_EXPECT_IN_RANK(
          part.equal((at::arange(3 * rank, 3 * rank + 3, at::dtype(type)) * world).to(type)));

      const Tensor gathered = at::zeros({2 * world}, at::dtype(type));
      const Tensor own = gathered.narrow(0, 2 * rank, 2);
      own.fill_(rank);
      group->StartAllGather(gathered, own, "gather").Wait();
      for (int r = 0; r < world; ++r) {
        CKV_EXPECT_IN_RANK(gathered.narrow(0, 2 * r, 2).eq(r).all().item<bool>());
      }
    }
    const Tensor sent = at::full({3}, rank);
    group->Broadcast(sent, world - 1);
    CKV_EXPECT_IN_RANK(sent.eq(world - 1).all().item<bool>());
    std::vector<std::string> expected;
    for (int r = 0; r < world; ++r) expected.emplace_back(static_cast<size_t>(r), 'x');
    CKV_EXPECT_IN_RANK(group->Gather(std::string(static_cast<size_t>(rank), 'x')) == expected);
  });
}

INSTANTIATE_TEST_SUITE_P(Worlds, GroupTest, ::testing::Values(1, 2, 3, 4));

class GroupFaultTest : public ::testing::Test {
 protected:
  void SetUp() override { CKV_NEEDS_GLOO(); }
};

TEST_F(GroupFaultTest, AFaultOfOneRankIsThatOfAll) {
  const std::vector<RankEnd> ends = RunRanks(3, [](CommGroup* group) {
    group->Together([&] {
      if (group->rank() == 1) throw FormatError("a.bin", "", "is broken");
    });
  });
  EXPECT_EQ(ends[0].exit_code, kExitFormat);
  EXPECT_EQ(ends[0].message, "rank 1: a.bin: is broken");
  EXPECT_EQ(ends[1].message, "a.bin: is broken");
  EXPECT_EQ(ends[2].exit_code, kExitFormat);
}

TEST_F(GroupFaultTest, ARankThatDiesEndsTheOthersWithRankAndStep) {
  const std::vector<RankEnd> ends = RunRanks(3, [](CommGroup* group) {
    group->SetStep(12);
    if (group->rank() == 1) ::raise(SIGKILL);
    for (int i = 0; i < 1000; ++i) group->Sum(at::zeros({100}), "the sum of gradients");
  });
  EXPECT_EQ(ends[1].exit_code, 128 + SIGKILL);
  for (const size_t rank : {size_t{0}, size_t{2}}) {
    EXPECT_EQ(ends[rank].exit_code, kExitDist);
    EXPECT_THAT(ends[rank].message,
                StartsWith(Str("rank ", rank, " of 3, step 12: the sum of gradients failed: ")));
  }
}

TEST_F(GroupFaultTest, ARankThatHangsEndsTheOthersWithinTheTimeout) {
  RanksOptions options;
  options.config.timeout_s = 1.0;
  options.limit_s = 8.0;
  const std::vector<RankEnd> ends = RunRanks(
      2,
      [](CommGroup* group) {
        group->SetStep(3);
        if (group->rank() == 1) ::sleep(60);
        group->Sum(at::zeros({100}), "the sum of gradients");
      },
      options);
  EXPECT_EQ(ends[0].exit_code, kExitDist);
  EXPECT_THAT(ends[0].message,
              AllOf(HasSubstr("rank 0 of 2, step 3: the sum of gradients"), HasSubstr("1000ms")));
}

TEST_F(GroupFaultTest, RanksThatDoNotComeAreNotWaitedForForEver) {
  Launch launch;
  launch.rank = 1;
  launch.world = 2;
  launch.master = "127.0.0.1";
  launch.port = FreePort();
  DistConfig config;
  config.timeout_s = 1.0;
  EXPECT_THAT(ThrownBy([&] { CommGroup(launch, config, at::kCPU); }),
              AllOf(StartsWith("6: rank 1 of 2: cannot reach 127.0.0.1:"), HasSubstr("MASTER_")));
}

// A name that means this host alone is of no use to other hosts.
TEST(GroupConfig, ALoopbackAddressIsForOneHostOnly) {
  Launch launch;
  launch.master = "localhost";
  launch.port = 9;
  launch.world = launch.local_world = 2;
  EXPECT_THAT(LocalAddress(launch), ::testing::AnyOf(StartsWith("127."), "::1"));
  launch.master = "no-such-host.invalid";
  EXPECT_THAT(ThrownBy([&] { LocalAddress(launch); }),
              HasSubstr("MASTER_ADDR: the host 'no-such-host.invalid' is not known"));
}

TEST(GroupConfig, BackendsThatDoNotGoWithTheDeviceAreRefused) {
  DistConfig config;
  config.backend = "nccl";
  EXPECT_EQ(ThrownBy([&] { ChooseBackend(config, at::kCPU); }),
            "2: dist.backend: is nccl, which needs GPUs, but run.device is a CPU");
  config.backend = "gloo";
  EXPECT_THAT(ThrownBy([&] { ChooseBackend(config, at::Device(at::kCUDA, 0)); }),
              HasSubstr("is gloo, which serves CPUs"));
}

}  // namespace
}  // namespace ckv
