// ckv conic, data conic, eval conic, bench conic: files, messages, exit codes.
#include <algorithm>
#include <csignal>

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

  // An evaluation that was killed goes on: what it had done stays, a line cut short is forgotten.
  const std::string out = dir_.File("predictions.jsonl");
  const std::vector<std::string> words = {"eval", "conic",         run,   "--data",
                                          gold,   "--device",      "cpu", "--batch-size",
                                          "1",    "--predictions", out};
  ASSERT_EQ(RunCkv(words).exit_code, 0);
  const std::string whole = ReadFile(out);
  EXPECT_FALSE(FileExists(out + ".partial"));
  RemoveAll(out);
  const auto lines_of = [](const std::string& path) {
    const std::string text = FileExists(path) ? ReadFile(path) : "";
    return std::count(text.begin(), text.end(), '\n');
  };
  ProgramLimits limits;
  limits.signal_number = SIGKILL;
  limits.signal_when = [&] { return lines_of(out + ".partial") >= 2; };  // settings, an output
  EXPECT_EQ(RunCkv(words, limits).exit_code, 128 + SIGKILL);
  EXPECT_FALSE(FileExists(out));
  std::string partial = ReadFile(out + ".partial");
  // Marked, to see that it is not made again.
  const size_t text = partial.find("\"output\":\"") + 10;
  partial.insert(text, " kept");
  WriteFileAtomically(out + ".partial", partial + "{\"index\":2,\"outp");
  EXPECT_THAT(CkvError(kExitConfig, {"eval", "conic", run, "--data", gold, "--device", "cpu",
                                     "--max-length", "99", "--predictions", out}),
              HasSubstr("holds outputs of another evaluation: 'max_length' was 1024, not 99"));
  const ProgramResult rest = RunCkv(words);
  ASSERT_EQ(rest.exit_code, 0) << rest.err;
  EXPECT_THAT(rest.err, HasSubstr("of 3 problems were done before"));
  EXPECT_FALSE(FileExists(out + ".partial"));
  std::string again = ReadFile(out);
  for (size_t at = again.find("kept "); at != std::string::npos; at = again.find("kept ")) {
    again.erase(at, 5);  // in "pred" and "output"
  }
  EXPECT_EQ(again, whole);
}

// Trained as messages, asked as messages, without being told how.
TEST_F(ConicCommand, TheChatTemplateOfTheTrainingIsThatOfTheEvaluationAndTheChat) {
  const std::string gold = Release("gold.json");
  const std::string pairs = dir_.File("pairs.jsonl");
  ASSERT_EQ(RunCkvJson({"data", "conic", gold, "--out", pairs})["pairs"], 3);
  const std::string chat =
      Write("chat.yaml",
            "system_text: Be exact.\nuser: {prefix: \"Q \", suffix: \"\\n\"}\n"
            "assistant: {prefix: \"A:\", suffix: \"\\n\"}\nstop: [\"\\nQ\"]\n");
  const std::string config =
      Write("run.yaml",
            "tokenizer: byte\n"
            "model: {num_layers: 2, hidden_size: 64, intermediate_size: 128, "
            "num_attention_heads: 4, max_position_embeddings: 160}\n"
            "data: {kind: pairs, seq_len: 159}\n"
            "train: {steps: 200, batch_size: 3, optim: {lr: 1e-2}, "
            "schedule: {warmup_steps: 5}}\n");
  const std::string run = dir_.File("run");
  const ProgramResult trained =
      RunCkv({"train", config, "--set", "run.dir=" + run, "--set", "run.device=cpu", "--set",
              "data.train=" + pairs, "--set", "data.chat_template=" + chat});
  ASSERT_EQ(trained.exit_code, 0) << trained.err;
  RemoveAll(chat);  // the checkpoint has it
  const std::vector<std::string> words = {"eval", "conic", run, "--data", gold, "--device", "cpu"};
  EXPECT_EQ(RunCkvJson(words)["all"]["correct"], 3);
  std::vector<std::string> bare = words;
  bare.insert(bare.end(), {"--template", "none"});
  EXPECT_LT(RunCkvJson(bare)["all"]["correct"], 3);
  std::vector<std::string> bos = words;
  bos.insert(bos.end(), {"--bos", "yes"});
  EXPECT_THAT(CkvError(kExitConfig, bos), HasSubstr("the chat template says how a prompt begins"));

  const std::string line = ReadFile(pairs);
  const Json first = ParseJson(line.substr(0, line.find('\n')), "pairs");
  ProgramLimits limits;
  limits.input = first["prompt"].get<std::string>() + "\n";
  const ProgramResult answer =
      RunCkv({"chat", run, "--device", "cpu", "--temperature", "0"}, limits);
  EXPECT_EQ(answer.exit_code, 0) << answer.err;
  EXPECT_EQ(answer.out, first["target"].get<std::string>() + "\n");
}

}  // namespace
}  // namespace ckv
