// Prompts and steps through a cache against one pass without it, rows against rows alone, and kinds
// of caches against each other.
#include <cmath>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "model/decoder.h"
#include "tests/model/sample_specs.h"
#include "tests/model/tiny_decoder.h"
#include "tests/temp_dir.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

constexpr int64_t kStream = 14;

DecoderRun InCache(KvCache& cache, int64_t passes) {
  DecoderRun run;
  run.order = DecoderRun::Order::kParallel;
  run.forward_passes = passes - 1;
  run.backward_passes = 1;
  run.cache = &cache;
  return run;
}

// The outputs for `tokens` [B, T] fed as a prompt, a second call and steps of one token.
at::Tensor ThroughCache(Decoder& decoder, KvCache& cache, const at::Tensor& tokens,
                        int64_t prompt = 6, int64_t second = 4) {
  const DecoderRun run = InCache(cache, kStream);
  std::vector<at::Tensor> parts;
  int64_t at = 0;
  const auto feed = [&](int64_t count) {
    parts.push_back(decoder->Hidden({tokens.narrow(1, at, count), {}, {}}, run));
    at += count;
  };
  if (prompt > 0) feed(prompt);
  if (second > 0) feed(second);
  while (at < tokens.size(1)) feed(1);
  return at::cat(parts, 1);
}

class DecoderCacheTest : public ::testing::TestWithParam<std::string> {
 protected:
  at::NoGradGuard no_grad_;
};

TEST_P(DecoderCacheTest, PromptAndStepsEqualOnePassAtConvergence) {
  const at::Tensor tokens = RandomIds({2, kStream}, 31, 1);
  DecoderRun whole;
  whole.order = DecoderRun::Order::kParallel;
  whole.forward_passes = kStream;
  for (const auto& [dtype, tolerance] :
       {std::pair(at::kDouble, 1e-12), std::pair(at::kFloat, 1e-5)}) {
    DecoderConfig config = TinyConfig(GetParam());
    // Some of the layouts amplify rounding a thousandfold with large weights.
    config.initializer_range = 0.1;
    Decoder decoder = TinyDecoder(config);
    decoder->to(dtype);
    const at::Tensor want = decoder->Hidden({tokens, {}, {}}, whole);
    for (const int64_t prompt : {0, 1, 6}) {
      KvCache cache = decoder->NewCache(2, kStream);
      const at::Tensor got = ThroughCache(decoder, cache, tokens, prompt);
      EXPECT_EQ(cache.length(), kStream);
      EXPECT_LT(MaxAbsDiff(got, want), tolerance) << dtype << " prompt " << prompt;
    }
  }
}

// Three rows of their own length through calls of their own length, in whatever arrangement.
struct UnevenCalls {
  std::vector<std::vector<int64_t>> counts = {
      {9, 4, 1}, {3, 1, 2}, {1, 1, 1}, {0, 2, 5}, {1, 0, 1}};
  at::Tensor stream = RandomIds({3, 30}, 31, 3);
};

// Row `row` of a call: its next tokens among padding.
enum class Padding { kLeft, kRight, kBetween };

DecoderInput PaddedCall(const UnevenCalls& calls, size_t call, Padding padding) {
  const std::vector<int64_t>& counts = calls.counts[call];
  const int64_t columns = *std::max_element(counts.begin(), counts.end()) + 2;
  DecoderInput input{at::zeros({3, columns}, at::kLong), at::zeros({3, columns}, at::kBool), {}};
  for (int64_t row = 0; row < 3; ++row) {
    const int64_t count = counts[static_cast<size_t>(row)];
    int64_t begin = 0;
    for (size_t before = 0; before < call; ++before) {
      begin += calls.counts[before][static_cast<size_t>(row)];
    }
    for (int64_t i = 0; i < count; ++i) {
      const int64_t column = padding == Padding::kLeft              ? columns - count + i
                             : padding == Padding::kRight || i == 0 ? i
                                                                    : i + 1 + row % 2;
      input.tokens[row][column] = calls.stream[row][begin + i];
      input.key_mask[row][column] = true;
    }
  }
  return input;
}

TEST_P(DecoderCacheTest, AnUnevenRowEqualsTheRowAlone) {
  Decoder decoder = TinyDecoder(GetParam());
  const UnevenCalls calls;
  const KvSharingSpec& spec = decoder->config().sharing();
  for (const DecoderRun::Order order :
       {DecoderRun::Order::kParallel, DecoderRun::Order::kSequential,
        DecoderRun::Order::kChunked}) {
    for (const Padding padding : {Padding::kLeft, Padding::kRight, Padding::kBetween}) {
      if (order != DecoderRun::Order::kParallel && padding != Padding::kBetween) continue;
      KvCache together = decoder->NewCache(3, 40);
      std::vector<KvCache> alone;
      for (int row = 0; row < 3; ++row) alone.push_back(decoder->NewCache(1, 40));
      for (size_t call = 0; call < calls.counts.size(); ++call) {
        const DecoderInput input = PaddedCall(calls, call, padding);
        DecoderRun run = InCache(together, 9);
        run.order = order;
        run.chunk_tokens = 4;
        const at::Tensor hidden = decoder->Hidden(input, run);
        for (int64_t row = 0; row < 3; ++row) {
          const at::Tensor real = input.key_mask[row].nonzero().squeeze(1);
          if (real.size(0) == 0) continue;
          run.cache = &alone[static_cast<size_t>(row)];
          const at::Tensor own = input.tokens[row].index_select(0, real).unsqueeze(0);
          const at::Tensor want = decoder->Hidden({own, {}, {}}, run)[0];
          EXPECT_LT(MaxAbsDiff(hidden[row].index_select(0, real), want), 1e-12)
              << "call " << call << " row " << row;
        }
      }
      for (int64_t row = 0; row < 3; ++row) {
        const KvCache& own = alone[static_cast<size_t>(row)];
        for (const int layer : spec.kv_layers()) {
          if (spec.computes_k(layer)) {
            EXPECT_LT(MaxAbsDiff(together.HeldKeys(layer, row), own.HeldKeys(layer, 0)), 1e-12);
          }
          if (spec.computes_v(layer)) {
            EXPECT_LT(MaxAbsDiff(together.HeldValues(layer, row), own.HeldValues(layer, 0)), 1e-12);
          }
        }
      }
    }
  }
}

// A ring forgets only what no reader sees.
TEST_P(DecoderCacheTest, RingsEqualStoresThatKeepEverything) {
  Decoder decoder = TinyDecoder(GetParam());
  const DecoderConfig& config = decoder->config();
  const at::Tensor tokens = RandomIds({2, kStream}, 31, 1);
  KvCache rings = decoder->NewCache(2, kStream);
  KvCacheShape shape{2, config.kv_heads(), config.head_width(), kStream, {}, {}};
  KvCache full(config.sharing(), shape, at::TensorOptions().dtype(at::kDouble));
  EXPECT_LE(rings.bytes(), full.bytes());
  for (const auto& [prompt, second] : {std::pair(6, 4), std::pair(2, 7), std::pair(0, 0)}) {
    rings.Clear();
    full.Clear();
    const at::Tensor got = ThroughCache(decoder, rings, tokens, prompt, second);
    EXPECT_LT(MaxAbsDiff(got, ThroughCache(decoder, full, tokens, prompt, second)), 1e-12);
  }
}

TEST_P(DecoderCacheTest, SinksEqualStoresThatKeepEverythingUntilTheWindowIsFull) {
  DecoderConfig config = TinyConfig(GetParam());
  config.sliding_window.reset();
  Decoder decoder = TinyDecoder(config);
  const at::Tensor tokens = RandomIds({2, kStream}, 31, 1);
  KvCache full = decoder->NewCache(2, kStream);
  const at::Tensor want = ThroughCache(decoder, full, tokens);
  // The last token still sees all w tokens before it.
  KvCache sinks = decoder->NewCache(2, 1, SinkWindow{3, kStream - 1});
  EXPECT_LT(MaxAbsDiff(ThroughCache(decoder, sinks, tokens), want), 1e-12);
  KvCache smaller = decoder->NewCache(2, 1, SinkWindow{3, kStream - 2});
  const at::Tensor got = ThroughCache(decoder, smaller, tokens);
  const int64_t same = kStream - 1;
  EXPECT_LT(MaxAbsDiff(got.narrow(1, 0, same), want.narrow(1, 0, same)), 1e-12);
}

// Calls and steps, over sinks that turn by different amounts.
TEST_P(DecoderCacheTest, ARowOfASinkCacheEqualsTheRowAlone) {
  DecoderConfig config = TinyConfig(GetParam());
  config.sliding_window.reset();
  Decoder decoder = TinyDecoder(config);
  const at::Tensor tokens = RandomIds({1, 24}, 31, 1);
  KvCache alone = decoder->NewCache(1, 1, SinkWindow{2, 6});
  KvCache both = decoder->NewCache(2, 1, SinkWindow{2, 6});
  int64_t at = 0;
  for (const int64_t count : {1, 4, 1, 1, 9, 1, 1, 5, 1}) {
    const at::Tensor now = tokens.narrow(1, at, count);
    const at::Tensor want = decoder->Hidden({now, {}, {}}, InCache(alone, 9));
    // The second row joins in late.
    at::Tensor mask = at::ones({2, count}, at::kBool);
    mask[1].fill_(at > 5);
    const at::Tensor got = decoder->Hidden({now.expand({2, count}), mask, {}}, InCache(both, 9));
    EXPECT_LT(MaxAbsDiff(got[0], want[0]), 1e-12) << at;
    at += count;
  }
}

TEST_P(DecoderCacheTest, RowsComeGoAndChangePlaces) {
  Decoder decoder = TinyDecoder(GetParam());
  const at::Tensor tokens = RandomIds({4, 12}, 31, 1);
  const auto alone = [&](int64_t row) {
    KvCache cache = decoder->NewCache(1, 20);
    return ThroughCache(decoder, cache, tokens.narrow(0, row, 1), 7, 0)[0];
  };
  std::vector<at::Tensor> want;
  for (int64_t row = 0; row < 4; ++row) want.push_back(alone(row));

  KvCache cache = decoder->NewCache(3, 20);
  decoder->Hidden({tokens.narrow(0, 0, 3).narrow(1, 0, 7), {}, {}}, InCache(cache, kStream));
  std::vector<int64_t> rows = {0, 1, 2};
  const auto step = [&](int64_t t) {
    const at::Tensor index = at::tensor(rows, at::kLong);
    const at::Tensor next = tokens.index_select(0, index).narrow(1, t, 1);
    const at::Tensor got = decoder->Hidden({next, {}, {}}, InCache(cache, 1));
    for (size_t i = 0; i < rows.size(); ++i) {
      EXPECT_LT(MaxAbsDiff(got[static_cast<int64_t>(i)][0], want[static_cast<size_t>(rows[i])][t]),
                1e-12)
          << "token " << t << " row " << rows[i];
    }
  };
  step(7);
  cache.SelectRows({2, 0, 2});
  rows = {2, 0, 2};
  step(8);
  cache.SelectRows({1, 0});
  rows = {0, 2};
  step(9);
  KvCache newcomer = decoder->NewCache(1, 20);
  decoder->Hidden({tokens.narrow(0, 3, 1).narrow(1, 0, 10), {}, {}}, InCache(newcomer, kStream));
  cache.AppendRows(newcomer);
  rows = {0, 2, 3};
  step(10);
}

INSTANTIATE_TEST_SUITE_P(Specs, DecoderCacheTest, ::testing::ValuesIn(SampleSpecs()));

TEST(DecoderCache, RefusesSinksThatMakeNoSense) {
  Decoder decoder = TinyDecoder("0_1");
  EXPECT_EQ(ErrorOf([&] {
              decoder->NewCache(1, 1, SinkWindow{-1, 4});
            }),
            "2: sink cache: -1 sinks, but must be >= 0");
  EXPECT_EQ(ErrorOf([&] {
              decoder->NewCache(1, 1, SinkWindow{4, 4});
            }),
            "2: sink cache: a window of 4 tokens, but must be more than the 4 sinks");
  EXPECT_EQ(ErrorOf([] {
              TinyDecoder("0_1s")->NewCache(1, 1, SinkWindow{4, 8});
            }),
            "2: sink cache: layer 1 has a sliding window; sinks need layers that see everything");
  DecoderConfig config = TinyConfig("0_1");
  config.rope.scaling = "dynamic";
  EXPECT_NE(ErrorOf([&] {
              TinyDecoder(config)->NewCache(1, 1, SinkWindow{4, 8});
            }).find("dynamic"),
            std::string::npos);
}

// 10,000 tokens on, keys are as exact as when they were new, and so is what they give.
TEST(DecoderCache, ALongStreamDoesNotDrift) {
  at::NoGradGuard no_grad;
  constexpr int64_t kTokens = 10000;
  Decoder wide = TinyDecoder("0_1_1");
  Decoder narrow = TinyDecoder("0_1_1");
  narrow->to(at::kFloat);
  const at::Tensor tokens = RandomIds({1, kTokens}, 31, 7);
  KvCache wide_cache = wide->NewCache(1, 1, SinkWindow{4, 20});
  KvCache narrow_cache = narrow->NewCache(1, 1, SinkWindow{4, 20});
  double early = 0.0;
  double late = 0.0;
  for (int64_t t = 0; t < kTokens; ++t) {
    const DecoderInput one{tokens.narrow(1, t, 1), {}, {}};
    const double error = MaxAbsDiff(narrow->Hidden(one, InCache(narrow_cache, 1)),
                                    wide->Hidden(one, InCache(wide_cache, 1)));
    if (t < 1000) early = std::max(early, error);
    if (t >= kTokens - 1000) late = std::max(late, error);
  }
  printf("DRIFT %g %g\n", early, late);
  EXPECT_LT(late, 2.0 * early);  // 5.6e-6 and 6.6e-6 seen
  EXPECT_LT(late, 1e-4);         // fp32

  // Layer 0's keys depend on their token alone: computed anew at their places they are the same.
  const at::Tensor kept = at::cat({tokens.narrow(1, 0, 4), tokens.narrow(1, kTokens - 16, 16)}, 1);
  KvCache fresh = wide->NewCache(1, 20);
  wide->Hidden({kept, {}, {}}, InCache(fresh, 1));
  EXPECT_LT(MaxAbsDiff(wide_cache.HeldKeys(0, 0), fresh.HeldKeys(0, 0)), 1e-10);
  EXPECT_LT(MaxAbsDiff(narrow_cache.HeldKeys(0, 0), fresh.HeldKeys(0, 0)), 1e-5);
}

// Steps in bf16 are no worse than a prompt in bf16.
TEST(DecoderCache, Bfloat16StepsAreAsGoodAsItsPrompts) {
  at::NoGradGuard no_grad;
  for (const char* spec : {"0_1_2_3", "0_3_3_3_4", "0s_1s_2_2"}) {
    Decoder exact = TinyDecoder(spec);
    Decoder rounded = TinyDecoder(spec);
    rounded->to(at::kBFloat16);
    const at::Tensor tokens = RandomIds({2, kStream}, 31, 1);
    KvCache exact_cache = exact->NewCache(2, kStream);
    const at::Tensor want = ThroughCache(exact, exact_cache, tokens);
    KvCache prompt_cache = rounded->NewCache(2, kStream);
    KvCache step_cache = rounded->NewCache(2, kStream);
    const at::Tensor prompt = ThroughCache(rounded, prompt_cache, tokens, kStream, 0);
    const at::Tensor steps = ThroughCache(rounded, step_cache, tokens, 0, 0);
    EXPECT_EQ(steps.scalar_type(), at::kBFloat16);
    EXPECT_LT((steps.to(at::kDouble) - want).norm().item<double>(),
              2.0 * (prompt.to(at::kDouble) - want).norm().item<double>())
        << spec;
  }
}

}  // namespace
}  // namespace ckv
