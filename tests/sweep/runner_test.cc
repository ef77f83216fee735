// The runner with a shell script in the place of ckv; tests/app has the program itself.
#include "sweep/runner.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "base/log.h"
#include "sweep/child.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Does what the value of "do" asks for, and counts its calls in the run's folder.
constexpr char kScript[] = R"(#!/bin/sh
for word in "$@"; do
  case $word in
    run.dir=*) run=${word#run.dir=} ;;
    do=*) what=${word#do=} ;;
    after=*) run=${word#after=} what=ok ;;
    order) order=$run/../../order ;;
  esac
done
echo "$1" >> "$run/calls"
[ -z "$order" ] || { echo "begin $1" >> "$order"; sleep 0.02; echo "end $1" >> "$order"; }
case $what in
  diverge) echo "error: step 3: the loss is not finite" >&2; exit 5 ;;
  memory) echo "error: CUDA out of memory" >&2; exit 1 ;;
  fail) echo "error: no such file" >&2; exit 4 ;;
  nap) sleep 0.3 ;;
  kill) [ -e "$run/killed" ] || { touch "$run/killed"; kill -9 $$; } ;;
  slow) trap 'exit 143' TERM; [ -e "$run/stopped" ] || { touch "$run/stopped"; sleep 30 & wait; } ;;
  threads) echo "$OMP_NUM_THREADS $CUDA_VISIBLE_DEVICES$RANK" > "$run/env" ;;
esac
echo '{"valid_loss": 2}' > "$run/result.json"
)";

class RunnerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    SetLogLevel(LogLevel::kError);
    WriteFileAtomically(dir_.File("ckv.sh"), kScript);
    ::chmod(dir_.File("ckv.sh").c_str(), 0755);
    config_.name = "s";
    config_.dir = dir_.path();
    config_.config = "run.yaml";
    config_.parallel = 3;
    options_.program = dir_.File("ckv.sh");
    options_.poll_s = 0.002;
  }
  void TearDown() override { SetLogLevel(LogLevel::kInfo); }

  void AddPoint(const std::string& what) {
    SweepPoint point;
    point.id = Str(what, points_.size());
    point.label = what;
    point.sets = {"do=" + what};
    point.hash = points_.size();
    points_.push_back(point);
  }
  std::string File(size_t point, const std::string& name) const {
    return JoinPath(JoinPath(config_.RunsDir(), points_[point].id), name);
  }
  std::string Status(size_t point, const std::string& stage = "train") const {
    const PointState state = StateOf(config_, points_[point]);
    const StageState* found = state.FindStage(stage);
    return found == nullptr ? "none" : StageStatusName(found->status);
  }
  int64_t Calls(size_t point) const {
    const std::string text = ReadFile(File(point, "calls"));
    return std::count(text.begin(), text.end(), '\n');
  }

  TempDir dir_;
  SweepConfig config_;
  std::vector<SweepPoint> points_;
  RunnerOptions options_;
};

TEST_F(RunnerTest, RecordsHowPointsEndAndGoesOn) {
  for (const char* what : {"ok", "diverge", "memory", "fail", "kill", "ok"}) AddPoint(what);
  const SweepCounts counts = RunSweep(config_, points_, options_);
  EXPECT_EQ(counts.done, 2);
  EXPECT_EQ(counts.failed, 4);
  EXPECT_EQ(Status(0), "done");
  EXPECT_EQ(Status(1), "diverged");
  EXPECT_EQ(Status(2), "out of memory");
  EXPECT_EQ(Status(3), "failed");
  EXPECT_EQ(Status(4), "killed");
  EXPECT_EQ(Status(5), "done");
  EXPECT_EQ(StateOf(config_, points_[1]).stages[0].message,
            "error: step 3: the loss is not finite");
  EXPECT_EQ(StateOf(config_, points_[4]).stages[0].message, "killed by signal 9");

  // Again: done points are known, the killed and the failed one are run, the others are left.
  const SweepCounts again = RunSweep(config_, points_, options_);
  EXPECT_EQ(again.done, 3);
  EXPECT_EQ(Calls(0), 1);
  EXPECT_EQ(Calls(1), 1);
  EXPECT_EQ(Calls(2), 1);
  EXPECT_EQ(Calls(3), 2);
  EXPECT_EQ(Calls(4), 2);
  EXPECT_EQ(Status(4), "done");

  options_.retry = true;
  RunSweep(config_, points_, options_);
  EXPECT_EQ(Calls(0), 1);
  EXPECT_EQ(Calls(1), 2);
  EXPECT_EQ(Calls(2), 2);
}

TEST_F(RunnerTest, StagesFollowEachOtherAndRunAgainWhenTheyChange) {
  AddPoint("ok");
  AddPoint("diverge");
  config_.stages = {{"eval", {"eval", "after={run}", "--out", "{out}"}, 0, {}, false},
                    {"bench", {"bench", "after={run}"}, 0, {}, false}};
  EXPECT_EQ(RunSweep(config_, points_, options_).done, 1);
  EXPECT_EQ(ReadFile(File(0, "calls")), "train\neval\nbench\n");
  EXPECT_EQ(ReadFile(File(1, "calls")), "train\n");
  EXPECT_EQ(Status(0, "bench"), "done");
  EXPECT_EQ(Status(1, "eval"), "none");
  EXPECT_THAT(StageArguments(config_, points_[0], "eval"),
              ElementsAre("eval", HasSubstr("after="), "--out", File(0, "eval.json")));
  // A later stage alone, and what comes behind a changed one.
  config_.stages[1].command.push_back("more");
  RunSweep(config_, points_, options_);
  EXPECT_EQ(ReadFile(File(0, "calls")), "train\neval\nbench\nbench\n");
  config_.stages[0].command.push_back("more");
  RunSweep(config_, points_, options_);
  EXPECT_EQ(ReadFile(File(0, "calls")), "train\neval\nbench\nbench\neval\nbench\n");
}

TEST_F(RunnerTest, StagesThatMeasureSpeedRunAlone) {
  for (const char* what : {"ok", "fail", "ok", "ok"}) AddPoint(what);
  SweepStage eval;
  eval.name = "eval";
  eval.command = {"eval", "after={run}", "order"};
  SweepStage bench = eval;
  bench.name = "bench";
  bench.command = {"bench", "after={run}", "order"};
  bench.alone = true;
  SweepStage last = eval;
  last.name = "last";
  config_.stages = {eval, bench, last};
  EXPECT_EQ(RunSweep(config_, points_, options_).done, 3);
  EXPECT_EQ(Calls(1), 1);  // what failed is not tried again by the same sweep
  // All points are trained and evaluated before one is measured, and then none overlaps another.
  const std::string order = ReadFile(dir_.File("order"));
  const size_t first = order.find("begin bench");
  ASSERT_NE(first, std::string::npos);
  EXPECT_EQ(std::string(order, 0, first).find("bench"), std::string::npos);
  EXPECT_EQ(std::string(order, first),
            "begin bench\nend bench\nbegin eval\nend eval\nbegin bench\nend bench\nbegin eval\nend "
            "eval\nbegin bench\nend bench\nbegin eval\nend eval\n");
  EXPECT_EQ(ReadFile(File(0, "calls")), "train\neval\nbench\neval\n");
}

TEST_F(RunnerTest, AChangedConfigurationIsAnotherPoint) {
  AddPoint("ok");
  RunSweep(config_, points_, options_);
  points_[0].hash = 77;
  RunSweep(config_, points_, options_);
  EXPECT_EQ(Calls(0), 2);
}

TEST_F(RunnerTest, ATimeoutStopsAPoint) {
  AddPoint("slow");
  config_.train_timeout_s = 1;
  RunSweep(config_, points_, options_);
  EXPECT_EQ(Status(0), "timed out");
}

TEST_F(RunnerTest, PointsGetThreadsAndDevicesOfTheirPlace) {
  for (int i = 0; i < 3; ++i) AddPoint("threads");
  config_.threads = 5;
  config_.gpus = {"a", "b", "c"};
  RunSweep(config_, points_, options_);
  for (size_t i = 0; i < 3; ++i) {
    const std::string text = ReadFile(File(i, "env"));
    EXPECT_THAT(text, HasSubstr("5 "));
    EXPECT_TRUE(text == "5 a\n" || text == "5 b\n" || text == "5 c\n") << text;
  }
}

// What a launcher such as torchrun does: the program's end is in its log, its own is 1.
constexpr char kLauncher[] = R"sh(#!/bin/sh
shift
"$@" && exit 0
code=$?
echo "failed (exitcode: 77)" >&2
echo "Root Cause (first observed failure):" >&2
echo "  exitcode  : $code (pid: 12)" >&2
echo "=====" >&2
exit 1
)sh";

TEST_F(RunnerTest, ALauncherStartsThePointsAndTellsHowTheyEnd) {
  WriteFileAtomically(dir_.File("launch.sh"), kLauncher);
  ::chmod(dir_.File("launch.sh").c_str(), 0755);
  for (const char* what : {"ok", "diverge", "memory", "fail"}) AddPoint(what);
  config_.train_launcher = {dir_.File("launch.sh"), "--ranks"};
  config_.stages = {{"eval", {"eval", "after={run}"}, 0, {dir_.File("launch.sh"), "word"}, false},
                    {"bench", {"bench", "after={run}"}, 0, {}, false}};
  EXPECT_EQ(RunSweep(config_, points_, options_).done, 1);
  EXPECT_EQ(ReadFile(File(0, "calls")), "train\neval\nbench\n");
  EXPECT_EQ(Status(1), "diverged");
  EXPECT_EQ(Status(2), "out of memory");
  EXPECT_EQ(Status(3), "failed");
  const StageState failed = StateOf(config_, points_[3]).stages[0];
  EXPECT_EQ(failed.exit_code, 4);
  EXPECT_EQ(failed.message, "error: no such file");
  config_.train_launcher = {"no-such-launcher"};
  AddPoint("ok");
  EXPECT_THAT(ErrorOf([&] { RunSweep(config_, points_, options_); }),
              HasSubstr("train_launcher: there is no program 'no-such-launcher'"));
}

TEST(FirstFailedRank, IsReadFromTheEndOfTorchrunsLog) {
  EXPECT_EQ(FirstFailedRank("error: x\n"), std::nullopt);
  EXPECT_EQ(FirstFailedRank("Root Cause:\n  exitcode  : -9 (pid: 3)\n"), 137);
  EXPECT_EQ(FirstFailedRank("exitcode : 1\nRoot Cause:\n exitcode  : 5 (pid: 3)\n"), 5);
}

// As one of the processes that a launcher started.
TEST_F(RunnerTest, ARankOfASweepGivesItsPointsItsOwnGpus) {
  for (int i = 0; i < 2; ++i) AddPoint("threads");
  ::setenv("RANK", "7", 1);
  options_.unset = {"RANK"};
  options_.local_rank = 1;
  options_.local_world = 2;
  options_.gpu = "g";
  config_.parallel = 1;
  RunSweep(config_, points_, options_);
  EXPECT_EQ(ReadFile(File(0, "env")), " g\n");
  AddPoint("threads");
  config_.gpus = {"a"};
  EXPECT_THAT(ErrorOf([&] { RunSweep(config_, points_, options_); }),
              HasSubstr("gpus: has 1 entries, but 2 points run at once on this host"));
  config_.gpus = {"a", "b"};
  RunSweep(config_, points_, options_);
  EXPECT_EQ(ReadFile(File(2, "env")), " b\n");
  ::unsetenv("RANK");
}

TEST_F(RunnerTest, RanksOfASweepDoEachPointOnce) {
  // What fails comes when all have begun.
  for (int i = 0; i < 9; ++i) AddPoint(i < 4 ? "nap" : i == 4 ? "fail" : "ok");
  config_.parallel = 1;
  options_.shared = true;
  std::vector<pid_t> ranks;
  for (int rank = 0; rank < 3; ++rank) {
    ranks.push_back(::fork());
    if (ranks.back() != 0) continue;
    int code = 9;
    try {
      const SweepCounts counts = RunSweep(config_, points_, options_);
      code = counts.done == 8 && counts.failed == 1 && counts.elsewhere == 0 ? 0 : 8;
    } catch (const Error& error) {
      code = error.exit_code();
    }
    ::_exit(code);
  }
  for (const pid_t rank : ranks) {
    int status = 0;
    ASSERT_EQ(::waitpid(rank, &status, 0), rank);
    EXPECT_EQ(WEXITSTATUS(status), 0);  // each knows how all ended
  }
  for (size_t i = 0; i < points_.size(); ++i) EXPECT_EQ(Calls(i), 1) << i;
}

TEST_F(RunnerTest, WhatARankLeavesInTheMidstIsTakenOver) {
  AddPoint("slow");
  AddPoint("ok");
  config_.parallel = 1;
  options_.shared = true;
  const pid_t rank = ::fork();
  ASSERT_GE(rank, 0);
  if (rank == 0) {
    RunSweep(config_, points_, options_);
    ::_exit(0);
  }
  for (int i = 0; i < 5000 && !FileExists(File(0, "stopped")); ++i) ::usleep(2000);
  std::thread killer([&] {
    ::usleep(700000);
    ::kill(rank, SIGKILL);
    ::waitpid(rank, nullptr, 0);
  });
  const SweepCounts counts = RunSweep(config_, points_, options_);
  killer.join();
  EXPECT_EQ(counts.done, 2);
  EXPECT_EQ(Calls(0), 2);
}

TEST_F(RunnerTest, OnlyTheNumberedPoints) {
  for (int i = 0; i < 3; ++i) AddPoint("ok");
  options_.indices = {1};
  EXPECT_EQ(RunSweep(config_, points_, options_).done, 1);
  EXPECT_EQ(Status(0), "none");
  EXPECT_EQ(Status(1), "done");
  options_.indices = {3};
  EXPECT_THAT(ErrorOf([&] { RunSweep(config_, points_, options_); }),
              HasSubstr("--point: 3, but there are 3 points"));
}

// In a process of its own, since the signal stays noted.
TEST_F(RunnerTest, ASignalLetsPointsSaveAndTheSweepGoOn) {
  for (const char* what : {"slow", "slow", "slow", "ok", "ok"}) AddPoint(what);
  config_.parallel = 2;
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    int code = 0;
    try {
      RunSweep(config_, points_, options_);
    } catch (const Error& error) {
      code = error.exit_code();
    }
    ::_exit(code);
  }
  for (int i = 0; i < 5000 && !(FileExists(File(0, "stopped")) && FileExists(File(1, "stopped")));
       ++i) {
    ::usleep(2000);
  }
  ::usleep(50000);  // the scripts' traps stand before they make the file; their sleeps do not
  ::kill(child, SIGTERM);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 143);
  EXPECT_EQ(Status(0), "interrupted");
  EXPECT_EQ(Status(2), "none");
  // The third point is slow in its first run only, so it is begun by hand.
  MakeDirs(DirName(File(2, "x")));
  WriteFileAtomically(File(2, "stopped"), "");
  EXPECT_EQ(RunSweep(config_, points_, options_).done, 5);
  EXPECT_EQ(Calls(0), 2);
}

TEST_F(RunnerTest, SlurmScript) {
  config_.slurm.options = {"--partition=gpu", "--gres=gpu:1"};
  config_.slurm.setup = {"module load cuda"};
  config_.slurm.max_running = 4;
  const std::string script = SlurmScript(config_, "/a b/s.yaml", 12, "/bin/ckv");
  EXPECT_THAT(script, HasSubstr("#SBATCH --array=0-11%4\n"));
  EXPECT_THAT(script, HasSubstr("#SBATCH --gres=gpu:1\n"));
  EXPECT_THAT(script, HasSubstr("module load cuda\n"));
  EXPECT_THAT(script,
              HasSubstr("exec '/bin/ckv' sweep '/a b/s.yaml' --point \"$SLURM_ARRAY_TASK_ID\"\n"));
}

}  // namespace
}  // namespace ckv
