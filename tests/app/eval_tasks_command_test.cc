// `ckv eval tasks` and `ckv eval compare` on small random models and made-up tasks.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/app/run_program.h"
#include "tests/app/tiny_model.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class EvalTasksCommandTest : public ::testing::Test {
 protected:
  EvalTasksCommandTest() {
    WriteModel(Path("plain"), "0_1_2_3", 1);
    WriteModel(Path("cyclic"), "0_3_3_3_4", 2);
    MakeDirs(Path("tasks"));
    MakeDirs(Path("data"));
    WriteFileAtomically(Path("tasks/quiz.yaml"),
                        "about: letters\nkind: multiple_choice\ndata: [quiz.jsonl]\n"
                        "metrics: [acc, acc_norm]\nforms:\n  - context: 'Q: {{q}}'\n"
                        "    choices: '{{c}}'\n    target: '{{g}}'\n");
    WriteFileAtomically(Path("tasks/text.yaml"),
                        "about: text\nkind: rolling\ndata: [text.txt]\n"
                        "metrics: [word_perplexity, byte_perplexity]\nforms:\n"
                        "  - target: '{{text}}'\n");
    WriteFileAtomically(Path("tasks/say.yaml"),
                        "about: answers\nkind: generate\ndata: [quiz.jsonl]\n"
                        "generation: {max_tokens: 5}\nmetrics: [exact_match]\nforms:\n"
                        "  - context: 'Q: {{q}}'\n    target: '{{c.0}}'\n");
    std::string lines;
    for (int i = 0; i < 12; ++i) {
      lines += Str("{\"q\": \"word ", i * i, "\", \"c\": [\"a\", \"b", i,
                   "\", \"ccc\"], \"g\": ", i % 3, "}\n");
    }
    WriteFileAtomically(Path("data/quiz.jsonl"), lines);
    WriteFileAtomically(Path("data/text.txt"), std::string(100, 'a') + " b c d\n");
  }
  std::string Path(const std::string& name) const { return temp_.File(name); }

  std::vector<std::string> Tasks(const std::string& model, const std::string& tasks,
                                 std::vector<std::string> more = {}) const {
    std::vector<std::string> words = {"eval",        "tasks",      Path(model), "--device",
                                      "cpu",         "--tasks",    tasks,       "--task-dir",
                                      Path("tasks"), "--data-dir", Path("data")};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  TempDir temp_;
};

TEST_F(EvalTasksCommandTest, PrintsATableAndWritesResultsAndSamples) {
  const ProgramResult result = RunCkv(
      Tasks("plain", "quiz,text,say", {"--out", Path("r.json"), "--log-samples", Path("samples")}));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("|Tasks|Version|Filter|n-shot|"));
  EXPECT_THAT(result.out, HasSubstr("|quiz "));
  const Json json = ReadJsonFile(Path("r.json"));
  EXPECT_EQ(json["n-samples"]["quiz"]["effective"], 12);
  // Figures are made of the documents' scores.
  double right = 0.0;
  for (const Json& score : json["per_document"]["quiz"]["acc"]) right += score.get<double>();
  EXPECT_DOUBLE_EQ(json["results"]["quiz"]["acc,none"].get<double>(), right / 12.0);
  const std::string samples = ReadFile(Path("samples/samples_quiz.jsonl"));
  EXPECT_EQ(std::count(samples.begin(), samples.end(), '\n'), 12);
  const Json sample = ParseJson(samples.substr(0, samples.find('\n')), "samples");
  EXPECT_EQ(sample["arguments"]["gen_args_1"]["arg_1"], " b0");
  EXPECT_EQ(sample["resps"].size(), 3u);
}

TEST_F(EvalTasksCommandTest, ScoresDoNotDependOnBatchesOrders) {
  for (const char* model : {"plain", "cyclic"}) {
    const auto samples = [&](const std::vector<std::string>& more) {
      std::vector<std::string> words =
          Tasks(model, "quiz", {"--no-cache", "--log-samples", Path("s"), "--few-shot", "2"});
      words.insert(words.end(), more.begin(), more.end());
      EXPECT_EQ(RunCkv(words).exit_code, 0);
      std::vector<double> values;
      const std::string text = ReadFile(Path("s/samples_quiz.jsonl"));
      for (size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) {
        const Json line = ParseJson(text.substr(at, text.find('\n', at) - at), "samples");
        for (const Json& response : line["resps"]) values.push_back(response[0].get<double>());
      }
      return values;
    };
    const std::vector<double> base = samples({});
    ASSERT_EQ(base.size(), 36u);
    for (const std::vector<std::string>& more : {std::vector<std::string>{"--batch-tokens", "1"},
                                                 {"--no-prefix-sharing"},
                                                 {"--batch-invariant"},
                                                 {"--batch-tokens", "300"}}) {
      const std::vector<double> other = samples(more);
      ASSERT_EQ(other.size(), base.size());
      for (size_t i = 0; i < base.size(); ++i) EXPECT_NEAR(other[i], base[i], 1e-4);
    }
  }
}

TEST_F(EvalTasksCommandTest, AnswersAreKeptAndUsed) {
  ASSERT_EQ(RunCkv(Tasks("plain", "quiz", {"--limit", "5"})).exit_code, 0);
  const std::vector<std::string> files = ListDir(Path("plain/eval/answers"));
  ASSERT_EQ(files.size(), 1u);
  const std::string cache = Path("plain/eval/answers/" + files[0]);
  // An answer that the model cannot give shows that it is not asked again.
  std::string content = ReadFile(cache);
  const size_t at = content.find("\"document\":3,\"answers\":[[");
  ASSERT_NE(at, std::string::npos);
  content.replace(at + 25, content.find(',', at + 25) - at - 25, "-123.5");
  // Killed while it wrote a line.
  WriteFileAtomically(cache, content + "{\"document\":5,\"answ");
  ASSERT_EQ(RunCkv(Tasks("plain", "quiz", {"--log-samples", Path("s")})).exit_code, 0);
  EXPECT_THAT(ReadFile(Path("s/samples_quiz.jsonl")), HasSubstr("-123.5"));
  ASSERT_EQ(ListDir(Path("plain/eval/answers")).size(), 1u);
  // Another model, precision or example count has answers of its own.
  ASSERT_EQ(RunCkv(Tasks("plain", "quiz", {"--few-shot", "1"})).exit_code, 0);
  EXPECT_EQ(ListDir(Path("plain/eval/answers")).size(), 2u);
  WriteModel(Path("plain"), "0_1_2_3", 5);
  ASSERT_EQ(RunCkv(Tasks("plain", "quiz", {"--log-samples", Path("s")})).exit_code, 0);
  EXPECT_THAT(ReadFile(Path("s/samples_quiz.jsonl")), Not(HasSubstr("-123.5")));
}

TEST_F(EvalTasksCommandTest, ComparesRunsDocumentByDocument) {
  ASSERT_EQ(RunCkv(Tasks("plain", "quiz,text")).exit_code, 0);
  ASSERT_EQ(RunCkv(Tasks("cyclic", "quiz,text", {"--out", Path("c.json")})).exit_code, 0);
  const Json json = RunCkvJson({"eval", "compare", Path("plain"), Path("c.json")});
  ASSERT_EQ(json["rows"].size(), 4u);
  for (const Json& row : json["rows"]) {
    EXPECT_NEAR(row["difference"].get<double>(),
                row["right_value"].get<double>() - row["left_value"].get<double>(), 1e-12);
  }
  const Json self = RunCkvJson({"eval", "compare", Path("c.json"), Path("c.json")});
  EXPECT_EQ(self["rows"][0]["p"], 1.0);
  EXPECT_THAT(CkvError(kExitIo, {"eval", "compare", Path("c.json"), Path("d.json")}),
              HasSubstr("d.json: there is no such file"));
  ASSERT_EQ(RunCkv(Tasks("cyclic", "quiz", {"--few-shot", "1", "--out", Path("d.json")})).exit_code,
            0);
  EXPECT_THAT(CkvError(kExitConfig, {"eval", "compare", Path("c.json"), Path("d.json")}),
              HasSubstr("its task 'quiz' is not that of"));
}

TEST_F(EvalTasksCommandTest, TasksAreMetricsOfATrainingRun) {
  std::string text;
  for (int i = 0; i < 60; ++i) text += Str("line ", i, " of a short text\n");
  WriteFileAtomically(Path("text.txt"), text);
  ASSERT_EQ(
      RunCkv({"data", "prepare", Path("text.txt"), "--tokenizer", "byte", "--out", Path("set")})
          .exit_code,
      0);
  WriteFileAtomically(
      Path("run.yaml"),
      Str("run: {device: cpu, threads: 1, dir: ", Path("run"), "}\n",
          "model: {num_layers: 2, kv_sharing: 0_1, hidden_size: 16, intermediate_size: 24,\n",
          "        num_attention_heads: 2, max_position_embeddings: 64}\n",
          "data: {train: ", Path("set"), ", valid_percent: 10, seq_len: 12}\n",
          "train: {steps: 25, batch_size: 2, eval_every: 5, log_every: 5, tensorboard: false,\n",
          "        schedule: {warmup_steps: 2}}\n", "tasks: {names: [quiz], every: 10, limit: 6,\n",
          "        task_dir: ", Path("tasks"), ", data_dirs: [", Path("data"), "]}\n"));
  const ProgramResult result = RunCkv({"train", Path("run.yaml"), "--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  std::vector<int> steps;
  double last = -1.0;
  const std::string rows = ReadFile(Path("run/metrics.jsonl"));
  for (size_t at = 0; at < rows.size(); at = rows.find('\n', at) + 1) {
    const Json row = ParseJson(rows.substr(at, rows.find('\n', at) - at), "metrics");
    if (!row.contains("task_quiz_acc")) continue;
    steps.push_back(row["step"].get<int>());
    last = row["task_quiz_acc"].get<double>();
  }
  EXPECT_EQ(steps, (std::vector<int>{10, 20, 25}));
  EXPECT_EQ(ParseJson(result.out, "stdout")["task_quiz_acc"], last);
  // The same figure as by the command.
  ASSERT_EQ(RunCkv({"eval", "tasks", Path("run"), "--checkpoint", "25", "--device", "cpu",
                    "--tasks", "quiz", "--task-dir", Path("tasks"), "--data-dir", Path("data"),
                    "--limit", "6", "--out", Path("r.json")})
                .exit_code,
            0);
  EXPECT_EQ(ReadJsonFile(Path("r.json"))["results"]["quiz"]["acc,none"], last);
  WriteFileAtomically(Path("bad.yaml"), ReadFile(Path("run.yaml")));
  EXPECT_THAT(CkvError(kExitConfig, {"train", Path("bad.yaml"), "--set", "run.dir=" + Path("bad"),
                                     "--set", "tasks.names=[nothing]"}),
              HasSubstr("there is no task 'nothing'"));
}

TEST_F(EvalTasksCommandTest, SaysWhatIsWrong) {
  EXPECT_THAT(CkvError(kExitConfig, Tasks("plain", "quizz")),
              HasSubstr("there is no task 'quizz' in"));
  EXPECT_THAT(CkvError(kExitConfig, Tasks("plain", "quiz", {"--set", "text.version=2"})),
              HasSubstr("must be TASK.KEY=VALUE of a task in --tasks"));
  EXPECT_THAT(CkvError(kExitConfig, Tasks("plain", "quiz", {"--set", "quiz.dat=2"})),
              HasSubstr("unknown key 'dat'"));
  EXPECT_THAT(CkvError(kExitIo, Tasks("plain", "quiz", {"--set", "quiz.data=[x.jsonl]"})),
              HasSubstr("x.jsonl: not found in"));
  EXPECT_THAT(CkvError(kExitConfig, Tasks("plain", "quiz", {"--passes", "2"})),
              HasSubstr("--passes"));
  EXPECT_THAT(CkvError(kExitConfig, Tasks("plain", "quiz", {"--max-length", "65"})),
              HasSubstr("--max-length"));
  EXPECT_THAT(CkvError(kExitConfig, {"eval", "tasks", "--tasks", "quiz"}),
              HasSubstr("CHECKPOINT is required"));
  EXPECT_THAT(
      RunCkv({"eval", "tasks", "--list", "--task-dir", Path("tasks"), "--data-dir", Path("data")})
          .out,
      HasSubstr("quiz              letters"));
}

}  // namespace
}  // namespace ckv
