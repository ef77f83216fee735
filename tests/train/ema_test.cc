#include "train/ema.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "tests/tensors.h"

namespace ckv {
namespace {

TEST(Ema, IsTheWeightedMeanOfAllWeightsSoFar) {
  Ema::Named weights = {{"w", at::full({3}, 8.0, at::kDouble)}};
  Ema ema(weights, 0.75);
  weights[0].second.fill_(0.0);  // the mean holds a copy
  ema.Update(weights);
  EXPECT_DOUBLE_EQ(ema.weights()[0].second[0].item<double>(), 6.0);
  weights[0].second.fill_(2.0);
  ema.Update(weights);
  EXPECT_DOUBLE_EQ(ema.weights()[0].second[1].item<double>(), 5.0);
}

}  // namespace
}  // namespace ckv
