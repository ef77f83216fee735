#include "kv/cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "base/error.h"
#include "base/random.h"
#include "kv/tape.h"
#include "sharing/cost.h"
#include "tests/sharing/random_spec.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

constexpr int64_t kBatch = 2;
constexpr int64_t kHeads = 3;
constexpr int64_t kWidth = 4;

at::Tensor RandomKv(int64_t tokens, uint64_t seed, int64_t rows = kBatch) {
  return RandomTensor({rows, kHeads, tokens, kWidth}, seed);
}

KvCache MakeCache(const std::string& spec, int64_t max_tokens,
                  std::optional<int64_t> window = std::nullopt, int64_t rows = kBatch) {
  KvCacheShape shape;
  shape.rows = rows;
  shape.kv_heads = kHeads;
  shape.head_dim = kWidth;
  shape.max_tokens = max_tokens;
  shape.window = window;
  return KvCache(KvSharingSpec::Parse(spec), shape, at::TensorOptions().dtype(at::kDouble));
}

KvCache MakeSinkCache(const std::string& spec, int64_t num_sinks, int64_t window_length,
                      int64_t rows = kBatch) {
  KvCacheShape shape;
  shape.rows = rows;
  shape.kv_heads = kHeads;
  shape.head_dim = kWidth;
  shape.max_tokens = 1;
  shape.sinks = SinkWindow{num_sinks, window_length};
  return KvCache(KvSharingSpec::Parse(spec), shape, at::TensorOptions().dtype(at::kDouble),
                 Rope(RopeConfig(), kWidth));
}

// Feeds columns [from, to) of `kv` [B, G, T, D] as one call (or a step each) of a one-layer model;
// values are the negative keys.
void Feed(KvCache& cache, const at::Tensor& kv, int64_t from, int64_t to, bool steps,
          const std::vector<int64_t>& counts = {}) {
  const auto stage = [&](int64_t begin, int64_t length) {
    cache.StageKeys(0, kv.narrow(2, begin, length));
    cache.StageValues(0, -kv.narrow(2, begin, length));
    cache.Commit();
  };
  if (!steps) {
    cache.Begin(to - from, counts);
    stage(from, to - from);
    return;
  }
  for (int64_t t = from; t < to; ++t) {
    std::vector<int64_t> has;
    for (const int64_t count : counts) has.push_back(t - from < count ? 1 : 0);
    cache.BeginStep(has);
    stage(t, 1);
  }
}

TEST(KvCache, GivesPastAndStagedTokens) {
  KvCache cache = MakeCache("0_0", 8);
  const at::Tensor first = RandomKv(3, 1);
  cache.Begin(3);
  cache.StageKeys(0, first);
  EXPECT_TRUE(cache.Keys(0).equal(first));
  EXPECT_TRUE(cache.Values(0).equal(at::zeros_like(first)));  // not staged: zeros
  cache.StageValues(0, first * 2);
  cache.Commit();
  EXPECT_EQ(cache.length(), 3);

  const at::Tensor second = RandomKv(2, 2);
  cache.Begin(2);
  EXPECT_TRUE(cache.Keys(0).equal(at::cat({first, at::zeros_like(second)}, 2)));
  cache.StageKeys(0, second + 1);
  cache.StageKeys(0, second);  // a later pass replaces it
  cache.StageValues(0, second);
  EXPECT_TRUE(cache.Keys(0).equal(at::cat({first, second}, 2)));
  EXPECT_TRUE(cache.Values(0).equal(at::cat({first * 2, second}, 2)));
  cache.Commit();
  EXPECT_EQ(cache.length(), 5);
  EXPECT_TRUE(cache.lengths().equal(at::tensor({5, 5}, at::kLong)));
}

TEST(KvCache, RefusesMoreThanItHolds) {
  KvCache cache = MakeCache("0", 3);
  Feed(cache, RandomKv(2, 1), 0, 2, false);
  EXPECT_THROW(cache.Begin(2), InternalError);
  EXPECT_THROW(cache.Begin(2, {2, 1}), InternalError);
  cache.BeginStep();
}

TEST(KvCache, RefusesACallWithoutTheKeysOfAnOwner) {
  KvCache cache = MakeCache("0", 3);
  cache.Begin(2);
  cache.StageKeys(0, RandomKv(2, 1));
  EXPECT_THROW(cache.Commit(), InternalError);
}

TEST(KvCache, TakesMemoryForOwnersOnlyKeysAndValuesApart) {
  const auto bytes = [](const std::string& spec) {
    KvCacheShape shape{kBatch, kHeads, kWidth, 10, {}, {}};
    return KvCache(KvSharingSpec::Parse(spec), shape, at::TensorOptions().dtype(at::kFloat))
        .store_bytes();
  };
  const int64_t store = kBatch * kHeads * kWidth * 10 * 4;
  EXPECT_EQ(bytes("0_1_2_3"), 8 * store);
  EXPECT_EQ(bytes("0_3_3_3"), 4 * store);
  EXPECT_EQ(bytes("0_1_1/0_1/0"), 4 * store);
  EXPECT_EQ(bytes("0_0/1"), 3 * store);  // keys of 0, values of 0 and 1
}

TEST(KvCache, TakesWhatTheCostModelSays) {
  Random random(5);
  for (int i = 0; i < 200; ++i) {
    const KvSharingSpec spec = RandomSpec(random, 9);
    ModelShape shape;
    shape.kv_heads = kHeads;
    shape.head_dim = kWidth;
    shape.window = 1 + static_cast<int64_t>(random.Below(20));
    const KvCacheShape cache_shape{kBatch, kHeads, kWidth, 12, shape.window, {}};
    const KvCache cache(spec, cache_shape, at::TensorOptions().dtype(at::kFloat));
    EXPECT_EQ(cache.store_bytes(), kBatch * KvBytesPerSequence(spec, shape, 12, 4))
        << spec.ToString() << " window " << *shape.window;
  }
}

// What the CPU allocator hands out while this lives.
class AllocatedBytes : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t size, size_t, size_t, c10::Device) override {
    bytes += size;
  }
  void reportOutOfMemory(int64_t, size_t, size_t, c10::Device) override {}
  bool memoryProfilingEnabled() const override { return true; }

  int64_t bytes = 0;
};

TEST(KvCache, BytesAreThoseOfTheAllocator) {
  const auto counter = std::make_shared<AllocatedBytes>();
  const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, counter);
  for (const char* spec : {"0_1_2_3", "0_3_3_3", "0_1_1/0_1/0", "0s_0s_2_2s"}) {
    for (const bool sinks : {false, true}) {
      const int64_t before = counter->bytes;
      KvCache cache = sinks ? MakeSinkCache(spec, 3, 9) : MakeCache(spec, 100, 7);
      EXPECT_EQ(cache.bytes(), counter->bytes - before) << spec;
      cache.SelectRows({0, 1, 1});
      EXPECT_EQ(cache.bytes(), counter->bytes - before) << spec;
      cache.AppendRows(cache);
      EXPECT_EQ(cache.bytes(), counter->bytes - before) << spec;
    }
  }
}

TEST(KvCache, WritesInPlaceWithoutGradient) {
  KvCache cache = MakeCache("0", 4, std::nullopt, 1);
  cache.Begin(1);
  cache.StageKeys(0, RandomKv(1, 1, 1).set_requires_grad(true));
  cache.StageValues(0, RandomKv(1, 2, 1));
  const void* memory = cache.Keys(0).data_ptr();
  EXPECT_FALSE(cache.Keys(0).requires_grad());
  cache.Commit();
  cache.Begin(1);
  EXPECT_EQ(cache.Keys(0).data_ptr(), memory);
}

// Whatever the policy and however tokens come, a store holds what its policy says.
class KvCacheFeedTest : public ::testing::TestWithParam<int64_t> {};  // tokens of a call

TEST_P(KvCacheFeedTest, StoresHoldWhatTheirPolicySays) {
  constexpr int64_t kTokens = 23;
  const at::Tensor kv = RandomKv(kTokens, 1);
  for (const bool steps : {false, true}) {
    KvCache full = MakeCache("0", kTokens);
    KvCache ring = MakeCache("0s", kTokens, 5);
    KvCache sink = MakeSinkCache("0", 2, 7);
    for (int64_t at = 0; at < kTokens; at += GetParam()) {
      const int64_t end = std::min(at + GetParam(), kTokens);
      for (KvCache* cache : {&full, &ring, &sink}) Feed(*cache, kv, at, end, steps);
      for (int64_t row = 0; row < kBatch; ++row) {
        EXPECT_TRUE(full.HeldKeys(0, row).equal(kv[row].narrow(1, 0, end)));
        const int64_t kept = std::min<int64_t>(end, 5);
        EXPECT_TRUE(ring.HeldKeys(0, row).equal(kv[row].narrow(1, end - kept, kept)));
        EXPECT_TRUE(ring.HeldValues(0, row).equal(-kv[row].narrow(1, end - kept, kept)));
        const int64_t recent = std::min<int64_t>(end, 7) - std::min<int64_t>(end, 2);
        const at::Tensor values = at::cat({kv[row].narrow(1, 0, std::min<int64_t>(end, 2)),
                                           kv[row].narrow(1, end - recent, recent)},
                                          1);
        EXPECT_TRUE(sink.HeldValues(0, row).equal(-values));
        // The values of keys are turned, their norms are not.
        EXPECT_LT(MaxAbsDiff(sink.HeldKeys(0, row).norm(2, 2), values.norm(2, 2)), 1e-14);
      }
    }
  }
}

TEST_P(KvCacheFeedTest, UnevenRowsHoldWhatEachHoldsAlone) {
  const std::vector<std::vector<int64_t>> calls = {{6, 2, 4}, {1, 7, 0}, {3, 3, 3}, {0, 0, 1}};
  const at::Tensor kv = RandomKv(40, 1, 3);
  for (const bool steps : {false, true}) {
    for (const int kind : {0, 1, 2}) {
      const auto make = [&](int64_t rows) {
        return kind == 0   ? MakeCache("0", 40, std::nullopt, rows)
               : kind == 1 ? MakeCache("0s", 40, 5, rows)
                           : MakeSinkCache("0", 2, 5, rows);
      };
      KvCache together = make(3);
      int64_t at = 0;
      std::vector<KvCache> alone;
      for (int row = 0; row < 3; ++row) alone.push_back(make(1));
      for (const std::vector<int64_t>& counts : calls) {
        const int64_t most = *std::max_element(counts.begin(), counts.end());
        Feed(together, kv, at, at + most, steps, counts);
        for (size_t row = 0; row < 3; ++row) {
          if (counts[row] == 0) continue;
          Feed(alone[row], kv.narrow(0, static_cast<int64_t>(row), 1), at, at + counts[row], steps);
        }
        at += most;
      }
      for (int64_t row = 0; row < 3; ++row) {
        KvCache& own = alone[static_cast<size_t>(row)];
        EXPECT_EQ(together.host_lengths()[static_cast<size_t>(row)], own.length());
        EXPECT_LT(MaxAbsDiff(together.HeldKeys(0, row), own.HeldKeys(0, 0)), 1e-14);
        EXPECT_TRUE(together.HeldValues(0, row).equal(own.HeldValues(0, 0)));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(TokensOfACall, KvCacheFeedTest, ::testing::Values(1, 2, 3, 5, 8, 23));

TEST(KvCache, ADiscardedPassLeavesNoTraceInARing) {
  KvCache cache = MakeCache("0s", 20, 4);
  const at::Tensor kv = RandomKv(9, 1);
  Feed(cache, kv, 0, 6, false);
  cache.Begin(3);
  cache.StageKeys(0, kv.narrow(2, 6, 3) + 5);
  cache.StageValues(0, kv.narrow(2, 6, 3) + 5);
  // The past of the call is still all there, in any order, and what is staged behind it.
  const at::Tensor read = cache.Keys(0);
  const at::Tensor positions = cache.Scopes()[0].key_positions[0];
  for (int64_t i = 0; i < 4; ++i) {
    const int64_t position = positions[i].item<int64_t>();
    EXPECT_TRUE(read.select(2, i).equal(kv.select(2, position))) << position;
  }
  cache.StageKeys(0, kv.narrow(2, 6, 3));
  cache.StageValues(0, -kv.narrow(2, 6, 3));
  cache.Commit();
  EXPECT_TRUE(cache.HeldKeys(0, 1).equal(kv[1].narrow(1, 5, 4)));
}

TEST(KvCache, SelectsAppendsAndReplacesRows) {
  const at::Tensor kv = RandomKv(30, 1, 3);
  for (const int kind : {0, 1, 2}) {
    const auto make = [&](int64_t rows) {
      return kind == 0   ? MakeCache("0", 40, std::nullopt, rows)
             : kind == 1 ? MakeCache("0s", 40, 5, rows)
                         : MakeSinkCache("0", 2, 5, rows);
    };
    // Row r of `original` has 8 + r tokens, then goes on with 3 more in whatever place.
    KvCache original = make(3);
    Feed(original, kv, 0, 10, false, {8, 9, 10});
    const auto expect_row = [&](const KvCache& cache, int64_t row, int64_t was) {
      EXPECT_LT(MaxAbsDiff(cache.HeldKeys(0, row), original.HeldKeys(0, was)), 1e-14) << kind;
      EXPECT_TRUE(cache.HeldValues(0, row).equal(original.HeldValues(0, was))) << kind;
    };
    KvCache copy = make(3);
    Feed(copy, kv, 0, 10, false, {8, 9, 10});
    copy.SelectRows({2, 0, 0});
    EXPECT_THAT(copy.host_lengths(), ::testing::ElementsAre(10, 8, 8));
    for (const auto& [row, was] : {std::pair(0, 2), std::pair(1, 0), std::pair(2, 0)}) {
      expect_row(copy, row, was);
    }
    copy.SelectRows({1});
    expect_row(copy, 0, 0);
    copy.AppendRows(original);
    EXPECT_THAT(copy.host_lengths(), ::testing::ElementsAre(8, 8, 9, 10));
    EXPECT_TRUE(copy.lengths().equal(at::tensor({8, 8, 9, 10}, at::kLong)));
    expect_row(copy, 3, 2);
    const void* memory = copy.KeySlots(0).data_ptr();
    copy.ReplaceRows({0, 3}, original, {1, 0});
    EXPECT_EQ(copy.KeySlots(0).data_ptr(), memory);
    EXPECT_THAT(copy.host_lengths(), ::testing::ElementsAre(9, 8, 9, 8));
    expect_row(copy, 0, 1);
    expect_row(copy, 3, 0);

    // They go on as the rows they came from.
    const at::Tensor more = kv.narrow(2, 10, 3);
    Feed(original, more, 0, 3, true);
    Feed(copy, more.index_select(0, at::tensor({1, 0, 1, 0}, at::kLong)), 0, 3, true);
    for (const auto& [row, was] : {std::pair(0, 1), std::pair(1, 0), std::pair(3, 0)}) {
      expect_row(copy, row, was);
    }
    copy.Clear();
    EXPECT_TRUE(copy.past_empty());
  }
}

TEST(KvCache, RefusesRowsThatDoNotFit) {
  KvCache cache = MakeCache("0", 5);
  EXPECT_THROW(cache.SelectRows({}), InternalError);
  EXPECT_THROW(cache.SelectRows({2}), InternalError);
  EXPECT_THROW(cache.AppendRows(MakeCache("0s", 20, 4)), InternalError);
  EXPECT_THROW(cache.AppendRows(MakeCache("0_1", 5)), InternalError);
  KvCache longer = MakeCache("0", 9);
  Feed(longer, RandomKv(7, 1), 0, 7, false);
  EXPECT_THROW(cache.AppendRows(longer), InternalError);
  EXPECT_THROW(cache.ReplaceRows({0}, longer, {0}), InternalError);
}

// A step recorded once and replayed must depend on nothing that only the host knows.
TEST(KvCache, AReplayableStepEqualsAnOrdinaryOne) {
  const at::Tensor kv = RandomKv(20, 1);
  for (const int kind : {0, 1, 2}) {
    const auto make = [&] {
      return kind == 0   ? MakeCache("0", 40)
             : kind == 1 ? MakeCache("0s", 40, 5)
                         : MakeSinkCache("0", 2, 5);
    };
    KvCache plain = make();
    KvCache replayable = make();
    replayable.set_replayable(true);
    Feed(plain, kv, 0, 20, true);
    Feed(replayable, kv, 0, 20, true);
    EXPECT_TRUE(replayable.HeldKeys(0, 1).equal(plain.HeldKeys(0, 1))) << kind;
    replayable.BeginStep();
    EXPECT_EQ(replayable.Positions().dim(), 2);
    EXPECT_FALSE(replayable.Span(0, true, {}).same().has_value());
    EXPECT_EQ(replayable.Span(0, true, {}).most_end(), replayable.KeySlots(0).size(2));
  }
}

TEST(KvTape, PassesGradientsToEarlierTokens) {
  KvTape tape(1);
  const at::Tensor first = RandomTensor({1, 1, 1, 2}, 1).set_requires_grad(true);
  tape.StageKeys(0, first);
  tape.Commit();
  const at::Tensor unstaged = at::zeros({1, 1, 1, 2}, at::kDouble);
  EXPECT_TRUE(tape.Keys(0, unstaged).equal(at::cat({first, unstaged}, 2)));
  const at::Tensor second = RandomTensor({1, 1, 1, 2}, 2);
  tape.StageKeys(0, second);
  EXPECT_TRUE(tape.Keys(0, unstaged).equal(at::cat({first, second}, 2)));
  EXPECT_TRUE(tape.Values(0, unstaged).equal(unstaged));
  tape.Keys(0, unstaged).sum().backward();
  EXPECT_TRUE(first.grad().equal(at::ones_like(first)));
}

}  // namespace
}  // namespace ckv
