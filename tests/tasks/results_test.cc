#include "tasks/results.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;

TaskResult SomeResult() {
  TaskResult result;
  result.name = "quiz";
  result.version = "1";
  result.fingerprint = "00ff";
  result.metrics = {"acc_norm", "acc"};
  result.num_documents = 7;
  for (const double value : {1.0, 0.0, 1.0, 1.0}) {
    result.scores.push_back({{"acc", {value, 1.0}}, {"acc_norm", {1.0 - value, 1.0}}});
  }
  return result;
}

// As the harness prints it, whose writer puts heads in the middle.
TEST(Results, Table) {
  EXPECT_EQ(ResultTable({SomeResult()}),
            "|Tasks|Version|Filter|n-shot| Metric |   |Value |   |Stderr|\n"
            "|-----|------:|------|-----:|--------|---|-----:|---|-----:|\n"
            "|quiz |      1|none  |     0|acc     |↑  |0.7500|±  |0.2500|\n"
            "|     |       |none  |     0|acc_norm|↑  |0.2500|±  |0.2500|\n");
}

TEST(Results, JsonHasTheHarnessLayout) {
  const OrderedJson json = ResultJson({SomeResult()}, {{"model_name", "m"}});
  EXPECT_EQ(json["results"]["quiz"]["acc,none"], 0.75);
  EXPECT_EQ(json["results"]["quiz"]["acc_stderr,none"], 0.25);
  EXPECT_EQ(json["results"]["quiz"]["alias"], "quiz");
  EXPECT_EQ(json["n-samples"]["quiz"]["original"], 7);
  EXPECT_EQ(json["n-samples"]["quiz"]["effective"], 4);
  EXPECT_EQ(json["versions"]["quiz"], 1.0);
  EXPECT_EQ(json["n-shot"]["quiz"], 0);
  EXPECT_EQ(json["higher_is_better"]["quiz"]["acc"], true);
  EXPECT_EQ(json["model_name"], "m");
}

TEST(Results, AreReadBack) {
  const TempDir dir;
  TaskResult rolling;
  rolling.name = "text";
  rolling.version = "2";
  rolling.fingerprint = "1";
  rolling.metrics = {"word_perplexity"};
  rolling.scores = {{{"word_perplexity", {-12.5, 3.0}}}};
  WriteFileAtomically(dir.File("r.json"), ResultJson({SomeResult(), rolling}, {}).dump());
  const std::vector<TaskResult> read = ReadResults(dir.File("r.json"));
  ASSERT_EQ(read.size(), 2u);
  EXPECT_EQ(read[0].scores[1].at("acc_norm").value, 1.0);
  EXPECT_EQ(read[0].fingerprint, "00ff");
  EXPECT_EQ(read[1].scores[0].at("word_perplexity").weight, 3.0);
  WriteFileAtomically(dir.File("r.json"), "{\"results\": {}}");
  EXPECT_THAT(ErrorOf([&] { ReadResults(dir.File("r.json")); }),
              HasSubstr("no key 'per_document'"));
  WriteFileAtomically(dir.File("r.json"), "{\"per_document\": {\"t\": {\"acc\": [1]}}}");
  EXPECT_THAT(ErrorOf([&] { ReadResults(dir.File("r.json")); }), HasSubstr("3: "));
}

}  // namespace
}  // namespace ckv
