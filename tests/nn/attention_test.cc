#include "nn/attention.h"

#include <cmath>
#include <limits>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "tests/gpu.h"
#include "tests/temp_dir.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

constexpr int64_t kRows = 3;
constexpr int64_t kHeads = 4;
constexpr int64_t kKvHeads = 2;
constexpr int64_t kHeadWidth = 8;

struct Case {
  const char* name;
  int64_t num_queries;
  int64_t past;
  bool strict;
  int64_t window;  // 0 = none
  bool padded;
  bool documents;
};

// Every kind of mask that a layer can ask for, with the corner cases of one query and no past.
const Case kCases[] = {
    {"causal", 9, 0, false, 0, false, false},
    {"strict", 9, 0, true, 0, false, false},
    {"chunk", 4, 5, false, 0, false, false},
    {"strict_chunk", 4, 5, true, 0, false, false},
    {"window", 9, 0, false, 3, false, false},
    {"strict_window", 9, 0, true, 3, false, false},
    {"strict_window_of_one", 9, 0, true, 1, false, false},
    {"chunk_window", 4, 5, true, 3, false, false},
    {"window_as_long_as_the_keys", 9, 0, false, 9, false, false},
    {"decode", 1, 6, false, 0, false, false},
    {"strict_decode", 1, 6, true, 0, false, false},
    {"decode_window", 1, 6, false, 2, false, false},
    {"first_token", 1, 0, false, 0, false, false},
    {"strict_first_token", 1, 0, true, 0, false, false},
    {"padded", 9, 0, false, 0, true, false},
    {"strict_padded", 9, 0, true, 0, true, false},
    {"padded_decode", 1, 6, true, 0, true, false},
    {"documents", 9, 0, false, 0, false, true},
    {"strict_documents", 9, 0, true, 4, false, true},
    {"all", 4, 5, true, 3, true, false},
};

AttentionScope ScopeOf(const Case& test) {
  AttentionScope scope;
  scope.num_queries = test.num_queries;
  scope.past = test.past;
  const int64_t num_keys = scope.num_keys();
  if (test.padded) {
    // Row 0 full, row 1 padded on the left, row 2 on the right.
    scope.key_mask = at::ones({kRows, num_keys}, at::kBool);
    scope.key_mask[1].narrow(0, 0, num_keys / 3).fill_(false);
    scope.key_mask[2].narrow(0, num_keys - num_keys / 4, num_keys / 4).fill_(false);
  }
  if (test.documents) {
    scope.key_segments = at::arange(num_keys, at::kLong).div(4, "floor").expand({kRows, num_keys});
    scope.query_segments = scope.key_segments;
  }
  return scope;
}

// Attention with loops over single numbers, in double.
at::Tensor Oracle(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Case& test,
                  const AttentionScope& scope) {
  at::Tensor out = at::zeros(q.sizes(), at::kDouble);
  const auto qa = q.accessor<double, 4>();
  const auto ka = k.accessor<double, 4>();
  const auto va = v.accessor<double, 4>();
  auto result = out.accessor<double, 4>();
  for (int64_t b = 0; b < kRows; ++b) {
    for (int64_t h = 0; h < kHeads; ++h) {
      const int64_t g = h / (kHeads / kKvHeads);
      for (int64_t t = 0; t < test.num_queries; ++t) {
        const int64_t place = test.past + t;
        std::vector<std::pair<int64_t, double>> weights;
        double total = 0.0;
        for (int64_t j = 0; j < scope.num_keys(); ++j) {
          bool visible = test.strict ? j < place : j <= place;
          if (test.window > 0) visible = visible && j > place - test.window;
          if (test.padded) visible = visible && scope.key_mask[b][j].item<bool>();
          if (test.documents) visible = visible && j / 4 == place / 4;
          if (!visible) continue;
          double score = 0.0;
          for (int64_t d = 0; d < kHeadWidth; ++d) score += qa[b][h][t][d] * ka[b][g][j][d];
          const double weight = std::exp(score / std::sqrt(static_cast<double>(kHeadWidth)));
          weights.emplace_back(j, weight);
          total += weight;
        }
        for (const auto& [j, weight] : weights) {
          for (int64_t d = 0; d < kHeadWidth; ++d) {
            result[b][h][t][d] += weight / total * va[b][g][j][d];
          }
        }
      }
    }
  }
  return out;
}

class AttentionTest : public ::testing::TestWithParam<std::tuple<std::string, Case>> {};

TEST_P(AttentionTest, EqualsTheOracleAndHasFiniteGradients) {
  const auto& [kernel, test] = GetParam();
  const AttentionScope scope = ScopeOf(test);
  const int64_t num_keys = scope.num_keys();
  at::Tensor q = RandomTensor({kRows, kHeads, test.num_queries, kHeadWidth}, 1).requires_grad_();
  at::Tensor k = RandomTensor({kRows, kKvHeads, num_keys, kHeadWidth}, 2).requires_grad_();
  at::Tensor v = RandomTensor({kRows, kKvHeads, num_keys, kHeadWidth}, 3).requires_grad_();
  VisibilitySet set(scope);
  const Visibility& visibility =
      set.Get(test.strict, test.window > 0 ? std::optional<int64_t>(test.window) : std::nullopt);

  const at::Tensor out = FindAttention(kernel)(q, k, v, visibility, 0.0);
  EXPECT_LT(MaxAbsDiff(out, Oracle(q, k, v, test, scope)), 1e-12);  // fp64 algebra

  if (!out.requires_grad()) return;  // the one query that sees nothing
  const auto grads =
      torch::autograd::grad({(out * RandomTensor(out.sizes().vec(), 4)).sum()}, {q, k, v});
  for (const at::Tensor& grad : grads) EXPECT_TRUE(at::isfinite(grad).all().item<bool>());

  // Gradients agree with those of the plain maths.
  const auto want = torch::autograd::grad(
      {(FindAttention("reference")(q, k, v, visibility, 0.0) * RandomTensor(out.sizes().vec(), 4))
           .sum()},
      {q, k, v});
  for (size_t i = 0; i < grads.size(); ++i) EXPECT_LT(MaxAbsDiff(grads[i], want[i]), 1e-12);
}

INSTANTIATE_TEST_SUITE_P(Kernels, AttentionTest,
                         ::testing::Combine(::testing::ValuesIn(AttentionNames()),
                                            ::testing::ValuesIn(kCases)),
                         [](const auto& row) {
                           return std::get<0>(row.param) + "_" + std::get<1>(row.param).name;
                         });

AttentionScope OnGpu(AttentionScope scope) {
  scope.device = at::kCUDA;
  for (at::Tensor* tensor : {&scope.key_mask, &scope.query_segments, &scope.key_segments}) {
    if (tensor->defined()) *tensor = tensor->cuda();
  }
  return scope;
}

// Every kernel in every dtype of a GPU: outputs near the loops over the same rounded inputs, and a
// query that sees nothing gives exact zeros and harms no gradient.
TEST_P(AttentionTest, OnAGpuEqualsTheOracleAndHasFiniteGradients) {
  CKV_NEEDS_GPU();
  const auto& [kernel, test] = GetParam();
  const AttentionScope scope = ScopeOf(test);
  const int64_t num_keys = scope.num_keys();
  for (const auto& [dtype, tolerance] : std::vector<std::pair<at::ScalarType, double>>{
           {at::kDouble, 1e-12}, {at::kFloat, 1e-5}, {at::kHalf, 5e-3}, {at::kBFloat16, 4e-2}}) {
    const auto input = [dtype = dtype](std::vector<int64_t> sizes, int seed) {
      return RandomTensor(std::move(sizes), seed).to(at::kCUDA, dtype).requires_grad_();
    };
    const at::Tensor q = input({kRows, kHeads, test.num_queries, kHeadWidth}, 1);
    const at::Tensor k = input({kRows, kKvHeads, num_keys, kHeadWidth}, 2);
    const at::Tensor v = input({kRows, kKvHeads, num_keys, kHeadWidth}, 3);
    VisibilitySet set(OnGpu(scope));
    const Visibility& visibility =
        set.Get(test.strict, test.window > 0 ? std::optional<int64_t>(test.window) : std::nullopt);
    const at::Tensor out = FindAttention(kernel)(q, k, v, visibility, 0.0);
    const auto plain = [](const at::Tensor& tensor) {
      return tensor.detach().to(at::kCPU, at::kDouble).contiguous();
    };
    const at::Tensor want = Oracle(plain(q), plain(k), plain(v), test, scope);
    EXPECT_LT(MaxAbsDiff(plain(out), want), tolerance) << at::toString(dtype);
    // Rows of zeros are those that the loops found blind.
    const at::Tensor blind = want.eq(0).all(-1);
    EXPECT_EQ(plain(out).index({blind}).abs().sum().item<double>(), 0.0) << at::toString(dtype);

    if (!out.requires_grad()) continue;  // the one query that sees nothing
    const auto grads = torch::autograd::grad({out.to(at::kDouble).sum()}, {q, k, v});
    for (const at::Tensor& grad : grads) {
      EXPECT_TRUE(at::isfinite(grad).all().item<bool>()) << at::toString(dtype);
    }
  }
}

TEST(Attention, FullDropoutMixesNothing) {
  AttentionScope scope;
  scope.num_queries = 5;
  VisibilitySet set(scope);
  const at::Tensor x = RandomTensor({1, 1, 5, 4}, 1, at::kFloat);
  const at::Tensor out =
      FindAttention("reference")(x, x, x, set.Get(false, std::nullopt), /*dropout=*/1.0);
  EXPECT_EQ(out.abs().max().item<float>(), 0.0f);
}

TEST(FindAttention, NamesTheKernelsThatExist) {
  EXPECT_EQ(ErrorOf([] { FindAttention("flash3"); }),
            "2: attention kernel 'flash3' is not one of sdpa, reference");
}

}  // namespace
}  // namespace ckv
