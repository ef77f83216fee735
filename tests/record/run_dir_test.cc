#include "record/run_dir.h"

#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/temp_dir.h"

namespace ckv {
namespace {

RunSession SomeSession() {
  RunSession session;
  session.command = {"ckv", "train", "a b.yaml"};
  session.device = "cpu (2 threads)";
  session.versions = {{"libtorch", "2.11.0"}};
  session.seed = 18446744073709551615ULL;
  return session;
}

TEST(DefaultRunDir, TakesPlainNamesOnly) {
  EXPECT_EQ(DefaultRunDir("halves", "cla-2"), "experiments/halves/runs/cla-2");
  EXPECT_EQ(ErrorOf([] { DefaultRunDir("a/b", "x"); }),
            "2: the study's name is 'a/b', but must be the name of a folder, without '/'");
  EXPECT_EQ(ErrorOf([] { DefaultRunDir("a", ".."); }),
            "2: the run's name is '..', but must be the name of a folder, without '/'");
}

TEST(RunDir, RefusesASecondProcessAndNamesTheFirst) {
  TempDir dir;
  const std::string path = dir.File("study/runs/x");
  {
    const RunDir run(path);
    EXPECT_EQ(
        ErrorOf([&] {
          RunDir second(path);
        }).find(Str("4: ", path, ": another process works on this run: pid ", ::getpid(), " on ")),
        0u);
  }
  EXPECT_EQ(ErrorOf([&] { RunDir again(path); }), "");
}

// A lock must not outlive its process, however that ends.
TEST(RunDir, IsFreeAfterAKill) {
  TempDir dir;
  const std::string path = dir.File("x");
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const RunDir run(path);
    if (::write(ready[1], "x", 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_NE(ErrorOf([&] { RunDir run(path); }).find(Str("pid ", child, " on ")), std::string::npos);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(ErrorOf([&] { RunDir run(path); }), "");
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST(RunDir, MovesItsLock) {
  TempDir dir;
  RunDir one(dir.File("x"));
  const RunDir two(std::move(one));
  EXPECT_NE(ErrorOf([&] { RunDir third(dir.File("x")); }), "");
}

TEST(RunDir, RecordsHowItWasStarted) {
  TempDir dir;
  RunDir run(dir.path());
  run.RecordSession(SomeSession());
  const Json json = ReadJsonFile(run.File("run.json"));
  EXPECT_EQ(json["command"], Json::array({"ckv", "train", "a b.yaml"}));
  EXPECT_EQ(json["device"], "cpu (2 threads)");
  EXPECT_EQ(json["versions"]["libtorch"], "2.11.0");
  EXPECT_EQ(json["seed"].get<uint64_t>(), 18446744073709551615ULL);
  EXPECT_EQ(json["revision"], CodeRevision());
  EXPECT_EQ(json["start_time"].get<std::string>().size(), 20u);
  EXPECT_EQ(json["sessions"].size(), 1u);
  EXPECT_EQ(json["sessions"][0]["pid"], ::getpid());
}

TEST(RunDir, AppendsASessionAtEachResume) {
  TempDir dir;
  RunDir run(dir.path());
  run.RecordSession(SomeSession());
  RunSession second = SomeSession();
  second.start_step = 500;
  second.command = {"ckv", "\xff"};  // not UTF-8
  run.RecordSession(second);
  const Json json = ReadJsonFile(run.File("run.json"));
  EXPECT_EQ(json["command"][1], "train");
  ASSERT_EQ(json["sessions"].size(), 2u);
  EXPECT_EQ(json["sessions"][1]["start_step"], 500);
}

TEST(RunDir, RefusesAForeignRunJson) {
  TempDir dir;
  RunDir run(dir.path());
  WriteFileAtomically(run.File("run.json"), "[]");
  EXPECT_EQ(
      ErrorOf([&] { run.RecordSession(SomeSession()); }),
      Str("3: ", run.File("run.json"), ": is not the record of a run: it has no list 'sessions'"));
}

TEST(RunDir, KeepsConfigAndResult) {
  TempDir dir;
  RunDir run(dir.path());
  EXPECT_EQ(run.ReadConfig(), std::nullopt);
  EXPECT_FALSE(run.HasResult());
  run.WriteConfig("model: {}\n");
  run.WriteResult({{"valid_loss", 2.5}, {"a", 1}});
  EXPECT_EQ(run.ReadConfig(), "model: {}\n");
  EXPECT_TRUE(run.HasResult());
  EXPECT_EQ(ReadFile(run.File("result.json")), "{\n  \"valid_loss\": 2.5,\n  \"a\": 1\n}\n");
}

TEST(CodeRevision, IsKnownOrSaysSo) { EXPECT_GE(CodeRevision().size(), 7u); }

}  // namespace
}  // namespace ckv
