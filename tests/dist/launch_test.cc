#include "dist/launch.h"

#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/dist/error_of.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;

Environment Given(std::map<std::string, std::string> values) {
  return [values = std::move(values)](const std::string& name) {
    const auto found = values.find(name);
    return found == values.end() ? std::nullopt : std::optional<std::string>(found->second);
  };
}

std::string FaultOf(std::map<std::string, std::string> values) {
  return ThrownBy([&] { FindLaunch(Given(std::move(values))); });
}

const std::map<std::string, std::string> kByHand = {
    {"RANK", "1"}, {"WORLD_SIZE", "3"}, {"MASTER_ADDR", "node1"}, {"MASTER_PORT", "2950"}};

TEST(Launch, WithoutALauncherTheProcessIsAlone) {
  EXPECT_FALSE(FindLaunch(Given({})).has_value());
  EXPECT_FALSE(FindLaunch(Given({{"MASTER_ADDR", "x"}})).has_value());
}

TEST(Launch, VariablesSetByHand) {
  const Launch launch = FindLaunch(Given(kByHand)).value();
  EXPECT_EQ(launch.rank, 1);
  EXPECT_EQ(launch.world, 3);
  EXPECT_EQ(launch.master, "node1");
  EXPECT_EQ(launch.port, 2950);
  EXPECT_FALSE(launch.has_store);
}

TEST(Launch, EachStartByTorchrunHasKeysOfItsOwn) {
  auto values = kByHand;
  values["TORCHELASTIC_RUN_ID"] = "none";
  values["TORCHELASTIC_USE_AGENT_STORE"] = "True";
  values["TORCHELASTIC_RESTART_COUNT"] = "4";
  values["LOCAL_RANK"] = "1";
  values["LOCAL_WORLD_SIZE"] = "2";
  const Launch launch = FindLaunch(Given(values)).value();
  EXPECT_TRUE(launch.has_store);
  EXPECT_EQ(launch.launcher, "torchrun");
  EXPECT_EQ(launch.restarts, 4);
  EXPECT_EQ(launch.local_world, 2);
  values["TORCHELASTIC_RESTART_COUNT"] = "5";
  EXPECT_NE(FindLaunch(Given(values))->prefix, launch.prefix);
}

const std::map<std::string, std::string> kSlurm = {{"SLURM_PROCID", "5"},
                                                   {"SLURM_STEP_NUM_TASKS", "8"},
                                                   {"SLURM_LOCALID", "1"},
                                                   {"SLURM_STEP_TASKS_PER_NODE", "4(x2)"},
                                                   {"SLURM_JOB_ID", "77"},
                                                   {"SLURM_STEP_ID", "0"},
                                                   {"SLURM_STEP_NODELIST", "gpu[07-08]"}};

TEST(Launch, SlurmWithinSrun) {
  const Launch launch = FindLaunch(Given(kSlurm)).value();
  EXPECT_EQ(launch.rank, 5);
  EXPECT_EQ(launch.world, 8);
  EXPECT_EQ(launch.local_rank, 1);
  EXPECT_EQ(launch.local_world, 4);
  EXPECT_EQ(launch.master, "gpu07");
  auto requeued = kSlurm;
  requeued["SLURM_RESTART_COUNT"] = "1";
  EXPECT_EQ(FindLaunch(Given(requeued))->restarts, 1);
  EXPECT_NE(FindLaunch(Given(requeued))->prefix, launch.prefix);
  // An interactive step, and a job of a federation.
  auto large = kSlurm;
  large["SLURM_STEP_ID"] = "4294967290";
  large["SLURM_JOB_ID"] = "1073741825";
  const int port = FindLaunch(Given(large))->port;
  EXPECT_GE(port, 15000);
  EXPECT_LT(port, 30000);
  large["SLURM_JOB_ID"] = "7a";
  EXPECT_EQ(FaultOf(large), "2: SLURM_JOB_ID: is '7a', but must be a whole number");
}

// A batch script has SLURM_PROCID 0 and SLURM_NTASKS, but is one process.
TEST(Launch, ABatchScriptWithoutSrunIsAlone) {
  EXPECT_FALSE(FindLaunch(Given({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "8"}})).has_value());
}

TEST(Launch, RankCountsBeforeSlurm) {
  auto values = kSlurm;
  values.insert(kByHand.begin(), kByHand.end());
  EXPECT_EQ(FindLaunch(Given(values))->world, 3);
}

TEST(Launch, FaultsAreNamedByVariable) {
  for (const char* missing : {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}) {
    auto values = kByHand;
    values.erase(missing);
    EXPECT_EQ(FaultOf(values),
              Str("2: ", missing, ": is not set, but other variables of a launcher are"));
  }
  const auto with = [](const std::string& name, const std::string& value) {
    auto values = kByHand;
    values[name] = value;
    return FaultOf(values);
  };
  EXPECT_EQ(with("RANK", "one"), "2: RANK: is 'one', but must be a whole number below 10^9");
  EXPECT_EQ(with("RANK", "-1"), "2: RANK: is '-1', but must be a whole number below 10^9");
  EXPECT_EQ(with("RANK", "3"), "2: RANK: is 3, but must be below WORLD_SIZE, which is 3");
  EXPECT_EQ(with("WORLD_SIZE", "0"), "2: WORLD_SIZE: is 0, but must be at least 1");
  EXPECT_EQ(with("MASTER_PORT", "70000"), "2: MASTER_PORT: is 70000, but must be from 1 to 65535");
  EXPECT_THAT(with("WORLD_SIZE", "99999999999"), HasSubstr("must be a whole number"));
}

// A process of which all these are taken away is alone.
TEST(Launch, VariablesCoverBothLaunchers) {
  for (auto values : {kByHand, kSlurm}) {
    ASSERT_TRUE(FindLaunch(Given(values)).has_value());
    for (const std::string& name : LaunchVariables()) values.erase(name);
    EXPECT_FALSE(FindLaunch(Given(values)).has_value());
  }
}

TEST(Launch, FirstHostOfASlurmList) {
  EXPECT_EQ(FirstHost("a"), "a");
  EXPECT_EQ(FirstHost("a,b"), "a");
  EXPECT_EQ(FirstHost("gpu[07-09,12],login"), "gpu07");
  EXPECT_EQ(FirstHost("r[1,3]n[04-05].x"), "r1n04.x");
  EXPECT_EQ(ThrownBy([] { FirstHost(",a"); }), "2: SLURM_STEP_NODELIST: ',a' has no host");
}

}  // namespace
}  // namespace ckv
