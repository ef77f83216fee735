#include "eval/streaming.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "base/error.h"
#include "base/json.h"
#include "ckpt/tensor_file.h"
#include "ckpt/weights.h"
#include "eval/eval_text.h"
#include "model/hf_config.h"
#include "tests/goldens.h"
#include "tests/model/tiny_decoder.h"
#include "tests/temp_dir.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

// Gives `ids` in portions of `most_at_once`, or fewer where asked.
NextTokens Portions(const at::Tensor& ids, int64_t most_at_once) {
  return [ids, most_at_once, at = int64_t{0}](int64_t most) mutable {
    const int64_t count = std::min({most, most_at_once, ids.size(0) - at});
    const at::Tensor part = ids.narrow(0, at, count).to(at::kInt).contiguous();
    at += count;
    return std::vector<int32_t>(part.data_ptr<int32_t>(), part.data_ptr<int32_t>() + count);
  };
}

StreamOptions Window(int64_t sinks, int64_t window, int64_t block = 1) {
  StreamOptions options;
  options.cache.num_sinks = sinks;
  options.cache.window_length = window;
  options.block_tokens = block;
  return options;
}

// The recorded streams of the published implementation, in the loop that the command runs.
class StreamGoldenTest : public ::testing::TestWithParam<std::string> {};

TEST_P(StreamGoldenTest, GivesTheRecordedLogitsAndPerplexity) {
  const std::string folder = JoinPath(JoinPath(GoldensRoot(), "kv"), GetParam());
  const TensorFile io(JoinPath(folder, "io.safetensors"));
  if (!io.Has("stream_ids")) GTEST_SKIP() << "the folder records no stream";
  const Json meta = ReadJsonFile(JoinPath(folder, "meta.json"));
  const std::string path = JoinPath(folder, "config.json");
  Decoder decoder(FromHfConfig(ReadJsonFile(path), path));
  LoadWeights(TensorFiles::OpenModel(folder), *decoder);
  const at::Tensor want = io.Read("stream_logits");
  const at::Tensor want_nll = io.Read("stream_nll");
  const double tolerance = meta["tolerances"]["logits_atol"].get<double>();

  int64_t row = 0;
  StreamHooks hooks;
  hooks.on_logits = [&](const at::Tensor& logits, const at::Tensor& targets) {
    EXPECT_LE(MaxAbsDiff(logits[0], want[row]), tolerance) << row;
    const double nll = -logits[0].log_softmax(0)[targets[0]].item<double>();
    EXPECT_NEAR(nll, want_nll[row].item<double>(), 2 * tolerance) << row;
    ++row;
  };
  const StreamOptions options =
      Window(meta["num_sink_tokens"].get<int64_t>(), meta["window_length"].get<int64_t>());
  const StreamSums sums =
      StreamPerplexity(decoder, Portions(io.Read("stream_ids")[0], 7), "stream", options, hooks);
  EXPECT_EQ(row, 95);
  EXPECT_EQ(sums.tokens, 95);
  EXPECT_EQ(sums.cached_tokens, io.Read("stream_cache_len")[94].item<int64_t>());
  EXPECT_NEAR(sums.nats / 95.0, want_nll.mean().item<double>(), tolerance);
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(StreamGoldenTest);
INSTANTIATE_TEST_SUITE_P(Kv, StreamGoldenTest,
                         ::testing::ValuesIn(GoldenFolders("model.safetensors")),
                         [](const auto& row) { return row.param; });

class StreamTest : public ::testing::TestWithParam<const char*> {};

// A window that holds the whole text forgets nothing.
TEST_P(StreamTest, WithAWideWindowItIsPlainPerplexity) {
  Decoder decoder = TinyDecoder(GetParam());
  const at::Tensor ids = RandomIds({40}, 31, 1);
  at::NoGradGuard no_grad;
  DecoderRun run;
  run.order = DecoderRun::Order::kSequential;
  const at::Tensor hidden = decoder->Hidden({ids.unsqueeze(0), {}, {}}, run);
  const at::Tensor log_probs = decoder->Logits(hidden)[0].log_softmax(1);
  const double want =
      -log_probs.narrow(0, 0, 39).gather(1, ids.narrow(0, 1, 39).unsqueeze(1)).sum().item<double>();
  const StreamSums sums = StreamPerplexity(decoder, Portions(ids, 11), "x", Window(4, 40));
  EXPECT_EQ(sums.tokens, 39);
  EXPECT_NEAR(sums.nats, want, 1e-10);  // fp64
  // A narrow one does, and says something else.
  EXPECT_GT(std::abs(StreamPerplexity(decoder, Portions(ids, 11), "x", Window(4, 10)).nats - want),
            1e-6);
}

INSTANTIATE_TEST_SUITE_P(Specs, StreamTest,
                         ::testing::Values("0_1_2_3", "0_0_2_2", "0_3_3_3_4", "0_3/0_3/0_3_4"));

TEST(StreamPerplexity, MemoryDoesNotGrowWithTheText) {
  Decoder decoder = TinyDecoder("0_3_3_3_4");
  const auto stream = [&](int64_t tokens) {
    return StreamPerplexity(decoder, Portions(RandomIds({tokens}, 31, 1), 100), "x", Window(2, 9));
  };
  const StreamSums brief = stream(20);
  const StreamSums lengthy = stream(900);
  EXPECT_GT(brief.kv_bytes, 0);
  EXPECT_EQ(lengthy.kv_bytes, brief.kv_bytes);
  EXPECT_EQ(lengthy.cached_tokens, 9);
  EXPECT_EQ(lengthy.tokens, 899);
}

// Blocks within the window forget nothing either; and each target is scored once.
TEST(StreamPerplexity, BlocksScoreTheSameTargets) {
  Decoder decoder = TinyDecoder("0_0_2_2");
  const at::Tensor ids = RandomIds({60}, 31, 1);
  const StreamSums single = StreamPerplexity(decoder, Portions(ids, 60), "x", Window(4, 60));
  const StreamSums blocks = StreamPerplexity(decoder, Portions(ids, 60), "x", Window(4, 60, 7));
  EXPECT_EQ(blocks.tokens, 59);
  EXPECT_NEAR(blocks.nats, single.nats, 1e-10);  // fp64
}

TEST(StreamPerplexity, StopsBehindSoManyTokens) {
  Decoder decoder = TinyDecoder("0_0_2_2");
  const at::Tensor ids = RandomIds({60}, 31, 1);
  StreamOptions options = Window(4, 10, 7);
  options.max_tokens = 24;
  const auto tokenizer = LoadTokenizer("byte");
  options.tokenizer = tokenizer.get();
  const StreamSums sums = StreamPerplexity(decoder, Portions(ids, 9), "x", options);
  EXPECT_EQ(sums.tokens, 24);
  EXPECT_EQ(sums.bytes, 24);
  EXPECT_EQ(StreamPerplexity(decoder, Portions(ids.narrow(0, 0, 25), 9), "x", Window(4, 10)).tokens,
            24);
}

TEST(StreamPerplexity, RefusesBadInput) {
  Decoder cyclic = TinyDecoder("0_3_3_3_4");
  DecoderConfig config = TinyConfig("0_0_2_2");
  config.max_position_embeddings = 32;
  Decoder plain = TinyDecoder(config);
  const auto error = [](Decoder& decoder, const StreamOptions& options, int64_t tokens) {
    return ErrorOf([&] {
      StreamPerplexity(decoder, Portions(RandomIds({tokens}, 31, 1), 9), "x.txt", options);
    });
  };
  EXPECT_EQ(error(cyclic, Window(4, 10, 2), 20),
            "2: --block: must be 1: layers of this model read a layer above them");
  EXPECT_EQ(error(plain, Window(4, 10, 0), 20), "2: --block: 0, but must be >= 1");
  EXPECT_EQ(error(plain, Window(4, 32), 20),
            "2: --window: a cache of 32 tokens and 1 behind it need more than the model's 32 "
            "positions (max_position_embeddings)");
  EXPECT_EQ(error(plain, Window(4, 31), 1), "3: x.txt: has less than two tokens");
  EXPECT_EQ(error(plain, Window(4, 31), 20), "");
  {
    at::NoGradGuard no_grad;
    plain->head_weight()[0].fill_(std::numeric_limits<double>::quiet_NaN());
  }
  EXPECT_EQ(error(plain, Window(4, 31), 20), "5: step 19: the model's output is not a number");
}

TEST(TextTokens, AreThoseOfTheWholeText) {
  const TempDir dir;
  WriteFileAtomically(dir.File("a.txt"), "one\ntwo\n<|endoftext|>\nthree\n");
  const auto tokenizer = LoadTokenizer("byte");
  TextTokens tokens(dir.File("a.txt"), *tokenizer, /*bos=*/true);
  std::vector<int32_t> got;
  while (true) {
    const std::vector<int32_t> more = tokens.Next(3);
    if (more.empty()) break;
    EXPECT_LE(more.size(), 3u);
    got.insert(got.end(), more.begin(), more.end());
  }
  const EvalText whole = ReadEvalText(dir.File("a.txt"), *tokenizer, true);
  std::vector<int64_t> want(static_cast<size_t>(whole.num_tokens()));
  whole.Read(0, whole.num_tokens(), want.data());
  EXPECT_EQ(std::vector<int64_t>(got.begin(), got.end()), want);
  EXPECT_EQ(tokens.bytes_read(), tokens.total_bytes());
}

}  // namespace
}  // namespace ckv
