#include "sharing/dist_cost.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace ckv {
namespace {

ModelShape Shape() {
  ModelShape shape;
  shape.hidden = 2048;
  shape.heads = 32;
  shape.kv_heads = 4;
  shape.head_dim = 64;
  shape.ffn = 5632;
  shape.vocab = 32000;
  return shape;
}

IterationPlan Plan(const char* spec) { return IterationPlan(KvSharingSpec::Parse(spec), 7, 2); }

DistCost Cost(const char* spec, int64_t stage, int64_t gpus) {
  ClusterShape cluster;
  cluster.gpus = gpus;
  DistStep step;
  step.stage = stage;
  step.batch = 64;
  return CountDistCost(Plan(spec), Shape(), cluster, step);
}

TEST(DistCost, UnitsHoldAllWeights) {
  for (const char* spec : {"0_1_2_3", "0_0_2_2", "0_2_2_3"}) {
    const UnitWeights units = CountUnits(Plan(spec), Shape());
    const ParamCount count = CountParams(KvSharingSpec::Parse(spec), Shape());
    EXPECT_EQ(units.layers + units.rest, count.total());
    EXPECT_EQ(units.rest, count.embedding + count.head + Shape().hidden);
  }
}

TEST(DistCost, OneGpuSendsNothing) {
  for (const int64_t stage : {0, 1, 2, 3}) {
    const DistCost cost = Cost("0_1_2_3", stage, 1);
    EXPECT_EQ(cost.wire_bytes, 0.0);
    EXPECT_EQ(cost.exposed_seconds, 0.0);
  }
}

TEST(DistCost, EachStageHoldsLess) {
  for (int64_t stage = 1; stage <= 3; ++stage) {
    EXPECT_LT(Cost("0*22", stage, 8).memory(), Cost("0*22", stage - 1, 8).memory());
  }
  EXPECT_DOUBLE_EQ(Cost("0*22", 1, 8).optimizer_memory * 8.0, Cost("0*22", 0, 8).optimizer_memory);
}

// 9 passes, 2 of them with gradient: 11 gathers where 2 do.
TEST(DistCost, AnIterativeGroupIsGatheredTwiceNotElevenTimes) {
  const UnitWeights units = CountUnits(Plan("0_20*20_21"), Shape());
  const DistCost cost = Cost("0_20*20_21", 3, 8);
  const double grouped = static_cast<double>(units.largest) * 2.0;  // bytes, in bf16
  const double more = cost.gathered_if_each_pass - cost.gathered_bytes;
  const double top = static_cast<double>(units.top) * 2.0;
  EXPECT_DOUBLE_EQ(more, static_cast<double>(cost.micro_batches) * (9.0 * grouped + top));
}

TEST(DistCost, Stage3WaitsForWhatTheUnitBeforeCannotHide) {
  const UnitWeights units = CountUnits(Plan("0*22"), Shape());
  ASSERT_EQ(units.units.size(), 22u);
  EXPECT_EQ(units.neighbours, units.units[0].weights + 2 * units.units[1].weights);
  ClusterShape cluster;
  DistStep step;
  step.stage = 3;
  step.batch = 64;
  step.micro_rows = 8;  // one micro-batch on each of 8 GPUs
  const auto exposed = [&](double bandwidth) {
    cluster.node_bandwidth = bandwidth;
    return CountDistCost(Plan("0*22"), Shape(), cluster, step);
  };
  // Fast: the first unit of the forward step and what belongs to no layer.
  const double bytes = static_cast<double>(units.units[0].weights + units.rest) * 2.0 * 7.0 / 8.0;
  EXPECT_NEAR(exposed(1e12).exposed_seconds, bytes / 1e12, 1e-9);
  // Slow: nearly all, and never less than the wire takes beyond the computing.
  const DistCost slow = exposed(1e9);
  EXPECT_GT(slow.exposed_seconds, slow.wire_seconds - slow.compute_seconds - 1e-9);
  EXPECT_LE(slow.exposed_seconds, slow.wire_seconds);
  EXPECT_GT(slow.exposed_seconds, 0.8 * slow.wire_seconds);
}

// The group comes while a single layer computes.
TEST(DistCost, AnIterativeGroupIsNotHiddenByTheLayerBelowIt) {
  const UnitWeights units = CountUnits(Plan("0_20*20_21"), Shape());
  ASSERT_EQ(units.units.size(), 3u);
  EXPECT_EQ(units.units[1].passes, 9);
  EXPECT_EQ(units.neighbours, units.layers);
  const DistCost cost = Cost("0_20*20_21", 3, 8);
  EXPECT_GT(cost.exposed_seconds, 0.0);
  EXPECT_LT(cost.exposed_seconds, cost.wire_seconds);
}

TEST(DistCost, FaultsAreRefused) {
  ClusterShape cluster;
  DistStep step;
  step.stage = 4;
  EXPECT_THROW(CountDistCost(Plan("0_1"), Shape(), cluster, step), ConfigError);
  step.stage = 0;
  cluster.efficiency = 0.0;
  EXPECT_THROW(CountDistCost(Plan("0_1"), Shape(), cluster, step), ConfigError);
}

}  // namespace
}  // namespace ckv
