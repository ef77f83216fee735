#include "nn/phase_clock.h"

#include <chrono>
#include <thread>

#include <gtest/gtest.h>

#include "base/error.h"

namespace ckv {
namespace {

double Of(const std::array<double, kNumPhases>& times, Phase phase) {
  return times[static_cast<size_t>(phase)];
}

void Wait(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

TEST(PhaseClock, AddsUpTheTimeBetweenMarks) {
  PhaseClock clock(at::kCPU);
  Wait(5);  // before the first mark: nobody's
  BeginPhase(Phase::kForward);
  Wait(20);
  BeginPhase(Phase::kBackward);
  Wait(10);
  BeginPhase(Phase::kForward);
  Wait(20);
  const std::array<double, kNumPhases> times = clock.TakeMilliseconds();
  EXPECT_GE(Of(times, Phase::kForward), 40.0);
  EXPECT_GE(Of(times, Phase::kBackward), 10.0);
  EXPECT_LT(Of(times, Phase::kBackward), Of(times, Phase::kForward));
  EXPECT_EQ(Of(times, Phase::kInput), 0.0);
  for (const double ms : clock.TakeMilliseconds()) EXPECT_EQ(ms, 0.0);
}

TEST(PhaseClock, MarksWithoutAClockDoNothing) { BeginPhase(Phase::kInput); }

TEST(PhaseClock, IsAloneInItsThread) {
  const PhaseClock clock(at::kCPU);
  EXPECT_THROW(PhaseClock(at::kCPU), InternalError);
}

}  // namespace
}  // namespace ckv
