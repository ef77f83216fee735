#include "record/status_line.h"

#include <cmath>

#include <gtest/gtest.h>

namespace ckv {
namespace {

TrainStatus SomeStatus() {
  TrainStatus status;
  status.step = 100;
  status.num_steps = 5000;
  status.loss = 4.2131;
  status.lr = 3e-4;
  status.tokens_per_second = 98200;
  return status;
}

TEST(ShortExponent, HasOneDigitAndNoPadding) {
  EXPECT_EQ(ShortExponent(3e-4), "3.0e-4");
  EXPECT_EQ(ShortExponent(2.96e-5), "3.0e-5");
  EXPECT_EQ(ShortExponent(1.0), "1.0e0");
  EXPECT_EQ(ShortExponent(1e-12), "1.0e-12");
  EXPECT_EQ(ShortExponent(0.0), "0");
}

TEST(TrainLogLine, LeavesOutWhatIsUnknown) {
  EXPECT_EQ(TrainLogLine(SomeStatus()), "step 100/5000 loss 4.213 lr 3.0e-4 98.2k tok/s");
  TrainStatus endless = SomeStatus();
  endless.num_steps = 0;
  EXPECT_EQ(TrainLogLine(endless), "step 100 loss 4.213 lr 3.0e-4 98.2k tok/s");
}

TEST(TrainLogLine, SaysAllThatIsKnown) {
  TrainStatus status = SomeStatus();
  status.grad_norm = 0.874;
  status.mfu = 0.4123;
  status.memory_bytes = 12.3 * 1024 * 1024 * 1024;
  status.seconds_left = 3725;
  status.skipped_steps = 2;
  EXPECT_EQ(TrainLogLine(status),
            "step 100/5000 loss 4.213 lr 3.0e-4 98.2k tok/s gnorm 0.87 mfu 41.2% mem 12.3 GiB "
            "skipped 2 left 1h 02m");
}

TEST(TrainLogLine, ShowsALossThatIsNotFinite) {
  TrainStatus status = SomeStatus();
  status.loss = std::nan("");
  EXPECT_EQ(TrainLogLine(status), "step 100/5000 loss nan lr 3.0e-4 98.2k tok/s");
}

TEST(TrainLiveLine, HasABarAndFitsATerminal) {
  TrainStatus status = SomeStatus();
  status.step = 2500;
  status.mfu = 0.4123;
  status.seconds_left = 75;
  EXPECT_EQ(TrainLiveLine(status),
            "[######......] 2500/5000 loss 4.213 lr 3.0e-4 98.2k tok/s mfu 41.2% 1m 15s left");
  EXPECT_LE(TrainLiveLine(status).size(), 79u);
  status.num_steps = 0;
  EXPECT_EQ(TrainLiveLine(status).substr(0, 15), "step 2500 loss ");
}

TEST(TrainLiveLine, KeepsTheBarWithinItsCells) {
  TrainStatus status = SomeStatus();
  status.step = 6000;
  EXPECT_EQ(TrainLiveLine(status).substr(0, 15), "[############] ");
}

}  // namespace
}  // namespace ckv
