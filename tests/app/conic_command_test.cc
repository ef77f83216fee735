// ckv conic, data conic, eval conic, bench conic: files, messages, exit codes.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/app/run_program.h"
#include "tests/app/tiny_model.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;

class ConicCommand : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& content) {
    WriteFileAtomically(dir_.File(name), content);
    return dir_.File(name);
  }
  // A release file of three problems; the last has no answer.
  std::string Release(const std::string& name) {
    Json rows = Json::array();
    for (int i = 0; i < 3; ++i) {
      rows.push_back({{"text", Str("已知", i)},
                      {"fact_expressions", "G: Ellipse;a: Real;a > 1"},
                      {"query_expressions", "a"},
                      {"answer_expressions", i < 2 ? "2" : ""},
                      {"fact_spans", "[[], [], []]"},
                      {"query_spans", "[[]]"},
                      {"process", i == 0 ? "because" : ""}});
    }
    return Write(name, rows.dump());
  }
  TempDir dir_;
};

TEST_F(ConicCommand, CheckScoresStatements) {
  const std::string gold = Release("gold.json");
  const std::string pred = Write("pred.jsonl",
                                 "\"G : Ellipse ; a : Real ; a >1 ; a = ?\"\n"
                                 "{\"pred\": \"G : Ellipse ; a : Real ; a >2 ; a = ? ; ((\"}\n"
                                 "\"\"\n");
  const std::string rows = dir_.File("rows.jsonl");
  const Json json = RunCkvJson({"conic", "check", gold, pred, "--rows", rows});
  EXPECT_EQ(json["all"]["questions"], 3);
  EXPECT_EQ(json["all"]["correct"], 1);
  EXPECT_EQ(json["all"]["common"], 7);
  EXPECT_EQ(json["all"]["unreadable_lines"], 1);
  EXPECT_EQ(json["all"]["without_statement"], 1);
  EXPECT_THAT(ReadFile(rows), HasSubstr("\"unreadable\":[\"line 1, column"));
  const Json strict = RunCkvJson({"conic", "check", gold, pred, "--mode", "strict"});
  EXPECT_EQ(strict["all"]["num_pred"], 9);
}

TEST_F(ConicCommand, CheckLeavesOutRowsOfTrain) {
  const std::string gold = Release("gold.json");
  const std::string train = Write("train.json", [&] {
    Json rows = Json::parse(ReadFile(gold));
    rows.erase(1);
    return rows.dump();
  }());
  const std::string pred = Write("pred.txt", "2\n1\n\n");
  const Json json =
      RunCkvJson({"conic", "check", gold, pred, "--task", "answer", "--train", train});
  EXPECT_EQ(json["all"]["rows"], 2);
  EXPECT_EQ(json["all"]["equal"], 1);
  EXPECT_EQ(json["without_leaked"]["rows"], 1);
  EXPECT_EQ(json["without_leaked"]["equal"], 0);
}

TEST_F(ConicCommand, BadInputEndsWithItsCode) {
  const std::string gold = Release("gold.json");
  const std::string pred = Write("pred.txt", "a\n");
  EXPECT_THAT(CkvError(3, {"conic", "check", gold, pred}),
              HasSubstr("1 predictions for 3 gold rows"));
  EXPECT_THAT(CkvError(4, {"conic", "check", gold, dir_.File("absent")}), HasSubstr("absent"));
  EXPECT_THAT(CkvError(3, {"conic", "check", Write("broken.json", "[{}]"), pred}),
              HasSubstr("row 0: the field 'text' is missing"));
  EXPECT_THAT(CkvError(2, {"conic", "check", gold, pred, "--task", "poetry"}), HasSubstr("--task"));
}

TEST_F(ConicCommand, ParseShowsTreesAndFaults) {
  const ProgramResult result = RunCkv({"conic", "parse", "G: Ellipse;Focus(G) = F;f(a b)"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, HasSubstr("(Eq (Focus G:Ellipse) F)"));
  EXPECT_THAT(result.out,
              HasSubstr("unreadable: line 1, column 29: an operator is expected, found 'b'"));
}

TEST_F(ConicCommand, DataMakesPairsForEachTask) {
  const std::string gold = Release("gold.json");
  const std::string out = dir_.File("pairs.jsonl");
  EXPECT_EQ(RunCkvJson({"data", "conic", gold, "--out", out})["pairs"], 3);
  const Json first = Json::parse(ReadFile(out).substr(0, ReadFile(out).find('\n')));
  EXPECT_EQ(first["prompt"], "The translation of \"已知0\" is");
  EXPECT_EQ(first["target"], "G : Ellipse ; a : Real ; a >1 ; a = ?");
  EXPECT_EQ(RunCkvJson({"data", "conic", gold, "--task", "answer", "--out", out})["pairs"], 2);
  EXPECT_EQ(RunCkvJson({"data", "conic", gold, "--task", "reasoning", "--out", out})["pairs"], 1);
}

TEST_F(ConicCommand, EvalGeneratesAndScores) {
  const std::string gold = Release("gold.json");
  const std::string model = dir_.File("model");
  WriteModel(model, "0_1");
  const std::string predictions = dir_.File("predictions.jsonl");
  const Json json =
      RunCkvJson({"eval", "conic", model, "--data", gold, "--train", gold, "--predictions",
                  predictions, "--max-length", "60", "--batch-size", "2", "--device", "cpu"});
  EXPECT_EQ(json["all"]["questions"], 3);
  EXPECT_EQ(json["without_leaked"]["questions"], 0);
  EXPECT_EQ(json["kv_sharing"], "0_1");
  // The file that it writes is one that check reads, with the same result.
  const Json again = RunCkvJson({"conic", "check", gold, predictions, "--train", gold});
  EXPECT_EQ(again["all"], json["all"]);
}

TEST_F(ConicCommand, BenchMeasuresEveryInput) {
  const Json json = RunCkvJson({"bench", "conic", "--data", Release("gold.json")});
  ASSERT_GT(json.size(), 10u);
  for (const Json& row : json) EXPECT_TRUE(row["seconds"].is_number()) << row;
}

// Prompts and targets, training, generation and scores in one: a model that learns three problems
// by heart.
TEST_F(ConicCommand, AModelTrainedOnPairsRepeatsThem) {
  const std::string gold = Release("gold.json");
  const std::string pairs = dir_.File("pairs.jsonl");
  ASSERT_EQ(RunCkvJson({"data", "conic", gold, "--out", pairs})["pairs"], 3);
  const std::string config =
      Write("run.yaml",
            "tokenizer: byte\n"
            "model: {num_layers: 2, hidden_size: 64, intermediate_size: 128, "
            "num_attention_heads: 4, max_position_embeddings: 128}\n"
            "data: {kind: pairs, seq_len: 127}\n"
            "train: {steps: 200, batch_size: 3, optim: {lr: 1e-2}, "
            "schedule: {warmup_steps: 5}}\n");
  const std::string run = dir_.File("run");
  const ProgramResult trained =
      RunCkv({"train", config, "--set", "run.dir=" + run, "--set", "run.device=cpu", "--set",
              "data.train=" + pairs, "--set", "data.valid=" + pairs});
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  const Json json = RunCkvJson({"eval", "conic", run, "--data", gold, "--device", "cpu"});
  EXPECT_EQ(json["all"]["correct"], 3) << json;
}

}  // namespace
}  // namespace ckv
