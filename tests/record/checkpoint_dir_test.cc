#include "record/checkpoint_dir.h"

#include <gtest/gtest.h>

#include "tests/temp_dir.h"

namespace ckv {
namespace {

void Save(CheckpointDir& checkpoints, int64_t step, const std::string& content = "x") {
  MakeDirs(checkpoints.TemporaryPathOf(step));
  WriteFileAtomically(JoinPath(checkpoints.TemporaryPathOf(step), "model"), content);
  checkpoints.Publish(step);
}

TEST(CheckpointName, HasEightDigitsOrMore) {
  EXPECT_EQ(CheckpointName(1000), "step-00001000");
  EXPECT_EQ(CheckpointName(1234567890), "step-1234567890");
  for (const int64_t step : {int64_t{0}, int64_t{7}, int64_t{99999999}, int64_t{123456789012}}) {
    EXPECT_EQ(ParseCheckpointName(CheckpointName(step)), step);
  }
  for (const char* name : {"step-1000", "step-", "step-0000100x", "step-00001000.tmp", "latest",
                           "step-000001000", "step--0000001", "step-99999999999999999999"}) {
    EXPECT_EQ(ParseCheckpointName(name), std::nullopt) << name;
  }
}

TEST(CheckpointDir, IsEmptyBeforeTheFirstCheckpoint) {
  TempDir dir;
  const CheckpointDir checkpoints(dir.path());
  EXPECT_TRUE(checkpoints.Steps().empty());
  EXPECT_EQ(checkpoints.Latest(), std::nullopt);
  EXPECT_EQ(checkpoints.Best(), std::nullopt);
}

TEST(CheckpointDir, ListsCompleteCheckpointsInOrder) {
  TempDir dir;
  CheckpointDir checkpoints(dir.path());
  for (const int64_t step : {200, 1000000000, 30}) Save(checkpoints, step);
  MakeDirs(checkpoints.TemporaryPathOf(500));
  EXPECT_EQ(checkpoints.Steps(), (std::vector<int64_t>{30, 200, 1000000000}));
  EXPECT_EQ(checkpoints.Latest(), 30);
  EXPECT_EQ(ReadFile(JoinPath(checkpoints.path(), "latest")), "step-00000030\n");
}

// The process died between the rename of the folder and the writing of `latest`.
TEST(CheckpointDir, TrustsLatestRatherThanTheHighestStep) {
  TempDir dir;
  CheckpointDir checkpoints(dir.path());
  Save(checkpoints, 10);
  MakeDirs(checkpoints.PathOf(20));
  EXPECT_EQ(checkpoints.Latest(), 10);
  RemoveAll(JoinPath(checkpoints.path(), "latest"));
  EXPECT_EQ(checkpoints.Latest(), 20);
}

TEST(CheckpointDir, RefusesALatestThatIsNotThere) {
  TempDir dir;
  CheckpointDir checkpoints(dir.path());
  Save(checkpoints, 10);
  const std::string latest = JoinPath(checkpoints.path(), "latest");
  WriteFileAtomically(latest, "step-00000099");
  EXPECT_EQ(ErrorOf([&] { checkpoints.Latest(); }),
            Str("3: ", latest,
                ": names 'step-00000099', which is not a checkpoint here; the newest "
                "one is step-00000010"));
}

TEST(CheckpointDir, PublishesOverACheckpointOfTheSameStep) {
  TempDir dir;
  CheckpointDir checkpoints(dir.path());
  Save(checkpoints, 10, "old");
  Save(checkpoints, 10, "new");
  EXPECT_EQ(ReadFile(JoinPath(checkpoints.PathOf(10), "model")), "new");
  EXPECT_EQ(ListDir(checkpoints.path()), (std::vector<std::string>{"latest", "step-00000010"}));
}

TEST(CheckpointDir, PrunesAllButTheNewestTheLatestAndTheBest) {
  TempDir dir;
  CheckpointDir checkpoints(dir.path());
  for (const int64_t step : {10, 20, 30, 40, 50}) Save(checkpoints, step);
  checkpoints.SetBest(20);
  checkpoints.SetLatest(30);
  EXPECT_EQ(checkpoints.Prune(1), (std::vector<int64_t>{10, 40}));
  EXPECT_EQ(checkpoints.Steps(), (std::vector<int64_t>{20, 30, 50}));
  EXPECT_EQ(checkpoints.Best(), 20);
  EXPECT_TRUE(checkpoints.Prune(1).empty());
  EXPECT_THROW(checkpoints.Prune(0), InternalError);
}

TEST(CheckpointDir, PruneWithFewerThanKeptRemovesNothing) {
  TempDir dir;
  CheckpointDir checkpoints(dir.path());
  Save(checkpoints, 10);
  EXPECT_TRUE(checkpoints.Prune(3).empty());
  EXPECT_EQ(checkpoints.Steps(), std::vector<int64_t>{10});
}

TEST(CheckpointDir, RemovesOnlyItsOwnLeftovers) {
  TempDir dir;
  CheckpointDir checkpoints(dir.path());
  Save(checkpoints, 10);
  for (const char* name : {"step-00000020.tmp", "step-00000005.removed", "notes.tmp", "mine"}) {
    MakeDirs(JoinPath(checkpoints.path(), name));
  }
  WriteFileAtomically(JoinPath(checkpoints.path(), "best.tmp.18740"), "step-00000010\n");
  WriteFileAtomically(JoinPath(checkpoints.path(), "latest.tmp.3"), "");
  checkpoints.RemoveLeftovers();
  EXPECT_EQ(ListDir(checkpoints.path()),
            (std::vector<std::string>{"latest", "mine", "notes.tmp", "step-00000010"}));
}

TEST(CheckpointDir, ForgetsABestThatHasGone) {
  TempDir dir;
  CheckpointDir checkpoints(dir.path());
  Save(checkpoints, 10);
  Save(checkpoints, 20);
  checkpoints.SetBest(10);
  checkpoints.Remove(10);
  EXPECT_EQ(checkpoints.Best(), std::nullopt);
  EXPECT_THROW(checkpoints.SetBest(10), InternalError);
}

}  // namespace
}  // namespace ckv
