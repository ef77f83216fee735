#include "sweep/live_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "sweep/runner.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::ElementsAre;

TEST(LiveTable, SaysWhatEachPointDoes) {
  const TempDir dir;
  // The last row is half written.
  WriteFileAtomically(dir.File("metrics.jsonl"),
                      "{\"step\":10,\"loss\":5.5,\"tokens_per_second\":100}\n"
                      "{\"step\":20,\"loss\":4.25,\"tokens_per_second\":2300}\n{\"step\":3");
  SweepCounts counts;
  counts.done = 3;
  counts.failed = 1;
  counts.waiting = 6;
  const std::vector<LivePoint> points = {{"cla2-s0", "train", 12.4, dir.path()},
                                         {"vanilla-s0", "bench", 100.0, dir.path()}};
  EXPECT_THAT(LiveTableLines("heads", points, counts, 80),
              ElementsAre("heads: 3 done, 2 running, 6 waiting, 1 failed",
                          "  train   12 s  step 20  loss 4.250  2.3k tok/s  cla2-s0",
                          "  bench   100 s    vanilla-s0"));
  EXPECT_THAT(LiveTableLines("heads", points, counts, 21),
              ElementsAre("heads: 3 done, 2 run", "  train   12 s  step", "  bench   100 s    v"));
  counts.elsewhere = 2;
  EXPECT_THAT(LiveTableLines("heads", {}, counts, 80),
              ElementsAre("heads: 3 done, 0 running, 6 waiting, 1 failed, 2 run elsewhere"));
}

}  // namespace
}  // namespace ckv
