#include "nn/fp8.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "base/error.h"
#include "tests/gpu.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

// Half a unit in the last of three places, relative to the number.
constexpr double kHalfPlace = 1.0 / 16.0;

void ExpectQuantized(const Tensor& x) {
  const Fp8Rows rows = QuantizeRows(x);
  EXPECT_EQ(rows.values.scalar_type(), at::kFloat8_e4m3fn);
  const Tensor wide = x.to(at::kDouble);
  const Tensor back = rows.values.to(at::kFloat).to(at::kDouble) * rows.scales.to(at::kDouble);
  // Below the smallest normal number, 2^-6, places are 2^-9 wide.
  const Tensor limit = at::maximum(wide.abs() * kHalfPlace, rows.scales.to(at::kDouble) / 1024.0);
  EXPECT_TRUE((back - wide).abs().le(limit * (1.0 + 1e-5)).all().item<bool>());
  // The largest number of a row uses the whole range.
  const Tensor largest = wide.abs().amax(1);
  const Tensor used = rows.values.to(at::kFloat).abs().amax(1);
  EXPECT_TRUE((largest.eq(0.0) | used.to(at::kDouble).ge(447.0)).all().item<bool>());
}

Tensor UnevenRows(int64_t rows, int64_t width) {
  const Tensor scale = at::pow(10.0, at::arange(rows, at::kDouble) % 7 - 3).unsqueeze(1);
  Tensor x = RandomTensor({rows, width}, 1) * scale;
  x[rows - 1].fill_(0.0);
  return x;
}

TEST(Fp8, RowsKeepThreeBitsOfMantissa) {
  ExpectQuantized(UnevenRows(9, 33).to(at::kFloat));
  ExpectQuantized(UnevenRows(9, 64).to(at::kBFloat16));
  ExpectQuantized(UnevenRows(9, 64).to(at::kFloat).t().contiguous().t());
}

TEST(Fp8, RowsKeepThreeBitsOfMantissaOnAGpu) {
  CKV_NEEDS_GPU();
  for (const auto type : {at::kBFloat16, at::kHalf}) {
    for (const int64_t width : {1, 33, 64, 768, 5632}) {
      ExpectQuantized(UnevenRows(9, width).to(at::kCUDA, type));
    }
  }
}

// Errors of products are independent: together far below that of one product.
void ExpectProduct(const Tensor& x, const Tensor& weight) {
  const Tensor want = at::mm(x.to(at::kDouble), weight.to(at::kDouble).t());
  const Tensor got = ScaledProduct(QuantizeRows(x), QuantizeRows(weight), x.scalar_type());
  EXPECT_EQ(got.scalar_type(), x.scalar_type());
  const double error =
      (at::linalg_vector_norm(got.to(at::kDouble) - want) / at::linalg_vector_norm(want))
          .item<double>();
  EXPECT_LT(error, 0.05);
  EXPECT_GT(error, 1e-3);  // or nothing was quantised
}

TEST(Fp8, ProductsAreNearTheExactOnes) {
  ExpectProduct(RandomTensor({40, 96}, 1, at::kFloat), RandomTensor({24, 96}, 2, at::kFloat));
}

TEST(Fp8, ProductsAreNearTheExactOnesOnAGpu) {
  CKV_NEEDS_GPU();
  for (const int64_t rows : {1, 17, 500, 4096}) {
    const Tensor x = RandomTensor({rows, 768}, 1).to(at::kCUDA, at::kBFloat16);
    const Tensor weight = RandomTensor({1536, 768}, 2).to(at::kCUDA, at::kBFloat16);
    ASSERT_TRUE(HasFp8Products(x, weight));
    ExpectProduct(x, weight);
  }
}

TEST(Fp8, KnowsWhereItRuns) {
  EXPECT_FALSE(HasFp8Products(at::zeros({4, 16}), at::zeros({16, 16})));
}

TEST(Fp8, RefusesShapesThatDoNotFit) {
  EXPECT_THROW(QuantizeRows(at::zeros({4})), InternalError);
  EXPECT_THROW(
      ScaledProduct(QuantizeRows(at::ones({4, 8})), QuantizeRows(at::ones({4, 9})), at::kFloat),
      InternalError);
}

}  // namespace
}  // namespace ckv
