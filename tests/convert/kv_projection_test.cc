#include "convert/kv_projection.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "nn/rope.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

constexpr int64_t kHeadDim = 6;
constexpr int64_t kHeads = 2;
constexpr int64_t kWidth = 10;

KvProjection RandomProjection(uint64_t seed, bool bias = false) {
  KvProjection projection;
  projection.weight = RandomTensor({kHeads * kHeadDim, kWidth}, seed);
  if (bias) projection.bias = RandomTensor({kHeads * kHeadDim}, seed + 100);
  return projection;
}

std::vector<KvProjection> RandomReaders(int count, bool bias = false) {
  std::vector<KvProjection> readers;
  for (int i = 0; i < count; ++i) readers.push_back(RandomProjection(10 + i, bias));
  return readers;
}

// A turn [D, D] that alignment may undo: for keys by an angle in each plane (p, p + D/2).
Tensor RandomTurn(KvKind kind, uint64_t seed, double size = 3.0) {
  if (kind == KvKind::kValues) {
    const Tensor m = RandomTensor({kHeadDim, kHeadDim}, seed) * size;
    return at::linalg_matrix_exp(m - m.t());
  }
  const Tensor angles = RandomTensor({kHeadDim / 2}, seed) * size;
  const Tensor c = at::diag(angles.cos());
  const Tensor s = at::diag(angles.sin());
  return at::cat({at::cat({c, -s}, 1), at::cat({s, c}, 1)}, 0);
}

KvProjection Turned(const KvProjection& projection, KvKind kind, uint64_t seed, double size = 3.0) {
  KvProjection result = projection;
  std::vector<Tensor> weights;
  std::vector<Tensor> biases;
  for (int64_t head = 0; head < kHeads; ++head) {
    const Tensor turn = RandomTurn(kind, seed + 7 * static_cast<uint64_t>(head), size);
    weights.push_back(turn.mm(projection.weight.narrow(0, head * kHeadDim, kHeadDim)));
    if (projection.bias.defined()) {
      biases.push_back(turn.mv(projection.bias.narrow(0, head * kHeadDim, kHeadDim)));
    }
  }
  result.weight = at::cat(weights);
  if (projection.bias.defined()) result.bias = at::cat(biases);
  return result;
}

double PlainDistance(const std::vector<KvProjection>& readers, const KvProjection& shared) {
  double sum = 0.0;
  for (const KvProjection& reader : readers) {
    sum += (reader.weight - shared.weight).square().sum().item<double>();
    if (reader.bias.defined()) {
      sum += (reader.bias - shared.bias).square().sum().item<double>();
    }
  }
  return sum;
}

TEST(AverageProjection, IsThePlainMeanOfWeightsAndBiases) {
  const std::vector<KvProjection> readers = RandomReaders(3, /*bias=*/true);
  const KvProjection mean = AverageProjection(readers);
  const Tensor weight = (readers[0].weight + readers[1].weight + readers[2].weight) / 3;
  const Tensor bias = (readers[0].bias + readers[1].bias + readers[2].bias) / 3;
  EXPECT_LT(MaxAbsDiff(mean.weight, weight), 1e-15);
  EXPECT_LT(MaxAbsDiff(mean.bias, bias), 1e-15);
}

TEST(AverageProjection, OfSmallTypesIsTakenInSinglePrecision) {
  KvProjection one{at::ones({2, 2}, at::kBFloat16), {}};
  KvProjection other{at::ones({2, 2}, at::kBFloat16) * 1.0078125, {}};
  const Tensor mean = AverageProjection({one, other}).weight;
  EXPECT_EQ(mean.scalar_type(), at::kFloat);
  EXPECT_EQ(mean[0][0].item<double>(), 1.00390625);  // between two bf16 numbers
}

class AlignedProjectionTest : public ::testing::TestWithParam<KvKind> {
 protected:
  KvProjection Fit(const std::vector<KvProjection>& readers) const {
    return AlignedProjection(readers, GetParam(), kHeadDim);
  }
  double Distance(const std::vector<KvProjection>& readers, const KvProjection& shared) const {
    return AlignedDistance(readers, shared, GetParam(), kHeadDim);
  }
};

TEST_P(AlignedProjectionTest, OfOneOrEqualReadersIsTheirs) {
  const KvProjection reader = RandomProjection(1, /*bias=*/true);
  for (const size_t count : {1, 2, 4}) {
    const KvProjection fit = Fit(std::vector<KvProjection>(count, reader));
    EXPECT_LT(MaxAbsDiff(fit.weight, reader.weight), 1e-12);
    EXPECT_LT(MaxAbsDiff(fit.bias, reader.bias), 1e-12);
  }
}

TEST_P(AlignedProjectionTest, FindsWhatReadersHaveInCommonUpToTurns) {
  const KvProjection common = RandomProjection(1, /*bias=*/true);
  std::vector<KvProjection> readers;
  for (uint64_t i = 0; i < 4; ++i) readers.push_back(Turned(common, GetParam(), 20 + i));
  const KvProjection fit = Fit(readers);
  EXPECT_LT(Distance(readers, fit), 1e-18);
  EXPECT_NEAR(fit.weight.norm().item<double>(), common.weight.norm().item<double>(), 1e-10);
  // The plain mean has lost most of it.
  EXPECT_LT(AverageProjection(readers).weight.norm().item<double>(),
            0.8 * common.weight.norm().item<double>());
}

TEST_P(AlignedProjectionTest, NoPerturbationFitsBetter) {
  const std::vector<KvProjection> readers = RandomReaders(4, /*bias=*/true);
  const KvProjection fit = Fit(readers);
  const double best = Distance(readers, fit);
  for (uint64_t trial = 0; trial < 40; ++trial) {
    for (const double size : {1e-4, 1e-2, 1.0}) {
      KvProjection other = fit;
      other.weight = fit.weight + size * RandomTensor(fit.weight.sizes().vec(), 500 + trial);
      other.bias = fit.bias + size * RandomTensor(fit.bias.sizes().vec(), 900 + trial);
      EXPECT_GT(Distance(readers, other), best);
    }
  }
}

TEST_P(AlignedProjectionTest, FitsBetterThanMeanOrAnyReader) {
  const std::vector<KvProjection> readers = RandomReaders(4);
  const double best = Distance(readers, Fit(readers));
  EXPECT_LT(best, Distance(readers, AverageProjection(readers)));
  for (const KvProjection& reader : readers) EXPECT_LT(best, Distance(readers, reader));
}

TEST_P(AlignedProjectionTest, TakesTheBasisClosestToTheReaders) {
  const std::vector<KvProjection> readers = RandomReaders(3, /*bias=*/true);
  const KvProjection fit = Fit(readers);
  const double distance = Distance(readers, fit);
  const double plain = PlainDistance(readers, fit);
  for (uint64_t trial = 0; trial < 20; ++trial) {
    for (const double size : {1e-3, 0.3}) {
      const KvProjection turned = Turned(fit, GetParam(), 700 + trial, size);
      EXPECT_NEAR(Distance(readers, turned), distance, 1e-9);  // the fit itself does not care
      EXPECT_GT(PlainDistance(readers, turned), plain);
    }
  }
}

TEST_P(AlignedProjectionTest, AlignsHeadByHeadAndNeverExchangesThem) {
  std::vector<KvProjection> readers = RandomReaders(2);
  const KvProjection fit = Fit(readers);
  readers[1].weight.narrow(0, 0, kHeadDim).zero_();  // head 0 of one reader
  const KvProjection changed = Fit(readers);
  EXPECT_LT(MaxAbsDiff(fit.weight.narrow(0, kHeadDim, kHeadDim),
                       changed.weight.narrow(0, kHeadDim, kHeadDim)),
            1e-12);
  EXPECT_GT(MaxAbsDiff(fit.weight, changed.weight), 0.1);
}

TEST_P(AlignedProjectionTest, WorksWhereTheModelIsNarrowerThanAHead) {
  std::vector<KvProjection> readers;
  for (uint64_t i = 0; i < 3; ++i) readers.push_back({RandomTensor({12, 2}, 30 + i), {}});
  const KvProjection fit = Fit(readers);
  EXPECT_LT(Distance(readers, fit), Distance(readers, AverageProjection(readers)));
}

INSTANTIATE_TEST_SUITE_P(Kinds, AlignedProjectionTest,
                         ::testing::Values(KvKind::kKeys, KvKind::kValues), [](const auto& row) {
                           return row.param == KvKind::kKeys ? "Keys" : "Values";
                         });

// What makes a turn of keys harmless: queries turned alike give the same scores at all positions.
TEST(KeyTurns, CommuteWithRotaryEmbedding) {
  const Rope rope(RopeConfig(), kHeadDim);
  const Tensor positions = at::arange(5, at::kLong);
  const RopeTable table = rope.Table(positions, 5, at::kDouble);
  const Tensor x = RandomTensor({1, 1, 5, kHeadDim}, 3);
  const Tensor turn = RandomTurn(KvKind::kKeys, 4);
  const Tensor after = at::matmul(ApplyRope(x, table), turn.t());
  EXPECT_LT(MaxAbsDiff(ApplyRope(at::matmul(x, turn.t()), table), after), 1e-13);
  // A turn of another kind does not.
  const Tensor other = RandomTurn(KvKind::kValues, 4);
  EXPECT_GT(MaxAbsDiff(ApplyRope(at::matmul(x, other.t()), table),
                       at::matmul(ApplyRope(x, table), other.t())),
            0.01);
}

}  // namespace
}  // namespace ckv
