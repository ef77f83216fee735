#include "train/schedule.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;

LrSchedule MakeSchedule(const std::string& kind, int64_t steps, int64_t warmup = 0,
                        double floor = 0.0) {
  ScheduleConfig config;
  config.kind = kind;
  config.warmup_steps = warmup;
  config.floor = floor;
  return LrSchedule(config, steps);
}

TEST(LrSchedule, WarmsUpLinearlyToThePeak) {
  for (const char* kind : {"cosine", "linear", "constant", "inverse_sqrt", "wsd"}) {
    const LrSchedule schedule = MakeSchedule(kind, 100, 10);
    EXPECT_DOUBLE_EQ(schedule.At(0), 0.1) << kind;
    EXPECT_DOUBLE_EQ(schedule.At(4), 0.5) << kind;
    EXPECT_DOUBLE_EQ(schedule.At(9), 1.0) << kind;
  }
}

TEST(LrSchedule, CosineGoesFromPeakToFloor) {
  const LrSchedule schedule = MakeSchedule("cosine", 111, 10, 0.1);
  EXPECT_DOUBLE_EQ(schedule.At(10), 1.0);
  EXPECT_NEAR(schedule.At(60), 0.55, 1e-12);  // half way
  EXPECT_NEAR(schedule.At(35), 0.1 + 0.9 * 0.5 * (1.0 + std::sqrt(0.5)), 1e-12);
  EXPECT_NEAR(schedule.At(110), 0.1, 1e-12);
}

TEST(LrSchedule, LinearGoesFromPeakToFloor) {
  const LrSchedule schedule = MakeSchedule("linear", 101, 0, 0.2);
  EXPECT_DOUBLE_EQ(schedule.At(0), 1.0);
  EXPECT_NEAR(schedule.At(25), 0.8, 1e-12);
  EXPECT_NEAR(schedule.At(100), 0.2, 1e-12);
}

TEST(LrSchedule, ConstantStays) {
  const LrSchedule schedule = MakeSchedule("constant", 50, 5);
  EXPECT_EQ(schedule.At(5), 1.0);
  EXPECT_EQ(schedule.At(49), 1.0);
}

TEST(LrSchedule, InverseSqrtFallsWithTheRootOfTheStep) {
  const LrSchedule schedule = MakeSchedule("inverse_sqrt", 10000, 100, 0.15);
  EXPECT_DOUBLE_EQ(schedule.At(99), 1.0);
  EXPECT_DOUBLE_EQ(schedule.At(399), 0.5);
  EXPECT_DOUBLE_EQ(schedule.At(9999), 0.15);  // 0.1 without the floor
}

TEST(LrSchedule, WsdStaysThenDecays) {
  ScheduleConfig config;
  config.kind = "wsd";
  config.warmup_steps = 10;
  config.decay_steps = 20;
  config.floor = 0.1;
  const LrSchedule schedule(config, 100);
  EXPECT_EQ(schedule.At(79), 1.0);
  EXPECT_NEAR(schedule.At(89), 0.55, 1e-12);
  EXPECT_NEAR(schedule.At(99), 0.1, 1e-12);
}

TEST(LrSchedule, WsdDecaysForATenthUnlessTold) {
  const LrSchedule schedule = MakeSchedule("wsd", 100);
  EXPECT_EQ(schedule.At(89), 1.0);
  EXPECT_NEAR(schedule.At(90), 0.9, 1e-12);
}

TEST(LrSchedule, RefusesMoreWarmUpAndDecayThanSteps) {
  EXPECT_THAT(ErrorOf([] { MakeSchedule("cosine", 10, 11); }),
              HasSubstr("'train.schedule' needs 11 steps of warm-up and decay, but 'train.steps' "
                        "is 10"));
}

}  // namespace
}  // namespace ckv
