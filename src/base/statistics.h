// Means, their standard errors, and the tests that tell a difference from chance.
#pragma once

#include <cstdint>
#include <vector>

namespace ckv {

// Requires a value.
double MeanOf(const std::vector<double>& values);

// Of the mean: the sample's standard deviation (n - 1) over the root of n. Requires two values.
double StandardError(const std::vector<double>& values);

// Chance of a Student's t of at least |t| on either side, with `freedom` > 0 degrees of freedom
// (need not be whole).
double StudentTwoSided(double t, double freedom);

// StudentTwoSided of difference / error; 1 where both are 0, 0 where the error alone is, and NaN
// without a degree of freedom.
double PairedP(double difference, double error, double freedom);

// McNemar's exact test: chance that two answerers who are equally good differ at least so unevenly
// on the questions that only one of them got right.
double McNemarExact(int64_t left_only, int64_t right_only);

}  // namespace ckv
