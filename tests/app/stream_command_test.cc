// `ckv stream` on small random models.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "tests/app/run_program.h"
#include "tests/app/tiny_model.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;

class StreamCommandTest : public ::testing::Test {
 protected:
  StreamCommandTest() {
    at::set_num_threads(1);
    WriteModel(Path("plain"), "0_0_2_2");
    WriteModel(Path("cyclic"), "0_3_3_3_4");
    std::string text;
    for (int i = 0; i < 60; ++i) text += Str("line ", i * i, " of a text\n");
    WriteFileAtomically(Path("a.txt"), text);
  }

  std::string Path(const std::string& name) const { return temp_.File(name); }

  std::vector<std::string> Stream(const std::string& model,
                                  const std::vector<std::string>& more) const {
    std::vector<std::string> words = {"stream", Path(model), "--device",
                                      "cpu",    "--data",    Path("a.txt")};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  TempDir temp_;
};

TEST_F(StreamCommandTest, FiguresAgreeWithEachOther) {
  const std::vector<std::string> words = Stream("cyclic", {"--sinks", "2", "--window", "16"});
  const Json json = RunCkvJson(words);
  const auto bytes = static_cast<int64_t>(FileSize(Path("a.txt")));
  EXPECT_EQ(json["tokens"], bytes);  // and </s>, less the first
  EXPECT_EQ(json["bytes"], bytes - 1);
  EXPECT_EQ(json["sinks"], 2);
  EXPECT_EQ(json["window"], 16);
  EXPECT_EQ(json["cached_tokens"], 16);
  const double nats = json["nats_per_token"].get<double>();
  EXPECT_NEAR(std::log(json["token_perplexity"].get<double>()), nats, 1e-9);
  EXPECT_NEAR(json["bits_per_byte"].get<double>(),
              nats * static_cast<double>(bytes) / std::log(2.0) / static_cast<double>(bytes - 1),
              1e-9);
  EXPECT_GT(json["kv_bytes"], 0);
  EXPECT_GT(json["tokens_per_second"], 0.0);
  const std::string text = RunCkv(words).out;
  EXPECT_THAT(text, HasSubstr("cache of 16 tokens (the first 2 and the last 14)"));
  EXPECT_THAT(text, HasSubstr(Str("perplexity ", Fixed(std::exp(nats), 4))));
}

TEST_F(StreamCommandTest, TextFileAndDataSetGiveTheSame) {
  ASSERT_EQ(RunCkv({"data", "prepare", Path("a.txt"), "--tokenizer", "byte", "--out", Path("set")})
                .exit_code,
            0);
  std::vector<std::string> words = Stream("plain", {"--window", "20"});
  const Json file = RunCkvJson(words);
  words[5] = Path("set");
  const Json set = RunCkvJson(words);
  EXPECT_EQ(set["tokens"], file["tokens"]);
  EXPECT_EQ(set["bytes"], file["bytes"]);
  EXPECT_EQ(set["nats_per_token"], file["nats_per_token"]);
}

// What fits into the window is scored as `ckv eval` scores it.
TEST_F(StreamCommandTest, ShortTextsAreScoredAsEvalDoes) {
  for (const char* block : {"1", "9"}) {
    const Json stream =
        RunCkvJson(Stream("plain", {"--window", "40", "--max-tokens", "40", "--block", block}));
    const Json eval = RunCkvJson({"eval", "perplexity", Path("plain"), "--device", "cpu", "--data",
                                  Path("a.txt"), "--seq-len", "40", "--max-tokens", "40"});
    EXPECT_EQ(stream["tokens"], 40);
    EXPECT_NEAR(stream["nats_per_token"].get<double>(),
                eval["parallel"]["nats_per_token"].get<double>(), 1e-5);
  }
}

TEST_F(StreamCommandTest, BadInputIsNamed) {
  EXPECT_EQ(CkvError(2, Stream("plain", {"--window", "64"})),
            "--window: a cache of 64 tokens and 1 behind it need more than the model's 64 "
            "positions (max_position_embeddings)");
  EXPECT_EQ(CkvError(2, Stream("cyclic", {"--window", "20", "--block", "2"})),
            "--block: must be 1: layers of this model read a layer above them");
  EXPECT_THAT(CkvError(2, Stream("plain", {"--sinks", "20", "--window", "20"})), HasSubstr("sink"));
  EXPECT_EQ(CkvError(2, Stream("plain", {"--window", "20", "--max-tokens", "-1"})),
            "--max-tokens: -1, but must be >= 0");
  std::vector<std::string> words = Stream("plain", {});
  words[5] = Path("none.txt");
  EXPECT_EQ(CkvError(4, words), Str(Path("none.txt"), ": there is no such file or folder"));
  WriteFileAtomically(Path("empty.txt"), "");
  words = Stream("plain", {"--window", "20"});
  words[5] = Path("empty.txt");
  EXPECT_EQ(CkvError(3, words), Str(Path("empty.txt"), ": has less than two tokens"));
}

}  // namespace
}  // namespace ckv
