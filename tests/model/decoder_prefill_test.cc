// Orders of a prompt, what is left out of them, and what they cost.
#include <ATen/record_function.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "model/decoder.h"
#include "model/packed_rows.h"
#include "tests/model/sample_specs.h"
#include "tests/model/tiny_decoder.h"
#include "tests/temp_dir.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

constexpr int64_t kPrompt = 11;
using Order = DecoderRun::Order;

DecoderRun PromptRun(Order order, int64_t passes, KvCache& cache) {
  DecoderRun run;
  run.order = order;
  run.forward_passes = passes - 1;
  run.backward_passes = 1;
  run.chunk_tokens = 4;
  run.cache = &cache;
  return run;
}

// Largest difference of what two caches hold.
double CacheDiff(const KvCache& a, const KvCache& b, const KvSharingSpec& spec) {
  double worst = 0.0;
  for (const int layer : spec.kv_layers()) {
    for (int64_t row = 0; row < a.rows(); ++row) {
      if (spec.computes_k(layer)) {
        worst = std::max(worst, MaxAbsDiff(a.HeldKeys(layer, row), b.HeldKeys(layer, row)));
      }
      if (spec.computes_v(layer)) {
        worst = std::max(worst, MaxAbsDiff(a.HeldValues(layer, row), b.HeldValues(layer, row)));
      }
    }
  }
  return worst;
}

class DecoderPrefillTest : public ::testing::TestWithParam<std::string> {
 protected:
  at::NoGradGuard no_grad_;
};

TEST_P(DecoderPrefillTest, TheLastPositionAloneIsTheLastOfAllAndTheCacheIsComplete) {
  Decoder decoder = TinyDecoder(GetParam());
  const at::Tensor tokens = RandomIds({3, kPrompt}, 31, 1);
  const at::Tensor mask = at::arange(kPrompt) < at::tensor({11, 5, 8}).unsqueeze(1);
  for (const Order order : {Order::kParallel, Order::kSequential, Order::kChunked}) {
    for (const bool uneven : {false, true}) {
      KvCache all = decoder->NewCache(3, 30);
      KvCache last = decoder->NewCache(3, 30);
      KvCache unsaved = decoder->NewCache(3, 30);
      const DecoderInput input{tokens, uneven ? mask : at::Tensor(), {}};
      for (int call = 0; call < 2; ++call) {  // the second one has a past
        const at::Tensor hidden = decoder->Hidden(input, PromptRun(order, 4, all));
        DecoderRun run = PromptRun(order, 4, last);
        run.last_only = true;
        const at::Tensor got = decoder->Hidden(input, run);
        run.cache = &unsaved;
        run.exact_savings = false;
        const at::Tensor without_savings = decoder->Hidden(input, run);
        ASSERT_EQ(got.sizes(), (std::vector<int64_t>{3, 1, 16}));
        for (int64_t row = 0; row < 3; ++row) {
          const int64_t end = uneven ? mask[row].sum().item<int64_t>() : kPrompt;
          EXPECT_LT(MaxAbsDiff(got[row][0], hidden[row][end - 1]), 1e-12);
          EXPECT_LT(MaxAbsDiff(without_savings[row][0], hidden[row][end - 1]), 1e-12);
        }
      }
      EXPECT_LT(CacheDiff(all, last, decoder->config().sharing()), 1e-12);
      EXPECT_LT(CacheDiff(all, unsaved, decoder->config().sharing()), 1e-12);
    }
  }
}

TEST_P(DecoderPrefillTest, TheLastPositionAloneNeedsNoCache) {
  Decoder decoder = TinyDecoder(GetParam());
  const at::Tensor tokens = RandomIds({2, kPrompt}, 31, 1);
  const DecoderInput padded{tokens, at::arange(kPrompt) >= at::tensor({0, 3}).unsqueeze(1), {}};
  DecoderRun run;
  run.order = Order::kParallel;
  const at::Tensor all = decoder->Hidden(padded, run);
  run.last_only = true;
  EXPECT_LT(MaxAbsDiff(decoder->Hidden(padded, run), all.narrow(1, kPrompt - 1, 1)), 1e-12);
}

TEST_P(DecoderPrefillTest, ChunksWithEnoughPassesAreExact) {
  Decoder decoder = TinyDecoder(GetParam());
  const DecoderInput input{RandomIds({2, kPrompt}, 31, 1), {}, {}};
  KvCache exact = decoder->NewCache(2, kPrompt);
  const at::Tensor want = decoder->Hidden(input, PromptRun(Order::kSequential, 1, exact));
  for (const int64_t chunk : {1, 2, 3, 5, 11, 50}) {
    KvCache cache = decoder->NewCache(2, kPrompt);
    DecoderRun run = PromptRun(Order::kChunked, chunk, cache);
    run.chunk_tokens = chunk;
    EXPECT_LT(MaxAbsDiff(decoder->Hidden(input, run), want), 1e-12) << chunk;
    EXPECT_LT(CacheDiff(cache, exact, decoder->config().sharing()), 1e-12) << chunk;
    run.cache = nullptr;
    EXPECT_LT(MaxAbsDiff(decoder->Hidden(input, run), want), 1e-12) << chunk;
  }
}

TEST_P(DecoderPrefillTest, ATinyToleranceIsExact) {
  Decoder decoder = TinyDecoder(GetParam());
  const DecoderInput input{RandomIds({2, kPrompt}, 31, 1), {}, {}};
  KvCache exact = decoder->NewCache(2, kPrompt);
  KvCache cache = decoder->NewCache(2, kPrompt);
  const at::Tensor want = decoder->Hidden(input, PromptRun(Order::kSequential, 1, exact));
  DecoderRun run = PromptRun(Order::kParallel, 60, cache);
  run.tolerance = 1e-14;
  std::vector<int64_t> passes;
  run.passes_run = &passes;
  EXPECT_LT(MaxAbsDiff(decoder->Hidden(input, run), want), 1e-11);
  EXPECT_EQ(passes.empty(), !decoder->config().sharing().cyclic());
  // As many passes as tokens are exact, the next one changes nothing, and the last follows.
  for (const int64_t count : passes) EXPECT_LE(count, kPrompt + 2);
}

INSTANTIATE_TEST_SUITE_P(Specs, DecoderPrefillTest, ::testing::ValuesIn(SampleSpecs()));

TEST(DecoderPrefill, ATolerancePutsABoundOnTheError) {
  at::NoGradGuard no_grad;
  DecoderConfig config = TinyConfig("0_5_5_5_5_5_6");
  config.initializer_range = 0.15;
  Decoder decoder = TinyDecoder(config);
  constexpr int64_t kTokens = 60;
  const DecoderInput input{RandomIds({2, kTokens}, 31, 1), {}, {}};
  KvCache exact = decoder->NewCache(2, kTokens);
  decoder->Hidden(input, PromptRun(Order::kSequential, 1, exact));
  int64_t more = 0;
  for (const double tolerance : {1e-1, 1e-3, 1e-6}) {
    KvCache cache = decoder->NewCache(2, kTokens);
    DecoderRun run = PromptRun(Order::kParallel, kTokens, cache);
    run.tolerance = tolerance;
    std::vector<int64_t> passes;
    run.passes_run = &passes;
    decoder->Hidden(input, run);
    ASSERT_EQ(passes.size(), 1u);
    EXPECT_GT(passes[0], more) << tolerance;
    EXPECT_LT(passes[0], kTokens) << tolerance;
    more = passes[0];
    const at::Tensor want = exact.HeldKeys(5, 0);
    const double error = (cache.HeldKeys(5, 0) - want).norm().item<double>();
    EXPECT_LT(error, tolerance * want.norm().item<double>());
  }
}

TEST(DecoderPrefill, TellsThePassesOfEveryGroupAndChunk) {
  at::NoGradGuard no_grad;
  Decoder decoder = TinyDecoder("1_1_3_3");
  std::vector<int64_t> passes;
  KvCache cache = decoder->NewCache(1, kPrompt);
  DecoderRun run = PromptRun(Order::kChunked, 3, cache);
  run.passes_run = &passes;
  decoder->Hidden({RandomIds({1, kPrompt}, 31, 1), {}, {}}, run);
  EXPECT_EQ(passes, (std::vector<int64_t>{3, 3, 3, 3, 3, 3}));  // chunks of 4, 4 and 3 tokens
}

// A tolerance counts real tokens only.
TEST(DecoderPrefill, PaddingDoesNotKeepPassesGoing) {
  at::NoGradGuard no_grad;
  Decoder decoder = TinyDecoder("0_3_3_3_4");
  const at::Tensor tokens = RandomIds({2, kPrompt}, 31, 1);
  const auto passes_of = [&](const DecoderInput& input) {
    KvCache cache = decoder->NewCache(input.tokens.size(0), kPrompt);
    DecoderRun run = PromptRun(Order::kParallel, 40, cache);
    std::vector<int64_t> passes;
    run.tolerance = 1e-13;
    run.passes_run = &passes;
    decoder->Hidden(input, run);
    return passes.front();
  };
  // Row 0 of three tokens twice: real tokens settle after three passes.
  const at::Tensor short_mask = at::arange(kPrompt) < at::tensor({3, 4}).unsqueeze(1);
  EXPECT_LE(passes_of({tokens, short_mask, {}}), 6);
}

// FLOPs that run: products with weights, and attention over the keys it is given.
struct FlopCounter {
  static double total;

  static std::unique_ptr<at::ObserverContext> Count(const at::RecordFunction& function) {
    const std::string name = function.name();
    const auto inputs = function.inputs();
    if (name == "aten::linear") {
      const at::Tensor& weight = inputs[1].toTensor();
      total += 2.0 * static_cast<double>(inputs[0].toTensor().numel() * weight.size(0));
    } else if (name == "aten::scaled_dot_product_attention") {
      const at::Tensor& q = inputs[0].toTensor();
      const at::Tensor& k = inputs[1].toTensor();
      const auto queries = static_cast<double>(q.size(2));
      const auto keys = static_cast<double>(k.size(2));
      const bool causal = inputs[5].toBool();
      double visible = queries * keys;
      if (causal) visible = queries * (queries + 1) / 2;
      if (inputs[3].isTensor()) visible = inputs[3].toTensor().sum().item<double>();
      total += 4.0 * static_cast<double>(q.size(0) * q.size(1) * q.size(3)) * visible;
    }
    return nullptr;
  }
};
double FlopCounter::total = 0.0;

TEST(DecoderPrefill, RunsTheFlopsThatTheCostModelCounts) {
  at::NoGradGuard no_grad;
  const auto handle = at::addThreadLocalCallback(at::RecordFunctionCallback(&FlopCounter::Count)
                                                     .needsInputs(true)
                                                     .scopes({at::RecordScope::FUNCTION}));
  for (const std::string& text : SampleSpecs()) {
    DecoderConfig config = TinyConfig(text);
    config.sliding_window.reset();  // a mask shows blind rows everything
    config.forward_passes = 3;
    Decoder decoder = TinyDecoder(config);
    for (const int64_t tokens : {1, 4, 5, 6, 20}) {
      KvCache cache = decoder->NewCache(1, tokens);
      DecoderRun run;
      run.cache = &cache;
      run.last_only = true;
      FlopCounter::total = 0.0;
      decoder->Logits(decoder->Hidden({RandomIds({1, tokens}, 31, 1), {}, {}}, run));
      const IterationPlan plan(config.sharing(), config.forward_passes, config.backward_passes);
      EXPECT_DOUBLE_EQ(FlopCounter::total, CountPrefillFlops(plan, config.Shape(), tokens))
          << text << ", " << tokens << " tokens";
    }
  }
  at::removeCallback(handle);
}

TEST(PackedRows, MovesRealTokensToTheFront) {
  const at::Tensor mask =
      at::tensor({0, 1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0}).view({3, 4}).to(at::kBool);
  const PackedRows rows(mask, 3, 4);
  EXPECT_EQ(rows.columns(), 2);
  EXPECT_TRUE(rows.uneven());
  EXPECT_EQ(rows.counts(), (std::vector<int64_t>{2, 2, 0}));
  const at::Tensor x = at::arange(12).view({3, 4});
  EXPECT_TRUE(rows.Pack(x).narrow(0, 0, 2).equal(at::tensor({1, 2, 4, 5}).view({2, 2})));
  const at::Tensor back = rows.Unpack(rows.Pack(x).unsqueeze(2)).squeeze(2);
  EXPECT_TRUE(back.masked_select(mask).equal(x.masked_select(mask)));
  EXPECT_FALSE(PackedRows(at::ones({2, 3}, at::kBool), 2, 3).uneven());
  EXPECT_FALSE(PackedRows({}, 2, 3).last_columns().defined());
}

}  // namespace
}  // namespace ckv
