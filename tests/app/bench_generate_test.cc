#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/app/run_program.h"
#include "tests/app/tiny_model.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;

// The 1B shape made tiny.
std::vector<std::string> BenchArguments(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"bench", "generate",
                                        CKV_SOURCE_DIR "/configs/train/1b/vanilla.yaml"};
  for (const char* set : {"hidden_size=32", "intermediate_size=48", "num_layers=4",
                          "num_attention_heads=4", "num_key_value_heads=2", "vocab_size=50"}) {
    arguments.insert(arguments.end(), {"--set", std::string("model.") + set});
  }
  arguments.insert(arguments.end(), {"--device", "cpu", "--precision", "fp32"});
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

TEST(BenchGenerate, CountsBytesOfEachScheme) {
  const Json rows = RunCkvJson(BenchArguments({"--prompt", "6", "--new", "8", "--batch", "3",
                                               "--sharing", "0_1_2_3", "--sharing", "0_2_2_3"}));
  ASSERT_EQ(rows.size(), 2u);
  // Keys and values of 3 rows, 2 heads of 8 numbers in fp32, 30 slots (24 are measured).
  const int64_t slot = 3 * 2 * 2 * 8 * 4;
  EXPECT_EQ(rows[0]["kv_resident_bytes"], 4 * 30 * slot);
  EXPECT_EQ(rows[1]["kv_resident_bytes"], 3 * 30 * slot);
  EXPECT_EQ(rows[0]["kv_written_bytes"], 4.0 * slot);
  EXPECT_EQ(rows[1]["kv_written_bytes"], 3.0 * slot);
  // Layer 1 reads the layer above: every token but its own.
  EXPECT_EQ(rows[0]["kv_read_bytes"].get<double>() - rows[1]["kv_read_bytes"].get<double>(), slot);
  for (const Json& row : rows) {
    EXPECT_EQ(row["batch"], 3);
    EXPECT_GT(row["step_ms"], 0.0);
    EXPECT_GT(row["first_token_ms"], 0.0);
    EXPECT_GT(row["roofline"], 0.0);
    EXPECT_NEAR(row["tokens_per_second"].get<double>() * row["step_ms"].get<double>(), 3e3, 1e-6);
  }
}

TEST(BenchGenerate, FillsTheMemoryItIsGiven) {
  const Json rows = RunCkvJson(
      BenchArguments({"--prompt", "40", "--new", "60", "--batch", "auto", "--memory-gb", "0.004",
                      "--no-prefill", "--sharing", "0_1_2_3", "--sharing", "0_2_2_2"}));
  for (const Json& row : rows) {
    EXPECT_LE(row["kv_resident_bytes"].get<int64_t>() + row["weight_bytes"].get<int64_t>(),
              4000000);
    EXPECT_FALSE(row.contains("first_token_ms"));
  }
  EXPECT_GT(rows[1]["batch"].get<int64_t>(), rows[0]["batch"].get<int64_t>());
}

TEST(BenchGenerate, TakesCheckpoints) {
  const TempDir dir;
  WriteModel(dir.path(), "0_2_2_3");
  const Json rows = RunCkvJson({"bench", "generate", dir.path(), "--device", "cpu", "--precision",
                                "fp32", "--prompt", "5", "--context", "20", "--no-prefill"});
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0]["kv_sharing"], "0_2_2_3");
  EXPECT_EQ(rows[0]["context"], 20);
}

TEST(BenchGenerate, SaysWhatDoesNotFit) {
  EXPECT_THAT(CkvError(2, BenchArguments({"--batch", "0"})), HasSubstr("--batch: '0' is neither"));
  EXPECT_THAT(CkvError(2, BenchArguments({"--batch", "auto", "--memory-gb", "0.0001"})),
              HasSubstr("--batch auto: a row of 640 tokens takes"));
  const TempDir dir;
  WriteModel(dir.path(), "0_2_2_3");
  EXPECT_THAT(CkvError(2, {"bench", "generate", dir.path(), "--sharing", "0_0"}),
              HasSubstr("a checkpoint has its own"));
}

}  // namespace
}  // namespace ckv
