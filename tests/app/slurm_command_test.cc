// The batch file of `ckv slurm`: what it asks Slurm for, and that a shell reads it as meant.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "app/slurm_script.h"
#include "base/error.h"
#include "base/file.h"
#include "tests/app/run_program.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class SlurmCommandTest : public ::testing::Test {
 protected:
  SlurmCommandTest() {
    WriteFileAtomically(config_,
                        "model: {num_layers: 2, hidden_size: 16, num_attention_heads: 2}\n"
                        "data: {train: set}\ntrain: {batch_size: 8}\n");
  }
  TempDir dir_;
  std::string config_ = dir_.File("a run.yaml");
};

TEST_F(SlurmCommandTest, AsksForWhatTheOptionsSay) {
  const ProgramResult result =
      RunCkv({"slurm", config_, "--set", "run.dir=" + dir_.File("it's"), "--nodes", "2",
              "--ranks-per-node", "4", "--time", "2-00:00:00", "--partition", "gpu", "--warning",
              "60", "--cpus-per-rank", "8"});
  EXPECT_EQ(result.exit_code, kExitOk) << result.err;
  for (const char* line :
       {"#!/bin/bash\n", "--nodes=2\n", "--ntasks-per-node=4\n", "--gpus-per-node=4\n",
        "--time=2-00:00:00\n", "--partition=gpu\n", "--signal=USR1@60\n", "--requeue\n",
        "--cpus-per-task=8\n", "srun --kill-on-bad-exit=1 ckv train '", "[ \"$code\" -eq 138 ]"}) {
    EXPECT_THAT(result.out, HasSubstr(line));
  }
  EXPECT_THAT(result.out, Not(HasSubstr("--account")));
}

// A shell in which srun only prints its arguments.
TEST_F(SlurmCommandTest, AShellReadsEveryWordAsItWasGiven) {
  const std::string folder = dir_.File("it's 5%j $HOME \"x\"");
  const std::string odd = "run.dir=" + folder;
  const std::string script = dir_.File("job.sh");
  ASSERT_EQ(RunCkv({"slurm", config_, "--set", odd, "--cpu", "--out", script}).exit_code, kExitOk);
  EXPECT_THAT(ReadFile(script), Not(HasSubstr("gpus")));
  EXPECT_THAT(ReadFile(script), HasSubstr("5%%j $HOME \"x\"/slurm-%j.log'\n"));
  EXPECT_TRUE(IsDirectory(folder));  // Slurm makes none for its output
  const ProgramResult shell = RunProcess(
      {"/bin/bash", "-c",
       Str("srun() { for word in \"$@\"; do echo \"<$word>\"; done; }; source ", script)});
  EXPECT_EQ(shell.exit_code, 0) << shell.err;
  EXPECT_EQ(shell.out,
            Str("<--kill-on-bad-exit=1>\n<ckv>\n<train>\n<", config_, ">\n<--set>\n<", odd, ">\n"));
}

TEST_F(SlurmCommandTest, TheWarningPutsTheJobBackIntoTheQueue) {
  const std::string script = dir_.File("job.sh");
  ASSERT_EQ(
      RunCkv({"slurm", config_, "--set", "run.dir=" + dir_.File("run"), "--out", script}).exit_code,
      kExitOk);
  for (const auto& [code, requeued] :
       {std::pair(138, true), {143, false}, {0, false}, {1, false}}) {
    const ProgramResult shell =
        RunProcess({"/bin/bash", "-c",
                    Str("SLURM_JOB_ID=7; srun() { return ", code,
                        "; }; scontrol() { echo \"$@\"; }; sleep() { exit \"$code\"; }; source ",
                        script)});  // Slurm ends the script while it sleeps
    EXPECT_EQ(shell.exit_code, code);
    EXPECT_EQ(shell.out, requeued ? "requeue 7\n" : "");
  }
}

TEST_F(SlurmCommandTest, FaultsShowBeforeTheJobStarts) {
  EXPECT_THAT(CkvError(kExitConfig, {"slurm", config_, "--nodes", "0"}), HasSubstr("--nodes"));
  EXPECT_THAT(CkvError(kExitConfig, {"slurm", config_, "--nodes", "3", "--ranks-per-node", "3"}),
              HasSubstr("9 ranks, but train.batch_size gives work to 8 only"));
  for (const char* time : {"soon", "::--", "1-", "1:2:3:4"}) {
    EXPECT_THAT(CkvError(kExitConfig, {"slurm", config_, "--time", time}),
                HasSubstr(Str("'", time, "' is not a time")));
  }
  EXPECT_THAT(CkvError(kExitConfig, {"slurm", config_, "--nodes", "4294967296", "--ranks-per-node",
                                     "4294967296"}),
              HasSubstr("each must be at most 1048576"));
  EXPECT_THAT(CkvError(kExitConfig, {"slurm", config_, "--warning", "99999999"}),
              HasSubstr("at most 65535"));
  EXPECT_THAT(CkvError(kExitConfig, {"slurm", config_, "--partition", "a\nb"}),
              HasSubstr("--partition: has a line break"));
  EXPECT_THAT(CkvError(kExitConfig, {"slurm", config_, "--set", "dist.zero=4"}),
              HasSubstr("dist.zero"));
}

TEST(ShellWordTest, OnlyOddWordsAreQuoted) {
  EXPECT_EQ(ShellWord("a/b-c_d.yaml"), "a/b-c_d.yaml");
  EXPECT_EQ(ShellWord(""), "''");
  EXPECT_EQ(ShellWord("a b"), "'a b'");
  EXPECT_EQ(ShellWord("it's"), "'it'\\''s'");
}

}  // namespace
}  // namespace ckv
