// `ckv bench train` on a small model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "base/json.h"
#include "tests/app/run_program.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;

class BenchTrainTest : public ::testing::Test {
 protected:
  BenchTrainTest() {
    at::set_num_threads(1);  // the program runs in a fork
    WriteFileAtomically(temp_.File("tiny.yaml"),
                        "model: {vocab_size: 64, num_layers: 4, hidden_size: 16,\n"
                        "        intermediate_size: 24, num_attention_heads: 4}\n"
                        "data: {train: none, seq_len: 12}\n"
                        "run: {device: cpu, threads: 1}\n"
                        "train: {batch_size: 2}\n");
  }
  std::vector<std::string> Bench(std::vector<std::string> more) const {
    std::vector<std::string> words = {
        "bench", "train", temp_.File("tiny.yaml"), "--rows", "2", "--row-steps", "2"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  TempDir temp_;
};

TEST_F(BenchTrainTest, ShowsSchemesSideBySideWithTheirPhases) {
  const Json json = RunCkvJson(Bench({"--sharing", "{preset: vanilla}", "--sharing", "0_2*2_3"}));
  ASSERT_EQ(json.size(), 2U);
  EXPECT_EQ(json[1].at("kv_sharing"), "0_2_2_3");
  for (const Json& row : json) {
    EXPECT_EQ(row.at("batch_size"), 2);
    EXPECT_EQ(row.at("seq_len"), 12);
    double sum = 0.0;
    for (const auto& [name, ms] : row.at("phase_ms").items()) sum += ms.get<double>();
    const double step = row.at("step_ms").get<double>();
    EXPECT_GT(sum, 0.5 * step);
    EXPECT_LT(sum, 1.2 * step);
    EXPECT_GT(row.at("phase_ms").at("backward").get<double>(), 0.0);
    EXPECT_GT(row.at("phase_ms").at("optimizer").get<double>(), 0.0);
    EXPECT_FALSE(row.contains("mfu"));  // nobody knows a CPU's peak
  }
  EXPECT_EQ(json[0].at("phase_ms").at("forward, no grad"), 0.0);
  EXPECT_GT(json[1].at("phase_ms").at("forward, no grad").get<double>(), 0.0);
  EXPECT_GT(json[1].at("flops_per_token"), json[0].at("flops_per_token"));
}

TEST_F(BenchTrainTest, CountsTheWorkOfAGuess) {
  const std::vector<std::string> scheme = {"--sharing", "0_2*2_3", "--set",
                                           "model.forward_passes=1"};
  const Json zeros = RunCkvJson(Bench(scheme));
  std::vector<std::string> guessing = scheme;
  guessing.insert(guessing.end(), {"--set", "model.kv_start=guess"});
  const Json guess = RunCkvJson(Bench(guessing));
  EXPECT_GT(guess[0].at("flops_per_token"), zeros[0].at("flops_per_token"));
}

TEST_F(BenchTrainTest, WritesATraceOfEachScheme) {
  std::vector<std::string> words = Bench(
      {"--sharing", "0_1_2_3", "--sharing", "0_2*2_3", "--profile", temp_.File("trace.json")});
  words.insert(words.begin(), CKV_PROGRAM);
  EXPECT_EQ(RunProcess(words).exit_code, 0);
  for (const char* name : {"trace.json", "trace-2.json"}) {
    const Json trace = ReadJsonFile(temp_.File(name));
    EXPECT_FALSE(trace.at("traceEvents").empty()) << name;
  }
}

TEST_F(BenchTrainTest, RefusesKeysThatMakeNoSense) {
  EXPECT_THAT(CkvError(2, Bench({"--set", "model.kv_start=ones"})), HasSubstr("zeros, guess"));
  EXPECT_THAT(CkvError(2, Bench({"--set", "model.pass_tolerance=-1"})), HasSubstr("must be >= 0"));
  EXPECT_THAT(CkvError(2, Bench({"--set", "train.sdpa=fast"})), HasSubstr("flash"));
}

}  // namespace
}  // namespace ckv
