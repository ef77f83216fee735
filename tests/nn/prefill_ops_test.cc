#include "nn/prefill_ops.h"

#include <cmath>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "base/error.h"
#include "nn/attention.h"
#include "nn/joined.h"
#include "tests/gpu.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

struct PrefillPlace {
  at::DeviceType device;
  at::ScalarType dtype;
  double tolerance;  // relative
};

class PrefillOpsTest : public ::testing::TestWithParam<PrefillPlace> {
 protected:
  void SetUp() override {
    if (GetParam().device == at::kCUDA) CKV_NEEDS_GPU();
  }
  Tensor Numbers(const std::vector<int64_t>& shape, uint64_t seed) const {
    return RandomTensor(shape, seed).to(GetParam().device, GetParam().dtype);
  }
  static double RelativeError(const Tensor& got, const Tensor& want) {
    const Tensor exact = want.to(at::kDouble).cpu();
    return ((got.to(at::kDouble).cpu() - exact).norm() / exact.norm()).item<double>();
  }
};

TEST_P(PrefillOpsTest, NormDividesByTheRootMeanSquare) {
  for (const int64_t width : {8, 64, 2048, 4096, 5128, 8192}) {
    const Tensor x = Numbers({3, 5, width}, 1);
    const Tensor weight = Numbers({width}, 2);
    const Tensor wide = x.to(at::kDouble);
    const Tensor want =
        wide / (wide.square().mean(-1, true) + 1e-5).sqrt() * weight.to(at::kDouble);
    EXPECT_LT(RelativeError(PrefillNorm(x, weight, 1e-5), want), GetParam().tolerance) << width;
  }
}

TEST_P(PrefillOpsTest, GateMultipliesUpByTheActivatedGate) {
  const Tensor packed = Numbers({7, 2 * 352}, 1);
  const Tensor gate = packed.narrow(1, 0, 352).to(at::kDouble);
  const Tensor up = packed.narrow(1, 352, 352).to(at::kDouble);
  for (const char* activation : {"silu", "gelu", "gelu_tanh"}) {
    const Tensor active = std::string(activation) == "silu"
                              ? at::silu(gate)
                              : at::gelu(gate, std::string(activation) == "gelu" ? "none" : "tanh");
    Tensor out = at::full({7, 352}, std::nan(""), packed.options());
    PrefillGate(packed, activation, out);
    EXPECT_LT(RelativeError(out, active * up), GetParam().tolerance) << activation;
  }
}

TEST_P(PrefillOpsTest, RotateTurnsQueriesInPlaceAndPutsTheRestWhereItBelongs) {
  constexpr int64_t kBatch = 2;
  constexpr int64_t kColumns = 5;
  for (const int64_t head_dim : {16, 64, 80, 256}) {
    for (int parts = 1; parts < 8; ++parts) {
      for (const bool rows_differ : {false, true}) {
        PackedHeads to;
        to.heads = (parts & 1) != 0 ? 6 : 0;
        to.kv_heads = 2;
        // Keys inside a longer store, values in another order of dimensions.
        Tensor store = at::zeros({kBatch, 2, 9, head_dim}, Numbers({1}, 0).options());
        if ((parts & 2) != 0) to.keys = store.narrow(2, 3, kColumns);
        if ((parts & 4) != 0) {
          to.values = at::zeros({kBatch, kColumns, 2, head_dim}, store.options()).transpose(1, 2);
        }
        const int64_t all = to.heads + ((parts & 2) != 0 ? 2 : 0) + ((parts & 4) != 0 ? 2 : 0);
        Tensor packed = Numbers({kBatch, kColumns, all * head_dim}, 3);
        const Tensor exact =
            packed.to(at::kDouble).cpu().clone().view({kBatch, kColumns, all, head_dim});
        Tensor positions = at::arange(4, 4 + kColumns);
        if (rows_differ) positions = positions + at::tensor({0, 7}).unsqueeze(1);
        const Rope rope(RopeConfig{}, head_dim);
        const RopeTable table = rope.Table(positions.to(packed.device()), 32, GetParam().dtype);
        const RopeTable wide = rope.Table(positions, 32, at::kDouble);
        PrefillRotate(packed, table, head_dim, to);
        const auto turned = [&](int64_t first, int64_t count) {
          return ApplyRope(exact.narrow(2, first, count).transpose(1, 2), wide);
        };
        int64_t next = to.heads;
        if (to.heads > 0) {
          const Tensor queries = packed.view({kBatch, kColumns, all, head_dim}).narrow(2, 0, 6);
          EXPECT_LT(RelativeError(queries.transpose(1, 2), turned(0, 6)), GetParam().tolerance);
        }
        if (to.keys.defined()) {
          EXPECT_LT(RelativeError(to.keys, turned(next, 2)), GetParam().tolerance);
          EXPECT_EQ(store.narrow(2, 0, 3).abs().max().item<double>(), 0.0);
          EXPECT_EQ(store.narrow(2, 8, 1).abs().max().item<double>(), 0.0);
          next += 2;
        }
        if (to.values.defined()) {
          EXPECT_EQ(MaxAbsDiff(to.values.cpu(), exact.narrow(2, next, 2).transpose(1, 2)), 0.0);
        }
      }
    }
  }
}

TEST_P(PrefillOpsTest, PackedProductIsTheProductsSideBySide) {
  const Tensor x = Numbers({5, 48}, 1);
  const std::vector<Tensor> weights = {Numbers({32, 48}, 2), Numbers({8, 48}, 3),
                                       Numbers({16, 48}, 4)};
  const std::vector<Tensor> biases = {Tensor(), Numbers({8}, 5), Numbers({16}, 6)};
  std::vector<Tensor> products;
  for (size_t i = 0; i < weights.size(); ++i) {
    Tensor product = at::matmul(x.to(at::kDouble), weights[i].to(at::kDouble).t());
    if (biases[i].defined()) product = product + biases[i].to(at::kDouble);
    products.push_back(product);
  }
  const Tensor want = at::cat(products, 1);
  EXPECT_FALSE(JoinedView(weights).defined());
  EXPECT_LT(RelativeError(PackedProduct(x, weights, biases), want), 2.0 * GetParam().tolerance);
  JoinInPlace(weights);
  EXPECT_TRUE(JoinedView(weights).defined());
  EXPECT_FALSE(JoinedView({weights[1], weights[0]}).defined());
  EXPECT_LT(RelativeError(PackedProduct(x, weights, biases), want), 2.0 * GetParam().tolerance);
}

const PrefillPlace kPrefillPlaces[] = {{at::kCPU, at::kDouble, 1e-12},
                                       {at::kCPU, at::kFloat, 1e-5},
                                       {at::kCUDA, at::kDouble, 1e-12},
                                       {at::kCUDA, at::kBFloat16, 6e-3},
                                       {at::kCUDA, at::kHalf, 1e-3}};
INSTANTIATE_TEST_SUITE_P(Places, PrefillOpsTest, ::testing::ValuesIn(kPrefillPlaces));

TEST(PrefillOps, RefuseShapesThatDoNotFit) {
  EXPECT_THROW(PrefillNorm(at::zeros({2, 4}), at::zeros({3}), 1e-5), InternalError);
  Tensor out = at::zeros({2, 3});
  EXPECT_THROW(PrefillGate(at::zeros({2, 4}), "silu", out), InternalError);
  Tensor packed = at::zeros({1, 2, 48});
  PackedHeads to;
  to.heads = 2;
  to.kv_heads = 1;
  const RopeTable table = Rope(RopeConfig{}, 16).Table(at::arange(2), 2, at::kFloat);
  EXPECT_THROW(PrefillRotate(packed, table, 16, to), InternalError);
  to.keys = at::zeros({1, 1, 3, 16});
  EXPECT_THROW(PrefillRotate(packed, table, 16, to), InternalError);
}

// The flash kernel counts a prompt's order from its last key.
TEST(PrefillAttentionGpu, FlashSeesWhatTheReferenceSees) {
  CKV_NEEDS_GPU();
  at::NoGradGuard no_grad;
  for (const int64_t head_dim : {32, 64, 80, 128}) {
    for (const auto& [queries, past] :
         std::vector<std::pair<int64_t, int64_t>>{{1, 0}, {1, 9}, {9, 0}, {130, 0}, {40, 300}}) {
      for (const bool strict : {false, true}) {
        for (const int64_t window : {0, 1, 2, 17}) {
          AttentionScope scope;
          scope.num_queries = queries;
          scope.past = past;
          scope.device = at::kCUDA;
          const Visibility sees(scope, strict,
                                window > 0 ? std::optional<int64_t>(window) : std::nullopt);
          const auto numbers = [&](int64_t heads, int64_t tokens, uint64_t seed) {
            return RandomTensor({2, heads, tokens, head_dim}, seed).to(at::kCUDA, at::kBFloat16);
          };
          const Tensor q = numbers(6, queries, 1);
          const Tensor k = numbers(2, past + queries, 2);
          const Tensor v = numbers(2, past + queries, 3);
          const Tensor want = FindAttention("reference")(q.to(at::kDouble), k.to(at::kDouble),
                                                         v.to(at::kDouble), sees, 0.0);
          const Tensor plain = FindAttention("reference")(q, k, v, sees, 0.0);
          const Tensor got = FindAttention("sdpa")(q, k, v, sees, 0.0);
          const double norm = want.norm().item<double>();
          const double error = (got.to(at::kDouble) - want).norm().item<double>();
          const double plain_error = (plain.to(at::kDouble) - want).norm().item<double>();
          EXPECT_LE(error, 2.0 * plain_error + 1e-3 * norm)
              << head_dim << " wide, " << queries << " queries, " << past << " before, window "
              << window << (strict ? ", strict" : "");
        }
      }
    }
  }
}

}  // namespace
}  // namespace ckv
