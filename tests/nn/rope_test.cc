#include "nn/rope.h"

#include <cmath>
#include <complex>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/tensors.h"

namespace ckv {
namespace {

RopeConfig Scaled(const std::string& scaling, double factor, int64_t old) {
  RopeConfig config;
  config.scaling = scaling;
  config.factor = factor;
  config.original_max_position = old;
  return config;
}

TEST(Rope, RotatesPairsAsComplexNumbers) {
  const Rope rope(RopeConfig{}, 8);
  const at::Tensor x = RandomTensor({1, 1, 5, 8}, 1);
  const at::Tensor positions = at::arange(3, 8, at::kLong);
  const at::Tensor got = ApplyRope(x, rope.Table(positions, 8, at::kDouble));
  for (int64_t t = 0; t < 5; ++t) {
    for (int64_t i = 0; i < 4; ++i) {
      const double angle =
          static_cast<double>(t + 3) * std::pow(10000.0, -2.0 * static_cast<double>(i) / 8.0);
      const std::complex<double> in(x[0][0][t][i].item<double>(), x[0][0][t][i + 4].item<double>());
      const std::complex<double> want = in * std::polar(1.0, angle);
      EXPECT_NEAR(got[0][0][t][i].item<double>(), want.real(), 1e-12);
      EXPECT_NEAR(got[0][0][t][i + 4].item<double>(), want.imag(), 1e-12);
    }
  }
}

TEST(Rope, ScoresDependOnDistancesOnly) {
  const Rope rope(RopeConfig{}, 16);
  const at::Tensor q = RandomTensor({1, 1, 1, 16}, 1);
  const at::Tensor k = RandomTensor({1, 1, 1, 16}, 2);
  const auto score = [&](int64_t query, int64_t key) {
    const auto at_position = [&](const at::Tensor& x, int64_t p) {
      return ApplyRope(x, rope.Table(at::full({1}, p, at::kLong), 1, at::kDouble));
    };
    return (at_position(q, query) * at_position(k, key)).sum().item<double>();
  };
  EXPECT_NEAR(score(5, 2), score(105, 102), 1e-10);
}

TEST(Rope, TurningMovesToAnotherPosition) {
  for (const char* scaling : {"none", "linear", "llama3", "yarn"}) {
    const Rope rope(Scaled(scaling, 4.0, 16), 8);
    const at::Tensor x = RandomTensor({2, 1, 1, 8}, 1);
    const auto at_position = [&](int64_t p) {
      return ApplyRope(x, rope.Table(at::full({1}, p, at::kLong), 1, at::kDouble));
    };
    const at::Tensor distances = at::tensor({7, -3}, at::kLong).unsqueeze(1);  // a row each
    const at::Tensor turned = ApplyRope(at_position(5), rope.Turn(distances, at::kDouble));
    EXPECT_LT(MaxAbsDiff(turned[0], at_position(12)[0]), 1e-14) << scaling;
    EXPECT_LT(MaxAbsDiff(turned[1], at_position(2)[1]), 1e-14) << scaling;
  }
}

// An fp32 product of position and frequency would be off by up to 0.03 rad here.
TEST(Rope, FarPositionsAreExactInFp32) {
  const Rope rope(RopeConfig{}, 8);
  const at::Tensor far = at::full({1}, 1000000, at::kLong);
  const RopeTable narrow = rope.Table(far, 1, at::kFloat);
  const at::Tensor frequencies = rope.InverseFrequencies(1, at::kFloat).to(at::kDouble);
  EXPECT_LT(MaxAbsDiff(narrow.cos, at::cos(frequencies * 1e6)), 1e-6);
}

TEST(Rope, TakesPositionsPerRow) {
  const Rope rope(RopeConfig{}, 4);
  const at::Tensor x = RandomTensor({2, 3, 2, 4}, 1);
  const at::Tensor positions = at::arange(4, at::kLong).view({2, 2});
  const at::Tensor got = ApplyRope(x, rope.Table(positions, 4, at::kDouble));
  const at::Tensor second = ApplyRope(x[1].unsqueeze(0), rope.Table(positions[1], 4, at::kDouble));
  EXPECT_LT(MaxAbsDiff(got[1], second[0]), 1e-15);
}

TEST(Rope, LinearScalingDividesFrequencies) {
  const at::Tensor plain = Rope(RopeConfig{}, 8).InverseFrequencies(1, at::kDouble);
  const at::Tensor got = Rope(Scaled("linear", 4.0, 16), 8).InverseFrequencies(1, at::kDouble);
  EXPECT_LT(MaxAbsDiff(got * 4.0, plain), 1e-15);
}

TEST(Rope, Llama3KeepsHighAndStretchesLowFrequencies) {
  RopeConfig config = Scaled("llama3", 8.0, 64);
  const at::Tensor plain = Rope(RopeConfig{}, 32).InverseFrequencies(1, at::kDouble);
  const at::Tensor got = Rope(config, 32).InverseFrequencies(1, at::kDouble);
  constexpr double kTwoPi = 6.283185307179586;
  bool between = false;
  for (int64_t i = 0; i < 16; ++i) {
    const double f = plain[i].item<double>();
    const double g = got[i].item<double>();
    const double wavelength = kTwoPi / f;
    if (wavelength < 64.0 / 4.0) {
      EXPECT_EQ(g, f);
    } else if (wavelength > 64.0) {
      EXPECT_DOUBLE_EQ(g, f / 8.0);
    } else {
      between = true;
      EXPECT_GT(g, f / 8.0);
      EXPECT_LT(g, f);
    }
  }
  EXPECT_TRUE(between);
}

TEST(Rope, DynamicScalingStartsBeyondTheOriginalLength) {
  const Rope rope(Scaled("dynamic", 2.0, 16), 8);
  const at::Tensor plain = Rope(RopeConfig{}, 8).InverseFrequencies(1, at::kDouble);
  EXPECT_LT(MaxAbsDiff(rope.InverseFrequencies(16, at::kDouble), plain), 1e-15);
  // theta' = theta (2 * 32 / 16 - 1)^(8 / 6)
  RopeConfig wanted;
  wanted.theta = 10000.0 * std::pow(3.0, 8.0 / 6.0);
  EXPECT_LT(MaxAbsDiff(rope.InverseFrequencies(32, at::kDouble),
                       Rope(wanted, 8).InverseFrequencies(1, at::kDouble)),
            1e-15);
}

TEST(Rope, YarnKeepsTheFastestAndStretchesTheSlowest) {
  const Rope rope(Scaled("yarn", 4.0, 2048), 64);
  const at::Tensor plain = Rope(RopeConfig{}, 64).InverseFrequencies(1, at::kDouble);
  const at::Tensor got = rope.InverseFrequencies(1, at::kDouble);
  EXPECT_EQ(got[0].item<double>(), plain[0].item<double>());
  EXPECT_DOUBLE_EQ(got[31].item<double>(), plain[31].item<double>() / 4.0);
  const RopeTable table = rope.Table(at::zeros({1}, at::kLong), 1, at::kDouble);
  EXPECT_NEAR(table.cos[0][0].item<double>(), 0.1 * std::log(4.0) + 1.0, 1e-12);
}

}  // namespace
}  // namespace ckv
