#include "kv/cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "base/error.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

constexpr int64_t kBatch = 2;
constexpr int64_t kHeads = 3;
constexpr int64_t kWidth = 4;

class KvCacheTest : public ::testing::TestWithParam<bool> {  // differentiable
 protected:
  KvCache Make(const std::string& spec, int64_t max_tokens) {
    return KvCache(KvSharingSpec::Parse(spec), {kBatch, kHeads, kWidth, max_tokens},
                   at::TensorOptions().dtype(at::kDouble), GetParam());
  }
  static void Call(KvCache& cache, int64_t tokens, const at::Tensor& mask) {
    cache.Begin(tokens, mask);
    cache.StageKeys(0, Random(tokens, 1));
    cache.StageValues(0, Random(tokens, 2));
    cache.Commit();
  }
  // A row for each of two sequences.
  static at::Tensor Mask(const std::vector<int64_t>& real) {
    return at::tensor(real).view({kBatch, -1}).to(at::kBool);
  }
  static at::Tensor Random(int64_t tokens, uint64_t seed) {
    return RandomTensor({kBatch, kHeads, tokens, kWidth}, seed);
  }
};

TEST_P(KvCacheTest, GivesPastAndStagedTokens) {
  KvCache cache = Make("0_0", 8);
  const at::Tensor first = Random(3, 1);
  cache.Begin(3, {});
  cache.StageKeys(0, first);
  EXPECT_TRUE(cache.Keys(0).equal(first));
  EXPECT_TRUE(cache.Values(0).equal(at::zeros_like(first)));  // not staged: zeros
  cache.StageValues(0, first * 2);
  cache.Commit();
  EXPECT_EQ(cache.length(), 3);

  const at::Tensor second = Random(2, 2);
  cache.Begin(2, {});
  EXPECT_TRUE(cache.Keys(0).equal(at::cat({first, at::zeros_like(second)}, 2)));
  cache.StageKeys(0, second + 1);
  cache.StageKeys(0, second);  // a later pass replaces it
  cache.StageValues(0, second);
  EXPECT_TRUE(cache.Keys(0).equal(at::cat({first, second}, 2)));
  EXPECT_TRUE(cache.Values(0).equal(at::cat({first * 2, second}, 2)));
  cache.Commit();
  EXPECT_EQ(cache.length(), 5);
}

TEST_P(KvCacheTest, KeepsPaddingBesideTheKeys) {
  KvCache cache = Make("0", 8);
  Call(cache, 2, {});
  EXPECT_FALSE(cache.KeyMask().defined());
  Call(cache, 1, Mask({1, 0}));
  EXPECT_TRUE(cache.KeyMask().equal(Mask({1, 1, 1, 1, 1, 0})));
  Call(cache, 1, {});
  EXPECT_TRUE(cache.KeyMask().equal(Mask({1, 1, 1, 1, 1, 1, 0, 1})));
}

TEST_P(KvCacheTest, RefusesMoreThanItHolds) {
  KvCache cache = Make("0", 3);
  Call(cache, 2, {});
  EXPECT_THROW(cache.Begin(2, {}), InternalError);
}

INSTANTIATE_TEST_SUITE_P(Kinds, KvCacheTest, ::testing::Bool());

TEST(KvCache, TakesMemoryForOwnersOnlyKeysAndValuesApart) {
  const auto bytes = [](const std::string& spec) {
    return KvCache(KvSharingSpec::Parse(spec), {kBatch, kHeads, kWidth, 10},
                   at::TensorOptions().dtype(at::kFloat))
        .bytes();
  };
  const int64_t store = kBatch * kHeads * kWidth * 10 * 4;
  EXPECT_EQ(bytes("0_1_2_3"), 8 * store);
  EXPECT_EQ(bytes("0_3_3_3"), 4 * store);
  EXPECT_EQ(bytes("0_1_1/0_1/0"), 4 * store);
  EXPECT_EQ(bytes("0_0/1"), 3 * store);  // keys of 0, values of 0 and 1
}

TEST(KvCache, WritesInPlaceWithoutGradient) {
  KvCache cache(KvSharingSpec(1), {1, 1, 2, 4}, at::TensorOptions().dtype(at::kDouble));
  cache.Begin(1, {});
  cache.StageKeys(0, RandomTensor({1, 1, 1, 2}, 1).set_requires_grad(true));
  cache.StageValues(0, RandomTensor({1, 1, 1, 2}, 2));
  const void* memory = cache.Keys(0).data_ptr();
  EXPECT_FALSE(cache.Keys(0).requires_grad());
  cache.Commit();
  cache.Begin(1, {});
  EXPECT_EQ(cache.Keys(0).data_ptr(), memory);
}

TEST(KvCache, DifferentiableOnePassesGradientsToEarlierTokens) {
  KvCache cache(KvSharingSpec(1), {1, 1, 2, 4}, at::TensorOptions().dtype(at::kDouble), true);
  const at::Tensor first = RandomTensor({1, 1, 1, 2}, 1).set_requires_grad(true);
  cache.Begin(1, {});
  cache.StageKeys(0, first);
  cache.StageValues(0, first.detach());
  cache.Commit();
  cache.Begin(1, {});
  cache.StageKeys(0, RandomTensor({1, 1, 1, 2}, 2));
  cache.Keys(0).sum().backward();
  EXPECT_TRUE(first.grad().equal(at::ones_like(first)));
}

TEST(KvCacheRows, AreReorderedRepeatedAndLeftOut) {
  KvCache cache(KvSharingSpec::Parse("0_0"), {3, kHeads, kWidth, 4}, at::kDouble);
  const at::Tensor keys = RandomTensor({3, kHeads, 2, kWidth}, 1);
  const at::Tensor mask = at::tensor({0, 1, 1, 1, 0, 0}).view({3, 2}).to(at::kBool);
  cache.Begin(2, mask);
  cache.StageKeys(0, keys);
  cache.StageValues(0, keys * 2);
  cache.Commit();
  cache.SelectRows({2, 0, 2, 2});
  const at::Tensor rows = at::tensor({2, 0, 2, 2}, at::kLong);
  EXPECT_EQ(cache.batch(), 4);
  cache.Begin(1, {});
  EXPECT_TRUE(cache.Keys(0).narrow(2, 0, 2).equal(keys.index_select(0, rows)));
  EXPECT_TRUE(cache.Values(0).narrow(2, 0, 2).equal(keys.index_select(0, rows) * 2));
  EXPECT_TRUE(cache.KeyMask().narrow(1, 0, 2).equal(mask.index_select(0, rows)));
  EXPECT_EQ(cache.Keys(0).size(0), 4);
}

}  // namespace
}  // namespace ckv
