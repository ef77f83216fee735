#include "base/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace ckv {
namespace {

// The continued fraction of the incomplete beta function, by Lentz's method (Numerical Recipes,
// section 6.4, describes it).
double BetaFraction(double a, double b, double x) {
  constexpr double kTiny = 1e-300;
  double c = 1.0;
  double d = 1.0 - (a + b) * x / (a + 1.0);
  d = 1.0 / (std::abs(d) < kTiny ? kTiny : d);
  double result = d;
  for (int m = 1; m <= 500; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    double change = 1.0;
    for (const double term : {even, odd}) {
      d = 1.0 + term * d;
      d = 1.0 / (std::abs(d) < kTiny ? kTiny : d);
      c = 1.0 + term / c;
      if (std::abs(c) < kTiny) c = kTiny;
      change = c * d;
      result *= change;
    }
    if (std::abs(change - 1.0) < 1e-15) break;
  }
  return result;
}

// Regularised incomplete beta function I_x(a, b).
double IncompleteBeta(double a, double b, double x) {
  if (x <= 0.0) return 0.0;
  if (x >= 1.0) return 1.0;
  const double front = std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) +
                                a * std::log(x) + b * std::log1p(-x));
  if (x < (a + 1.0) / (a + b + 2.0)) return front * BetaFraction(a, b, x) / a;
  return 1.0 - front * BetaFraction(b, a, 1.0 - x) / b;
}

}  // namespace

double MeanOf(const std::vector<double>& values) {
  CKV_CHECK(!values.empty(), "no values");
  double sum = 0.0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

double StandardError(const std::vector<double>& values) {
  CKV_CHECK(values.size() >= 2, values.size(), " values");
  const double mean = MeanOf(values);
  double sum = 0.0;
  for (const double value : values) sum += (value - mean) * (value - mean);
  const auto count = static_cast<double>(values.size());
  return std::sqrt(sum / (count - 1.0) / count);
}

double StudentTwoSided(double t, double freedom) {
  CKV_CHECK(freedom > 0.0, freedom);
  if (std::isnan(t)) return std::numeric_limits<double>::quiet_NaN();
  return IncompleteBeta(0.5 * freedom, 0.5, freedom / (freedom + t * t));
}

double PairedP(double difference, double error, double freedom) {
  if (freedom <= 0.0) return std::numeric_limits<double>::quiet_NaN();
  if (error > 0.0) return StudentTwoSided(difference / error, freedom);
  return difference == 0.0 ? 1.0 : 0.0;
}

double McNemarExact(int64_t left_only, int64_t right_only) {
  const int64_t total = left_only + right_only;
  if (total == 0) return 1.0;
  const int64_t fewer = std::min(left_only, right_only);
  double chance = 0.0;
  const auto n = static_cast<double>(total);
  for (int64_t k = 0; k <= fewer; ++k) {
    const auto number = static_cast<double>(k);
    chance += std::exp(std::lgamma(n + 1.0) - std::lgamma(number + 1.0) -
                       std::lgamma(n - number + 1.0) - n * std::log(2.0));
  }
  return std::min(1.0, 2.0 * chance);
}

}  // namespace ckv
