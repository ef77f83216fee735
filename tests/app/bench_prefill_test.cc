// `ckv bench prefill` on small random models.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "tests/app/run_program.h"
#include "tests/app/tiny_model.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

class BenchPrefillTest : public ::testing::Test {
 protected:
  BenchPrefillTest() {
    at::set_num_threads(1);  // the program runs in a fork
    WriteModel(temp_.File("cyclic"), "0_3_3_3_4");
    WriteModel(temp_.File("plain"), "0_1_1_1");
  }
  std::vector<std::string> Bench(const std::string& model, std::vector<std::string> more,
                                 const std::string& tokens = "20") const {
    std::vector<std::string> words = {
        "bench",        "prefill", temp_.File(model), "--device", "cpu", "--tokens", tokens,
        "--batch-size", "2",       "--precision",     "fp64"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  TempDir temp_;
};

TEST_F(BenchPrefillTest, ErrorsFallWithPassesAndVanishWithEnough) {
  const Json json = RunCkvJson(Bench(
      "cyclic", {"--passes", "0,1", "--passes", "19,1", "--chunk", "5", "--tolerance", "1e-9"}));
  const Json& orders = json.at("orders");
  ASSERT_EQ(orders.size(), 6u);
  EXPECT_EQ(orders[0].at("order"), "sequential");
  EXPECT_EQ(orders[0].at("logit_error"), 0.0);
  const auto error = [&](size_t row) { return orders[row].at("kv_error").get<double>(); };
  EXPECT_EQ(orders[1].at("passes"), "0,1");
  EXPECT_GT(error(1), 1e-3);
  EXPECT_GT(orders[1].at("logit_error").get<double>(), 1e-3);
  EXPECT_LT(error(2), 1e-12);  // as many passes as tokens
  EXPECT_LT(orders[2].at("logit_error").get<double>(), 1e-11);
  EXPECT_LT(error(3), 1e-8);
  EXPECT_EQ(orders[3].at("tolerance"), 1e-9);
  EXPECT_GT(error(4), 1e-3);
  EXPECT_LT(error(5), 1e-12);
  EXPECT_EQ(orders[5].at("passes_run"), Json({5, 5, 5, 5}));  // no more than tokens of a chunk
  for (const Json& order : orders) EXPECT_GT(order.at("seconds").get<double>(), 0.0);
}

TEST_F(BenchPrefillTest, APlainModelIsExactInEveryOrder) {
  const Json json = RunCkvJson(Bench("plain", {"--passes", "0,1", "--chunk", "8"}));
  ASSERT_EQ(json.at("orders").size(), 3u);  // passes and tolerances mean nothing to it
  for (const Json& order : json.at("orders")) {
    EXPECT_LT(order.at("kv_error").get<double>(), 1e-12);
  }
}

TEST_F(BenchPrefillTest, RefusesWhatCannotRun) {
  EXPECT_EQ(CkvError(2, Bench("cyclic", {"--passes", "7;2"})),
            "--passes: '7;2' is not N passes in all (N >= 1) nor M,B (M >= 0, B >= 1)");
  EXPECT_EQ(CkvError(2, Bench("cyclic", {}, "65")),
            "--tokens: 65, but the model takes at most 64 (max_position_embeddings)");
  EXPECT_EQ(CkvError(2, Bench("cyclic", {"--set", "a=b"})),
            "--set: needs a YAML file, not a checkpoint");
  EXPECT_EQ(CkvError(2, Bench("cyclic", {"--chunk", "0"})), "--chunk: 0, but must be >= 1");
}

}  // namespace
}  // namespace ckv
