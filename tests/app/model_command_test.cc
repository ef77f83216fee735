// `ckv eval perplexity` and `ckv generate` on small random models.
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

class ModelCommandTest : public ::testing::Test {
 protected:
  ModelCommandTest() {
    // The program runs in a fork of this process, where a pool of threads would be missing.
    at::set_num_threads(1);
    WriteModel(Path("plain"), "0_1_2_3");
    WriteModel(Path("cyclic"), "0_3_3_3_4");
    WriteFileAtomically(Path("a.txt"), "the cat sat\non the mat\nand then it slept for long\n");
  }
  std::string Path(const std::string& name) const { return temp_.File(name); }

  std::vector<std::string> Eval(const std::string& model, std::vector<std::string> more) const {
    std::vector<std::string> words = {"eval",   "perplexity",  Path(model), "--device", "cpu",
                                      "--data", Path("a.txt"), "--seq-len", "16"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  std::vector<std::string> Generate(const std::string& model, std::vector<std::string> more) const {
    std::vector<std::string> words = {"generate", Path(model), "--device", "cpu"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  TempDir temp_;
};

TEST_F(ModelCommandTest, FiguresAgreeWithEachOther) {
  const Json json = RunCkvJson(Eval("plain", {"--mode", "parallel"}));
  EXPECT_EQ(json["tokens"], 50);  // 50 bytes and </s>, less the first
  EXPECT_EQ(json["bytes"], 50);
  EXPECT_EQ(json["words"], 12);
  EXPECT_EQ(json["line_ends"], 3);
  EXPECT_EQ(json["windows"], 4);
  const double nats =
      json["parallel"]["nats_per_token"].get<double>() * json["tokens"].get<double>();
  const auto figure = [&](const char* key) { return json["parallel"][key].get<double>(); };
  EXPECT_NEAR(std::log(figure("token_perplexity")), figure("nats_per_token"), 1e-9);
  EXPECT_NEAR(std::log(figure("word_perplexity")), nats / 12.0, 1e-9);
  EXPECT_NEAR(std::log(figure("byte_perplexity")), nats / 50.0, 1e-9);
  EXPECT_NEAR(figure("bits_per_byte"), nats / 50.0 / std::log(2.0), 1e-9);
  EXPECT_FALSE(json.contains("sequential"));
  const Json lines = RunCkvJson(Eval("plain", {"--count-line-ends"}));
  EXPECT_NEAR(std::log(lines["parallel"]["word_perplexity"].get<double>()), nats / 15.0, 1e-9);
}

TEST_F(ModelCommandTest, TextFileAndDataSetGiveTheSame) {
  const Json file = RunCkvJson(Eval("cyclic", {}));
  ASSERT_EQ(RunCkv({"data", "prepare", Path("a.txt"), "--tokenizer", "byte", "--out", Path("set")})
                .exit_code,
            0);
  std::vector<std::string> words = Eval("cyclic", {});
  words[6] = Path("set");
  const Json set = RunCkvJson(words);
  EXPECT_EQ(set["parallel"]["nats_per_token"], file["parallel"]["nats_per_token"]);
  EXPECT_EQ(set["words"], file["words"]);
  EXPECT_EQ(set["line_ends"], file["line_ends"]);
}

TEST_F(ModelCommandTest, BothOrdersAndTheirDifference) {
  const Json json = RunCkvJson(Eval("cyclic", {"--mode", "both"}));
  const double parallel = json["parallel"]["nats_per_token"].get<double>();
  const double sequential = json["sequential"]["nats_per_token"].get<double>();
  const double difference = json["difference"]["nats_per_token"].get<double>();
  EXPECT_GT(std::abs(difference), 1e-4);  // two passes for windows of 16 tokens; 8e-4 seen
  EXPECT_DOUBLE_EQ(difference, parallel - sequential);
  EXPECT_DOUBLE_EQ(json["difference"]["perplexity_ratio"].get<double>(), std::exp(difference));
  EXPECT_EQ(json["parallel"]["passes"], (Json{{"forward", 1}, {"backward", 1}}));
  EXPECT_TRUE(json["iterative"]);
  EXPECT_THAT(RunCkv(Eval("cyclic", {"--mode", "both"})).out,
              HasSubstr("\nparallel - sequential: "));
}

// 16 passes are exact for windows of 16, however they are written.
TEST_F(ModelCommandTest, PassesReplaceTheModels) {
  for (const char* passes : {"16", "14,2", "0,16"}) {
    const Json json = RunCkvJson(Eval("cyclic", {"--mode", "both", "--passes", passes}));
    EXPECT_LT(std::abs(json["difference"]["nats_per_token"].get<double>()), 1e-5) << passes;
  }
  EXPECT_EQ(RunCkvJson(Eval("cyclic", {"--passes", "5"}))["parallel"]["passes"],
            (Json{{"forward", 4}, {"backward", 1}}));
}

TEST_F(ModelCommandTest, SaysThatAPlainModelIsExactInParallel) {
  EXPECT_THAT(RunCkv(Eval("plain", {})).out, HasSubstr("the parallel order is exact in one pass"));
  const Json json = RunCkvJson(Eval("plain", {"--mode", "both"}));
  EXPECT_FALSE(json["iterative"]);
  EXPECT_LT(std::abs(json["difference"]["nats_per_token"].get<double>()), 1e-5);
  EXPECT_EQ(CkvError(2, Eval("plain", {"--passes", "3"})),
            "--passes: no layer of this model reads a layer above it, so one pass is exact");
}

TEST_F(ModelCommandTest, StrideAndMaxTokens) {
  const Json strided = RunCkvJson(Eval("plain", {"--stride", "4", "--max-tokens", "24"}));
  EXPECT_EQ(strided["tokens"], 24);
  EXPECT_EQ(strided["windows"], 3);
  EXPECT_EQ(strided["stride"], 4);
  EXPECT_EQ(strided["bytes"], 24);
  EXPECT_EQ(strided["words"], 7);  // targets 1..24: "he cat sat\non the mat\nan"
}

TEST_F(ModelCommandTest, EvalRefusesBadInput) {
  EXPECT_EQ(CkvError(2, Eval("cyclic", {"--passes", "0"})),
            "--passes: '0' is not N passes in all (N >= 1) nor M,B (M >= 0, B >= 1)");
  EXPECT_EQ(CkvError(2, Eval("cyclic", {"--passes", "3", "--mode", "sequential"})),
            "--passes: belongs to the parallel order, not to --mode sequential");
  EXPECT_EQ(CkvError(2, Eval("plain", {"--stride", "17"})),
            "--stride: 17, but must be from 1 to the window length 16");
  EXPECT_EQ(CkvError(2, Eval("plain", {"--stride", "0"})), "--stride: 0, but must be >= 1");
  std::vector<std::string> words = Eval("plain", {});
  words[8] = "65";
  EXPECT_EQ(CkvError(2, words),
            "--seq-len: 65, but the model takes at most 64 tokens (max_position_embeddings)");
  words = Eval("plain", {});
  words[6] = Path("none.txt");
  EXPECT_EQ(CkvError(4, words), Str(Path("none.txt"), ": there is no such file or folder"));
}

TEST_F(ModelCommandTest, RefusesWeightsThatAreNotNumbers) {
  Decoder decoder = RandomModel(BytesConfig("0_1_2_3"), 1);
  {
    at::NoGradGuard no_grad;
    decoder->head_weight().fill_(std::nan(""));
  }
  WriteModel(Path("nan"), decoder);
  EXPECT_EQ(CkvError(3, Eval("nan", {})),
            Str(Path("nan"), ": the model gives probabilities that are not finite"));
  EXPECT_EQ(CkvError(5, Generate("nan", {"--prompt-ids", "1", "--json"})),
            "step 0: the model's output is not a number");
}

TEST_F(ModelCommandTest, GenerateStreamsWhatItRecords) {
  const std::vector<std::string> words =
      Generate("cyclic", {"--prompt", "the cat", "--prompt", "on", "-n", "2", "--max-tokens", "20",
                          "--ignore-eos", "--seed", "3", "--batch-size", "3"});
  const Json json = RunCkvJson(words);
  ASSERT_EQ(json["generations"].size(), 4u);
  std::string text;
  for (size_t i = 0; i < 4; ++i) {
    const Json& one = json["generations"][i];
    EXPECT_EQ(one["tokens"].size(), 20u);
    EXPECT_EQ(one["log_probs"].size(), 20u);
    EXPECT_EQ(one["finish"], "max_tokens");
    text += Str(i == 0 ? "" : "\n", "[prompt ", i / 2 + 1, ", sample ", i % 2 + 1, "]\n",
                one["prompt"].get<std::string>(), one["text"].get<std::string>(), "\n");
  }
  EXPECT_EQ(json["generations"][0]["prompt_tokens"], (Json{116, 104, 101, 32, 99, 97, 116}));
  EXPECT_NE(json["generations"][0]["tokens"], json["generations"][1]["tokens"]);
  EXPECT_EQ(RunCkv(words).out, text);

  std::vector<std::string> to_file = words;
  to_file.insert(to_file.end(), {"--out", Path("out.txt")});
  EXPECT_EQ(RunCkv(to_file).out, "");
  EXPECT_EQ(ReadFile(Path("out.txt")), text);
}

TEST_F(ModelCommandTest, OneContinuationIsPrintedBehindItsPrompt) {
  const std::vector<std::string> words =
      Generate("plain", {"--prompt", "the cat", "--max-tokens", "9", "--temperature", "0"});
  const Json one = RunCkvJson(words)["generations"][0];
  EXPECT_EQ(RunCkv(words).out, "the cat" + one["text"].get<std::string>() + "\n");
}

TEST_F(ModelCommandTest, TheSeedAloneDecides) {
  const auto tokens = [&](const std::string& seed, const std::string& batch) {
    return RunCkvJson(
        Generate("cyclic", {"--prompt", "the", "-n", "3", "--seed", seed, "--batch-size", batch,
                            "--ignore-eos"}))["generations"][2]["tokens"];
  };
  const Json first = tokens("7", "3");
  EXPECT_EQ(first.size(), 62u);  // as many as positions allow
  EXPECT_EQ(tokens("7", "1"), first);
  EXPECT_NE(tokens("8", "3"), first);
}

// A model to which every token is as likely as any other.
TEST_F(ModelCommandTest, StopsAtTheEndOfSentenceUnlessTold) {
  Decoder decoder = RandomModel(BytesConfig("0_1_2_3"), 1);
  {
    at::NoGradGuard no_grad;
    decoder->head_weight().zero_();
    decoder->named_parameters()["model.norm.weight"].zero_();
  }
  WriteModel(Path("flat"), decoder);
  const Json on =
      RunCkvJson(Generate("flat", {"--prompt", "x", "--temperature", "0", "--max-tokens", "4"}));
  EXPECT_EQ(on["generations"][0]["tokens"], (Json{0, 0, 0, 0}));
  // Drawing from all 258 for long enough meets </s> (257), and no id is drawn after it.
  const auto draw = [&](std::vector<std::string> more) {
    std::vector<std::string> words =
        Generate("flat", {"-n", "64", "--batch-size", "64", "--max-tokens", "60"});
    words.insert(words.end(), more.begin(), more.end());
    return RunCkvJson(words)["generations"];
  };
  size_t stopped = 0;
  for (const Json& one : draw({})) {
    stopped += one["finish"] == "stop" ? 1 : 0;
    for (const Json& id : one["tokens"]) EXPECT_NE(id, 257);
  }
  EXPECT_GT(stopped, 0u);
  size_t passed = 0;
  for (const Json& one : draw({"--ignore-eos"})) {
    EXPECT_EQ(one["finish"], "max_tokens");
    for (const Json& id : one["tokens"]) passed += id == 257 ? 1 : 0;
  }
  EXPECT_GT(passed, 0u);
}

TEST_F(ModelCommandTest, GenerateWithoutTokenizerTakesIds) {
  Decoder decoder = RandomModel(BytesConfig("0_3_3_3_4"), 1);
  WriteModel(Path("bare"), decoder, /*tokenizer=*/false);
  const std::vector<std::string> words =
      Generate("bare", {"--prompt-ids", "1,2, 3", "--max-tokens", "3", "--temperature", "0"});
  const Json one = RunCkvJson(words)["generations"][0];
  EXPECT_EQ(one["prompt_tokens"], (Json{1, 2, 3}));
  const Json& ids = one["tokens"];
  EXPECT_EQ(RunCkv(words).out, Str("1 2 3 ", ids[0], " ", ids[1], " ", ids[2], "\n"));
  EXPECT_EQ(CkvError(4, Generate("bare", {"--prompt", "x"})),
            Str(Path("bare"), ": has no tokenizer.model, tokenizer.char or tokenizer.byte"));
}

TEST_F(ModelCommandTest, BosComesInFrontIfAsked) {
  const auto prompt = [&](const std::string& text, const std::string& bos) {
    return RunCkvJson(Generate("plain", {"--prompt", text, "--bos", bos, "--max-tokens",
                                         "1"}))["generations"][0]["prompt_tokens"];
  };
  EXPECT_EQ(prompt("a", "auto"), (Json::array({97})));
  EXPECT_EQ(prompt("a", "yes"), (Json{256, 97}));
  EXPECT_EQ(prompt("", "yes"), (Json::array({256})));
  EXPECT_EQ(prompt("", "no"), (Json::array({257})));  // behind the document before
}

TEST_F(ModelCommandTest, GenerateRefusesBadInput) {
  EXPECT_EQ(CkvError(2, Generate("plain", {"--prompt", std::string(65, 'x')})),
            "prompt: has 65 tokens, but the model takes at most 64 (max_position_embeddings)");
  EXPECT_EQ(CkvError(2, Generate("plain", {"--prompt-ids", "1,x"})),
            "--prompt-ids: 'x' is not a token id");
  EXPECT_EQ(CkvError(2, Generate("plain", {"--prompt-ids", "258"})),
            "prompt: token id 258 is outside the vocabulary of 258");
  EXPECT_EQ(CkvError(2, Generate("plain", {"--prompt-ids", ","})),
            "prompt: is empty; at least one token is needed");
  EXPECT_EQ(CkvError(2, Generate("plain", {"--temperature", "-1"})),
            "--temperature: -1, but must be >= 0");
  EXPECT_EQ(CkvError(2, Generate("plain", {"--top-p", "1.5"})),
            "--top-p: 1.5, but must be above 0 and at most 1");
  EXPECT_EQ(CkvError(2, Generate("plain", {"-n", "0"})), "--samples: 0, but must be >= 1");
  EXPECT_EQ(CkvError(2, Generate("plain", {"--max-tokens", "0"})),
            "--max-tokens: 0, but must be >= 1");
  EXPECT_EQ(CkvError(4, Generate("gone", {})), Str(Path("gone"), ": there is no such folder"));
}

}  // namespace
}  // namespace ckv
