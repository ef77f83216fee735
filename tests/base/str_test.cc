#include "base/str.h"

#include <gtest/gtest.h>

namespace ckv {
namespace {

TEST(Str, JoinsItsArguments) { EXPECT_EQ(Str("layer ", 3, " of ", 8L), "layer 3 of 8"); }

TEST(HumanCount, KeepsThreeSignificantDigits) {
  EXPECT_EQ(HumanCount(999), "999");
  EXPECT_EQ(HumanCount(45200), "45.2k");
  EXPECT_EQ(HumanCount(1234567), "1.23M");
  EXPECT_EQ(HumanCount(999960), "1.00M");
  EXPECT_EQ(HumanCount(0), "0");
}

TEST(HumanBytes, UsesBinaryUnits) {
  EXPECT_EQ(HumanBytes(512), "512 B");
  EXPECT_EQ(HumanBytes(1536), "1.50 KiB");
  EXPECT_EQ(HumanBytes(3.0 * 1024 * 1024 * 1024), "3.00 GiB");
}

TEST(HumanSeconds, ShowsTheTwoLargestUnits) {
  EXPECT_EQ(HumanSeconds(4.2), "4.2s");
  EXPECT_EQ(HumanSeconds(75), "1m 15s");
  EXPECT_EQ(HumanSeconds(3725), "1h 02m");
}

}  // namespace
}  // namespace ckv
