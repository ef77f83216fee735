#include "dist/watchdog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace ckv {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Reports {
  std::mutex mutex;
  std::vector<std::string> texts;

  std::function<void(const std::string&)> Receiver() {
    return [this](const std::string& text) {
      const std::lock_guard<std::mutex> lock(mutex);
      texts.push_back(text);
    };
  }
};

void Sleep(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

TEST(Watchdog, NamesRankStepAndTaskOnceTheTimeIsOver) {
  Reports reports;
  {
    Watchdog watchdog("rank 2 of 8", Watchdog::Seconds(0.3), reports.Receiver());
    watchdog.SetStep(17);
    watchdog.Watch("the sum of gradients", [] { return false; });
    watchdog.Watch("what ends", [] { return true; });
    Sleep(0.8);
  }
  EXPECT_THAT(reports.texts, ElementsAre(HasSubstr("rank 2 of 8, step 17: the sum of gradients has "
                                                   "waited for other ranks for 0.3 s")));
}

TEST(Watchdog, EndsTheProcessWithItsExitCode) {
  EXPECT_EXIT(
      {
        Watchdog watchdog("rank 0 of 2", Watchdog::Seconds(0.1));
        watchdog.Watch("a barrier", [] { return false; });
        Sleep(5.0);
      },
      ::testing::ExitedWithCode(kExitDist), "error: rank 0 of 2, step 0: a barrier has waited");
}

TEST(Watchdog, AProcessThatFailedToLeaveIsEnded) {
  EXPECT_EXIT(
      {
        Watchdog watchdog("rank 0 of 2", Watchdog::Seconds(60.0));
        watchdog.ExpectEnd("rank 0 of 2 failed", Watchdog::Seconds(0.1));
        Sleep(5.0);
      },
      ::testing::ExitedWithCode(kExitDist), "error: rank 0 of 2 failed");
}

}  // namespace
}  // namespace ckv
