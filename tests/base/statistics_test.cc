#include "base/statistics.h"

#include <cmath>

#include <gtest/gtest.h>

namespace ckv {
namespace {

TEST(Statistics, MeanAndItsStandardError) {
  EXPECT_DOUBLE_EQ(MeanOf({1.0, 2.0, 6.0}), 3.0);
  EXPECT_DOUBLE_EQ(StandardError({1.0, 2.0, 6.0}), std::sqrt(7.0 / 3.0));
  EXPECT_EQ(StandardError({4.0, 4.0}), 0.0);
}

// Values of R's 2 * pt(-t, df).
TEST(Statistics, StudentsDistribution) {
  EXPECT_NEAR(StudentTwoSided(2.0, 1.0), 0.2951672353008666, 1e-12);
  EXPECT_NEAR(StudentTwoSided(-2.776445105, 4.0), 0.05, 1e-9);
  EXPECT_NEAR(StudentTwoSided(1.959963985, 1e7), 0.05, 1e-7);
  EXPECT_DOUBLE_EQ(StudentTwoSided(0.0, 3.0), 1.0);
  EXPECT_LT(StudentTwoSided(60.0, 20.0), 1e-20);
}

TEST(Statistics, PairedWithoutSpread) {
  EXPECT_EQ(PairedP(0.0, 0.0, 3.0), 1.0);
  EXPECT_EQ(PairedP(0.5, 0.0, 3.0), 0.0);
  EXPECT_TRUE(std::isnan(PairedP(0.5, 0.1, 0.0)));
}

// Twice the lower tail of a fair coin: 2 (1 + 10 + 45) / 1024 for 2 of 10.
TEST(Statistics, McNemarIsTheBinomialTest) {
  EXPECT_NEAR(McNemarExact(2, 8), 2.0 * 56.0 / 1024.0, 1e-12);
  EXPECT_NEAR(McNemarExact(8, 2), 2.0 * 56.0 / 1024.0, 1e-12);
  EXPECT_DOUBLE_EQ(McNemarExact(0, 0), 1.0);
  EXPECT_DOUBLE_EQ(McNemarExact(5, 5), 1.0);
  EXPECT_GT(McNemarExact(4000, 4100), 0.2);
}

}  // namespace
}  // namespace ckv
