#include "sharing/cost.h"

#include <cstdio>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sharing/presets.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;

ModelShape Shape1B() {
  ModelShape shape;
  shape.hidden = 2048;
  shape.heads = 32;
  shape.kv_heads = 4;
  shape.head_dim = 64;
  shape.ffn = 5632;
  shape.vocab = 32000;
  return shape;
}

ModelShape Shape110M() {
  ModelShape shape;
  shape.hidden = 768;
  shape.heads = 12;
  shape.kv_heads = 6;
  shape.head_dim = 64;
  shape.ffn = 2048;
  shape.vocab = 32000;
  return shape;
}

// Small enough for sums by hand: q and o 2 x 8 x 8, k and v 8 x 4 each, feed-forward 3 x 8 x 10.
ModelShape ShapeTiny() {
  ModelShape shape;
  shape.hidden = 8;
  shape.heads = 4;
  shape.kv_heads = 2;
  shape.head_dim = 2;
  shape.ffn = 10;
  shape.vocab = 100;
  return shape;
}

TEST(CountParams, EqualsPublishedCounts) {
  EXPECT_EQ(CountParams(KvSharingSpec(22), Shape1B()).total(), 1100048384);
  EXPECT_EQ(CountParams(KvSharingSpec(12), Shape110M()).without_embedding(), 102451968);
}

TEST(CountParams, LeavesOutProjectionsThatNobodyReads) {
  const ModelShape shape = ShapeTiny();
  const int64_t plain = CountParams(KvSharingSpec(4), shape).total();
  EXPECT_EQ(plain, 2 * 800 + 4 * (128 + 64 + 240 + 16) + 8);
  EXPECT_EQ(CountParams(KvSharingSpec::Parse("0_0_0_0"), shape).total(), plain - 3 * 64);
  EXPECT_EQ(CountParams(KvSharingSpec::Parse("0_1_1/0_1/0"), shape).total(), plain - 2 * 64);
  EXPECT_EQ(CountParams(KvSharingSpec::Parse("0_1/0_1/0_1/0"), shape).total(), plain - 5 * 32);
}

TEST(CountParams, CountsBiasesAndTying) {
  ModelShape shape = ShapeTiny();
  const int64_t plain = CountParams(KvSharingSpec(1), shape).total();
  shape.tied = true;
  EXPECT_EQ(CountParams(KvSharingSpec(1), shape).total(), plain - 800);
  shape.attention_bias = true;
  EXPECT_EQ(CountParams(KvSharingSpec(1), shape).total(), plain - 800 + 8 + 4 + 4 + 8);
  shape.mlp_bias = true;
  EXPECT_EQ(CountParams(KvSharingSpec(1), shape).total(), plain - 800 + 24 + 10 + 10 + 8);
}

TEST(KvBytes, CountStoresNotReaders) {
  EXPECT_EQ(KvBytesPerToken(KvSharingSpec(22), Shape1B(), 2), 22 * 2 * 256 * 2);
  EXPECT_EQ(KvBytesPerToken(KvSharingSpec::Parse("0_10*20_21"), Shape1B(), 2), 3 * 2 * 256 * 2);
  EXPECT_EQ(NumKvStores(KvSharingSpec::Parse("0_1_1/0_1/0")), 4);
  EXPECT_EQ(NumKvStores(KvSharingSpec::Parse("0_1/0_1/0")), 3);
}

TEST(KvBytes, WindowsBoundOnlyStoresOfWindowedReaders) {
  ModelShape shape = ShapeTiny();
  shape.window = 16;
  const int64_t row = shape.kv_width() * 2;
  EXPECT_EQ(KvBytesPerSequence(KvSharingSpec::Parse("0s_0s"), shape, 100, 1), 16 * row);
  EXPECT_EQ(KvBytesPerSequence(KvSharingSpec::Parse("0s_0"), shape, 100, 1), 100 * row);
  EXPECT_EQ(KvBytesPerSequence(KvSharingSpec::Parse("0s_0s"), shape, 10, 1), 10 * row);
  EXPECT_EQ(KvBytesPerSequence(KvSharingSpec::Parse("0_1s_2/1s"), shape, 100, 1),
            100 * row + 16 * row + 16 * row / 2);
}

TEST(LargestBatch, FillsTheMemoryBesideTheWeights) {
  const KvSharingSpec spec(22);
  const double weights = 2.0 * 1100048384;
  const double sequence = 2048.0 * 22 * 2 * 256 * 2;
  EXPECT_EQ(LargestBatch(spec, Shape1B(), 2048, weights + 10.5 * sequence, 2, 2), 10);
  EXPECT_EQ(LargestBatch(spec, Shape1B(), 2048, weights + 0.5 * sequence, 2, 2), 0);
  EXPECT_EQ(LargestBatch(spec, Shape1B(), 2048, weights - 1, 2, 2), 0);
  EXPECT_EQ(LargestLength(spec, Shape1B(), 4, weights + 4 * sequence, 2, 2, 1 << 20), 2048);
  EXPECT_EQ(LargestLength(spec, Shape1B(), 4, weights + 4 * sequence, 2, 2, 1000), 1000);
  EXPECT_EQ(LargestLength(spec, Shape1B(), 4, weights - 1, 2, 2, 1000), 0);
}

TEST(MeanVisibleKeys, EqualsCountingOneByOne) {
  for (int64_t tokens = 1; tokens <= 9; ++tokens) {
    for (int64_t past = 0; past <= 9; ++past) {
      for (const bool hides_own : {false, true}) {
        for (int64_t window = 0; window <= 12; ++window) {
          int64_t seen = 0;
          for (int64_t a = past; a < past + tokens; ++a) {
            for (int64_t j = 0; j <= a; ++j) {
              seen += (!hides_own || j < a) && (window == 0 || j > a - window);
            }
          }
          const auto size = window == 0 ? std::nullopt : std::optional<int64_t>(window);
          EXPECT_DOUBLE_EQ(MeanVisibleKeys(tokens, past, hides_own, size),
                           static_cast<double>(seen) / static_cast<double>(tokens));
        }
      }
    }
  }
}

TEST(TrainFlops, EqualsPublishedFiguresOfPlainModels) {
  const TrainFlops large = CountTrainFlops(IterationPlan(KvSharingSpec(22), 7, 2), Shape1B(), 2048);
  EXPECT_NEAR(large.plain / 1e9, 7.31, 0.005);
  const TrainFlops small =
      CountTrainFlops(IterationPlan(KvSharingSpec(12), 7, 2), Shape110M(), 1024);
  EXPECT_NEAR(small.plain / 1e9, 0.728, 0.0005);
  EXPECT_EQ(small.passes, small.passes_unsaved);
  EXPECT_EQ(small.passes, small.plain_visible);
}

TEST(TrainFlops, LayerPassesEqualThePapersRatios) {
  EXPECT_NEAR(LayerPassRatio(IterationPlan(KvSharingSpec::Parse("0_20*20_21"), 7, 2)), 4.03, 0.005);
  EXPECT_NEAR(LayerPassRatio(IterationPlan(KvSharingSpec::Parse("0_10*20_21"), 7, 2)), 2.52, 0.005);
  EXPECT_EQ(LayerPassRatio(IterationPlan(KvSharingSpec::Parse("0*22"), 7, 2)), 1);
}

TEST(TrainFlops, EqualsASumByHand) {
  // Layer 0 looks up to layer 1; m = 1, b = 1; T = 4 tokens.
  const IterationPlan plan(KvSharingSpec::Parse("1_1"), 1, 1);
  const double ffn = 2 * 240, qo = 2 * 128, k = 2 * 32, v = k, head = 2 * 800;
  const double strict = 4 * 8 * 1.5, causal = 4 * 8 * 2.5;
  const double first_unsaved = (ffn + qo + strict) + (k + v + ffn + qo + causal);
  const double first = ffn + (k + v);
  const TrainFlops flops = CountTrainFlops(plan, ShapeTiny(), 4);
  EXPECT_DOUBLE_EQ(flops.passes_unsaved, 4 * first_unsaved + 3 * head);
  EXPECT_DOUBLE_EQ(flops.passes, first + 3 * first_unsaved + 3 * head);
  // A guess is two projections more, and what it is read for.
  const TrainFlops guess = CountTrainFlops(plan, ShapeTiny(), 4, KvStart::kGuess);
  EXPECT_DOUBLE_EQ(guess.passes, flops.passes + (k + v) + (qo + strict));
}

TEST(TrainFlops, SavingsNeverAdd) {
  std::printf("%-34s %9s %9s %9s\n", "22 layers, 1.1B, T 2048, m 7, b 2", "layers", "all work",
              "saved");
  for (const char* text : {"0_20*20_21", "0_10*20_21", "0_1_2_3_4_5_6_7_8_9_21*12",
                           "1*2_3*2_5*2_7*2_9*2_11*2_13*2_15*2_17*2_19*2_21*2", "10/0*21_21"}) {
    const IterationPlan plan(KvSharingSpec::Parse(text), 7, 2);
    const TrainFlops flops = CountTrainFlops(plan, Shape1B(), 2048);
    EXPECT_LT(flops.passes, flops.passes_unsaved);
    std::printf("%-34.34s %9.2f %9.2f %9.2f\n", text, LayerPassRatio(plan),
                flops.passes_unsaved / flops.plain_visible, flops.passes / flops.plain_visible);
  }
}

TEST(PrefillFlops, CountsOnlyWhatFeedsAStoreOrTheLastPosition) {
  const ModelShape shape = ShapeTiny();
  const double ffn = 2 * 240, qo = 2 * 128, kv = 2 * 64, head = 2 * 800;
  const double last = ffn + qo + 4 * 8 * 100.0;  // a layer at position 99
  const double full = 100 * (ffn + qo + 4 * 8 * 50.5);
  EXPECT_DOUBLE_EQ(CountPrefillFlops(IterationPlan(KvSharingSpec(2), 7, 2), shape, 100),
                   (100 * kv + full) + (100 * kv + last) + head);
  EXPECT_DOUBLE_EQ(
      CountPrefillFlops(IterationPlan(KvSharingSpec::Parse("0_1*3"), 7, 2), shape, 100),
      (100 * kv + full) + (100 * kv + last) + 2 * last + head);
}

TEST(PrefillFlops, ShortCyclicPromptsGoTokenByToken) {
  const ModelShape shape = ShapeTiny();
  const IterationPlan plan(KvSharingSpec::Parse("1_1"), 7, 2);
  const double head = 2 * 800;
  // The upper layer's attention and feed-forward serve the last token only.
  const double qo = 2 * 128, ffn = 2 * 240;
  double wanted = head;
  for (int64_t past = 0; past < 9; ++past) {
    wanted += CountDecode(plan.spec(), shape, past, 1, 2, 2).flops - head;
    if (past < 8) wanted -= qo + ffn + 4 * 8 * static_cast<double>(past + 1);
  }
  EXPECT_DOUBLE_EQ(CountPrefillFlops(plan, shape, 9), wanted);
  EXPECT_GT(CountPrefillFlops(plan, shape, 10), 1.5 * wanted);
}

TEST(DecodeCost, ReadsAsMuchAsWithoutSharing) {
  const ModelShape shape = ShapeTiny();
  const DecodeCost plain = CountDecode(KvSharingSpec(4), shape, 9, 3, 2, 1);
  const DecodeCost shared = CountDecode(KvSharingSpec::Parse("0*4"), shape, 9, 3, 2, 1);
  EXPECT_DOUBLE_EQ(plain.kv_read_bytes, 3 * 4 * 10 * 2 * 4);
  EXPECT_DOUBLE_EQ(shared.kv_read_bytes, plain.kv_read_bytes);
  EXPECT_DOUBLE_EQ(plain.kv_write_bytes, 3 * 4 * 2 * 4);
  EXPECT_DOUBLE_EQ(shared.kv_write_bytes, 3 * 1 * 2 * 4);
  EXPECT_DOUBLE_EQ(plain.weight_bytes, 2 * (800 + 4 * (128 + 64 + 240 + 16) + 8 + 3 * 8));
  EXPECT_DOUBLE_EQ(plain.flops, 3 * (4 * 2 * (128 + 64 + 240) + 4 * 4 * 8 * 10 + 2 * 800));
}

TEST(CheckShape, RefusesWhatCannotBe) {
  EXPECT_EQ(ErrorOf([] { CheckShape(Shape1B()); }), "");
  ModelShape shape = ShapeTiny();
  shape.kv_heads = 3;
  EXPECT_THAT(ErrorOf([&] { CheckShape(shape); }), HasSubstr("evenly"));
  shape = ShapeTiny();
  shape.ffn = 0;
  EXPECT_THAT(ErrorOf([&] { CheckShape(shape); }), HasSubstr("feed-forward width is 0"));
  shape.ffn = int64_t{1} << 40;
  EXPECT_THAT(ErrorOf([&] { CheckShape(shape); }), HasSubstr("feed-forward width"));
}

}  // namespace
}  // namespace ckv
