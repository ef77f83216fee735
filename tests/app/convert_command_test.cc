// `ckv convert` on small random models.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "base/error.h"
#include "tests/app/run_program.h"
#include "tests/app/tiny_model.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;

class ConvertCommandTest : public ::testing::Test {
 protected:
  ConvertCommandTest() {
    // The program runs in a fork of this process, where a pool of threads would be missing.
    at::set_num_threads(1);
    WriteModel(Path("full"), "0_1_2_3");
    std::string text;
    for (int line = 0; line < 40; ++line) text += Str("line ", line, " of the sample\n");
    WriteFileAtomically(Path("a.txt"), text);
  }
  std::string Path(const std::string& name) const { return temp_.File(name); }

  std::vector<std::string> Convert(std::vector<std::string> more, const std::string& from = "full",
                                   const std::string& to = "out") const {
    std::vector<std::string> words = {"convert", Path(from), "--out", Path(to)};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  double Loss(const std::string& model) const {
    const Json json = RunCkvJson({"eval", "perplexity", Path(model), "--device", "cpu", "--data",
                                  Path("a.txt"), "--seq-len", "16"});
    return json["parallel"]["nats_per_token"].get<double>();
  }

  TempDir temp_;
};

TEST_F(ConvertCommandTest, ReportsWhatItMade) {
  const Json json = RunCkvJson(Convert({"--sharing", "{preset: cla, factor: 2}"}));
  EXPECT_EQ(json["model_type"], "lckv-llama");
  EXPECT_EQ(json["kv_sharing"], "0_0_2_2");
  EXPECT_EQ(json["projections_made"], 4);
  EXPECT_EQ(json["side_files"], Json::array({"tokenizer.byte"}));
  EXPECT_GT(Loss("out"), 0.0);  // opens, with its tokenizer
}

TEST_F(ConvertCommandTest, ACopyGivesTheSameLoss) {
  RunCkvJson(Convert({"--to", "hf", "--max-shard-gb", "0.00001"}));
  EXPECT_FALSE(FileExists(Path("out/model.safetensors")));
  EXPECT_EQ(Loss("out"), Loss("full"));
}

TEST_F(ConvertCommandTest, CalibratesOnATextAndOnADataSet) {
  const std::vector<std::string> how = {"--sharing", "0_2_2_3", "--method", "calibrated",
                                        "--seq-len", "16",      "--tokens", "400"};
  std::vector<std::string> words = Convert(how);
  words.insert(words.end(), {"--data", Path("a.txt"), "--device", "cpu"});
  const Json json = RunCkvJson(words);
  EXPECT_EQ(json["calibration_tokens"], 400);
  EXPECT_EQ(json["projections_made"], 2);
  ASSERT_EQ(RunCkv({"data", "prepare", Path("a.txt"), "--tokenizer", "byte", "--out", Path("set")})
                .exit_code,
            0);
  words = Convert(how, "full", "from_set");
  words.insert(words.end(), {"--data", Path("set"), "--device", "cpu"});
  RunCkvJson(words);
  EXPECT_EQ(ReadFile(Path("from_set/model.safetensors")), ReadFile(Path("out/model.safetensors")));
}

TEST_F(ConvertCommandTest, TrainingGoesOnFromTheResult) {
  RunCkvJson(Convert({"--sharing", "0_2_2_3"}));
  ASSERT_EQ(RunCkv({"data", "prepare", Path("a.txt"), "--tokenizer", "byte", "--out", Path("set")})
                .exit_code,
            0);
  WriteFileAtomically(
      Path("c.yaml"),
      Str("run: {dir: ", Path("run"), ", device: cpu, threads: 1}\n", "init_from: ", Path("out"),
          "\nmodel:\n  kv_sharing: 0_2_2_3\n  hidden_size: 16\n  intermediate_size: 24\n",
          "  num_attention_heads: 4\n  num_key_value_heads: 2\n  forward_passes: 1\n",
          "  backward_passes: 1\ndata: {train: ", Path("set"), ", seq_len: 8}\n",
          "train: {steps: 1, batch_size: 2, schedule: {warmup_steps: 0}}\n"));
  EXPECT_TRUE(RunCkvJson({"train", Path("c.yaml")}).is_object());
}

TEST_F(ConvertCommandTest, RefusesOptionsThatWouldDoNothing) {
  EXPECT_THAT(CkvError(kExitConfig, Convert({"--method", "svd"})),
              HasSubstr("--method: needs --sharing"));
  EXPECT_THAT(CkvError(kExitConfig, Convert({"--sharing", "0*4", "--method", "calibrated"})),
              HasSubstr("--method calibrated: needs --data"));
  for (const std::vector<std::string>& option :
       std::vector<std::vector<std::string>>{{"--data", "x"},
                                             {"--tokens", "9"},
                                             {"--seq-len", "9"},
                                             {"--batch-size", "9"},
                                             {"--device", "cpu"},
                                             {"--ridge", "0.1"}}) {
    EXPECT_THAT(CkvError(kExitConfig, Convert(option)),
                HasSubstr(option.front() + ": is for --method calibrated"));
  }
  EXPECT_FALSE(FileExists(Path("out")));
}

TEST_F(ConvertCommandTest, RefusesNumbersOutOfRange) {
  const std::vector<std::vector<std::string>> cases = {
      {"--tokens", "0", "must be >= 1"},       {"--seq-len", "-1", "must be >= 1"},
      {"--batch-size", "0", "must be >= 1"},   {"--window", "0", "must be >= 1"},
      {"--ridge", "-0.1", "must be >= 0"},     {"--max-shard-gb", "0", "must be > 0"},
      {"--max-shard-gb", "1e9", "must be > 0"}};
  for (const std::vector<std::string>& words : cases) {
    EXPECT_THAT(CkvError(kExitConfig, Convert({words[0], words[1]})),
                ::testing::AllOf(::testing::StartsWith(words[0]), HasSubstr(words[2])));
  }
}

TEST_F(ConvertCommandTest, RefusesWhatDoesNotFitBeforeAnyWork) {
  EXPECT_THAT(CkvError(kExitConfig, Convert({"--sharing", "0_0"})), HasSubstr("--sharing"));
  EXPECT_THAT(CkvError(kExitConfig, Convert({"--sharing", "0_0/1_2_3", "--to", "lckv"})),
              HasSubstr("--to lckv: 'layer_types' cannot say 0_0/1_2_3"));
  EXPECT_THAT(CkvError(kExitFormat, Convert({"--weights", "ema"})),
              HasSubstr("has no running mean"));
  EXPECT_THAT(CkvError(kExitIo, Convert({}, "nothing")), HasSubstr("there is no such folder"));
  EXPECT_THAT(CkvError(kExitConfig, Convert({}, "full", "full")), HasSubstr("is there already"));
  EXPECT_FALSE(FileExists(Path("out")));
}

TEST_F(ConvertCommandTest, AFullDiskLeavesNothing) {
  ProgramLimits limits;
  limits.file_bytes = 10000;
  EXPECT_THAT(CkvError(kExitIo, Convert({}), limits), HasSubstr("model.safetensors"));
  EXPECT_FALSE(FileExists(Path("out")));
  EXPECT_FALSE(FileExists(Path(".out.unfinished")));
}

}  // namespace
}  // namespace ckv
