// `ckv generate`: prompts from everywhere, how continuations end, beams, and batch jobs.
#include <algorithm>
#include <cmath>
#include <sstream>
#include <string_view>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "base/json.h"
#include "tests/app/run_program.h"
#include "tests/app/tiny_model.h"
#include "tests/temp_dir.h"
#include "text/utf8.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

using Arguments = std::vector<std::string>;

std::vector<Json> JsonLines(const std::string& text) {
  std::vector<Json> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(ParseJson(line, "line"));
  return lines;
}

class GenerateCommandTest : public ::testing::Test {
 protected:
  GenerateCommandTest() {
    at::set_num_threads(1);
    WriteModel(Path("model"), "0_3_3_3_4");
  }

  std::string Path(const std::string& name) const { return temp_.File(name); }

  Arguments Generate(const Arguments& more) const {
    Arguments words = {"generate", Path("model"), "--device", "cpu"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  static ProgramLimits Input(const std::string& text) {
    ProgramLimits limits;
    limits.input = text;
    return limits;
  }

  // The one continuation of a command in JSON.
  Json One(const Arguments& more) const { return RunCkvJson(Generate(more))["generations"][0]; }

  // A batch job over `lines` with results in `out`.
  Arguments Job(const std::string& lines, const Arguments& more = {}) const {
    WriteFileAtomically(Path("in.jsonl"), lines);
    Arguments words = {"--jsonl", Path("in.jsonl"), "--out", Path("out.jsonl"), "--seed",
                       "5",       "--max-tokens",   "6"};
    words.insert(words.end(), more.begin(), more.end());
    return Generate(words);
  }

  TempDir temp_;
};

TEST_F(GenerateCommandTest, PromptsComeFromArgumentsStdinAndFiles) {
  WriteFileAtomically(Path("prompt.txt"), "from a file\r\n");
  const ProgramResult result = RunCkv(
      Generate({"--prompt", "-", "--prompt", "from an argument", "--prompt-file",
                Path("prompt.txt"), "--prompt-ids", "105,100", "--max-tokens", "2", "--json"}),
      Input("from stdin\n"));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json all = ParseJson(result.out, "stdout")["generations"];
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all[0]["prompt"], "from stdin");
  EXPECT_EQ(all[1]["prompt"], "from an argument");
  EXPECT_EQ(all[2]["prompt"], "from a file");
  EXPECT_EQ(all[2]["prompt_tokens"].size(), 11u);
  EXPECT_EQ(all[3]["prompt"], "id");
}

TEST_F(GenerateCommandTest, StopStringsCutTheTextAndNothingOfThemIsStreamed) {
  const Arguments words = {"--prompt",      "the cat", "--max-tokens", "40",
                           "--temperature", "2",       "--ignore-eos"};
  const std::string whole = One(words)["text"];
  // Two characters from the middle.
  size_t begin = 0;
  while (begin < whole.size() / 2)
    begin += NextCodePoint(std::string_view(whole).substr(begin)).length;
  size_t end = begin + NextCodePoint(std::string_view(whole).substr(begin)).length;
  end += NextCodePoint(std::string_view(whole).substr(end)).length;
  const std::string stop = whole.substr(begin, end - begin);
  Arguments stopped = words;
  stopped.insert(stopped.end(), {"--stop", stop, "--stop", "never to be said"});
  const Json one = One(stopped);
  EXPECT_EQ(one["text"], whole.substr(0, whole.find(stop)));
  EXPECT_EQ(one["finish"], "stop_text");
  EXPECT_LT(one["tokens"].size(), 40u);
  EXPECT_EQ(RunCkv(Generate(stopped)).out, "the cat" + one["text"].get<std::string>() + "\n");
}

TEST_F(GenerateCommandTest, StopIdsEndTheText) {
  const Arguments words = {"--prompt", "the cat", "--max-tokens", "20", "--ignore-eos"};
  const Json whole = One(words)["tokens"];
  Arguments stopped = words;
  stopped.insert(stopped.end(), {"--stop-ids", Str(whole[7], ",257")});
  const Json one = One(stopped);
  EXPECT_EQ(one["finish"], "stop");
  size_t place = 0;
  while (whole[place] != whole[7] && whole[place] != 257) ++place;
  EXPECT_EQ(one["tokens"].size(), place);
}

TEST_F(GenerateCommandTest, SamplingOptionsAct) {
  const auto tokens = [&](const Arguments& more) {
    Arguments words = {"--prompt", "the cat", "--max-tokens", "30", "--ignore-eos"};
    words.insert(words.end(), more.begin(), more.end());
    return One(words)["tokens"];
  };
  const Json greedy = tokens({"--temperature", "0"});
  EXPECT_EQ(tokens({"--top-k", "1"}), greedy);
  EXPECT_EQ(tokens({"--top-p", "0.000001"}), greedy);
  EXPECT_EQ(tokens({"--min-p", "1"}), greedy);
  EXPECT_NE(tokens({}), greedy);
  EXPECT_NE(tokens({"--temperature", "0", "--repetition-penalty", "3"}), greedy);
}

// As many passes as tokens are exact, however the prompt is cut; one is not.
TEST_F(GenerateCommandTest, PromptsAreRunAsAsked) {
  const auto log_probs = [&](const Arguments& more) {
    Arguments words = {"--prompt", "the cat sat on the mat", "--max-tokens",
                       "3",        "--temperature",          "0"};
    words.insert(words.end(), more.begin(), more.end());
    return One(words)["log_probs"].get<std::vector<double>>();
  };
  const std::vector<double> exact = log_probs({"--prefill", "sequential"});
  const auto differs = [&](const Arguments& more) {
    const std::vector<double> got = log_probs(more);
    double worst = 0.0;
    for (size_t i = 0; i < 3; ++i) worst = std::max(worst, std::abs(got[i] - exact[i]));
    return worst;
  };
  EXPECT_LT(differs({"--prefill", "iterative", "--passes", "22"}), 1e-4);  // fp32
  EXPECT_LT(differs({"--prefill", "chunked", "--chunk", "5", "--passes", "5"}), 1e-4);
  EXPECT_LT(differs({"--prefill", "iterative", "--passes", "30", "--tolerance", "1e-6"}), 1e-4);
  EXPECT_GT(differs({"--prefill", "iterative", "--passes", "1"}), 1e-3);
  EXPECT_GT(differs({"--prefill", "iterative", "--passes", "30", "--tolerance", "1000"}), 1e-3);
}

TEST_F(GenerateCommandTest, EngineAndEagerStepsGiveTheSame) {
  const auto tokens = [&](const char* steps, const char* temperature) {
    return One({"--prompt", "hello you", "--json", "--precision", "fp64", "--max-tokens", "15",
                "--temperature", temperature, "--steps", steps})["tokens"];
  };
  for (const char* temperature : {"0", "1.3"}) {
    EXPECT_EQ(tokens("engine", temperature), tokens("eager", temperature));
    EXPECT_EQ(tokens("auto", temperature), tokens("eager", temperature));
  }
  EXPECT_THAT(CkvError(2, Generate({"--prompt", "a", "--steps", "graph"})), HasSubstr("--steps"));
}

TEST_F(GenerateCommandTest, LogprobsNameTheLikeliestTokens) {
  const Json one =
      One({"--prompt", "the cat", "--max-tokens", "4", "--temperature", "0", "--logprobs", "3"});
  ASSERT_EQ(one["top_log_probs"].size(), one["tokens"].size());
  for (size_t i = 0; i < one["tokens"].size(); ++i) {
    const Json& top = one["top_log_probs"][i];
    ASSERT_EQ(top.size(), 3u);
    EXPECT_EQ(top[0]["token"], one["tokens"][i]);
    EXPECT_NEAR(top[0]["log_prob"].get<double>(), one["log_probs"][i].get<double>(), 1e-5);
    EXPECT_GE(top[0]["log_prob"], top[1]["log_prob"]);
    EXPECT_TRUE(top[2]["piece"].is_string());
  }
}

TEST_F(GenerateCommandTest, BeamsGiveTheBestFirst) {
  const Arguments words = {"--prompt", "the cat", "--max-tokens", "8", "--beams", "5", "-n", "3"};
  const Json all = RunCkvJson(Generate(words));
  EXPECT_EQ(all["beams"], 5);
  ASSERT_EQ(all["generations"].size(), 3u);
  for (const Json& one : all["generations"]) {
    double sum = 0.0;
    for (const Json& log_prob : one["log_probs"]) sum += log_prob.get<double>();
    if (one["finish"] == "max_tokens") {
      EXPECT_NEAR(one["score"].get<double>(), sum / 8.0, 1e-9);
    }
  }
  EXPECT_GE(all["generations"][0]["score"], all["generations"][1]["score"]);
  EXPECT_GE(all["generations"][1]["score"], all["generations"][2]["score"]);
  // A stop string ends continuations of a beam search too.
  const std::string text = all["generations"][0]["text"];
  Arguments stopped = words;
  stopped.insert(stopped.end(), {"--stop", text.substr(0, 1)});
  for (const Json& one : RunCkvJson(Generate(stopped))["generations"]) {
    EXPECT_THAT(one["text"].get<std::string>(), ::testing::Not(HasSubstr(text.substr(0, 1))));
  }
}

TEST_F(GenerateCommandTest, JsonLinesComeBackWithTheirContinuations) {
  const std::string lines =
      "{\"id\": 7, \"question\": \"the cat\", \"more\": {\"a\": [1.5]}}\n\n"
      "{\"question\": [116, 104], \"max_tokens\": 2, \"seed\": 9}\n"
      "{\"question\": \"the cat\", \"stop\": [\"a\", \"b\"], \"z\": null}\n";
  const ProgramResult result =
      RunCkv(Generate({"--jsonl", "-", "--prompt-field", "question", "--result-field", "answers",
                       "-n", "2", "--max-tokens", "6", "--logprobs", "2", "--ignore-eos"}),
             Input(lines));
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const std::vector<Json> got = JsonLines(result.out);
  ASSERT_EQ(got.size(), 3u);
  EXPECT_THAT(result.out, StartsWith("{\"id\":7,\"question\":\"the cat\",\"more\":{\"a\":[1.5]},"
                                     "\"answers\":[{\"text\":"));
  EXPECT_EQ(got[0]["answers"].size(), 2u);
  EXPECT_EQ(got[0]["answers"][0]["tokens"].size(), 6u);
  EXPECT_EQ(got[0]["answers"][0]["top_log_probs"][0].size(), 2u);
  EXPECT_NE(got[0]["answers"][0]["tokens"], got[0]["answers"][1]["tokens"]);
  EXPECT_EQ(got[1]["answers"][0]["tokens"].size(), 2u);
  EXPECT_TRUE(got[2].contains("z"));
  for (const Json& one : got[2]["answers"]) {
    EXPECT_EQ(one["text"].get<std::string>().find_first_of("ab"), std::string::npos);
  }
  // A line's seed decides as the command's does for a single prompt.
  EXPECT_EQ(got[1]["answers"][0]["tokens"], One({"--prompt-ids", "116,104", "--seed", "9",
                                                 "--max-tokens", "2", "--ignore-eos"})["tokens"]);
}

TEST_F(GenerateCommandTest, AStoppedJobGoesOnWhereItWas) {
  std::string lines;
  for (int i = 0; i < 9; ++i)
    lines += Str("{\"prompt\": \"number ", i * i, "\", \"i\": ", i, "}\n");
  const Arguments job = Job(lines, {"-n", "2"});
  EXPECT_EQ(RunCkv(job).out, "");
  const std::string whole = ReadFile(Path("out.jsonl"));
  ASSERT_EQ(JsonLines(whole).size(), 9u);
  EXPECT_EQ(JsonLines(whole)[8]["i"], 8);

  // Four lines and a half: the half is dropped, the four stay as they are.
  size_t cut = 0;
  for (int i = 0; i < 4; ++i) cut = whole.find('\n', cut) + 1;
  const std::string kept = whole.substr(0, cut);
  WriteFileAtomically(Path("out.jsonl"), kept + whole.substr(cut, 20));
  const ProgramResult resumed = RunCkv(job);
  EXPECT_THAT(resumed.err, HasSubstr("4 of 9 prompts were done before"));
  const std::vector<Json> got = JsonLines(ReadFile(Path("out.jsonl")));
  ASSERT_EQ(got.size(), 9u);
  EXPECT_THAT(ReadFile(Path("out.jsonl")), StartsWith(kept));
  for (size_t i = 0; i < 9; ++i) {
    for (size_t sample = 0; sample < 2; ++sample) {
      EXPECT_EQ(got[i]["generations"][sample]["tokens"],
                JsonLines(whole)[i]["generations"][sample]["tokens"]);
    }
  }

  // More prompts behind the old ones are a job that is not complete yet.
  const std::string before = ReadFile(Path("out.jsonl"));
  EXPECT_EQ(RunCkv(Job(lines + "{\"prompt\": \"one more\"}\n", {"-n", "2"})).exit_code, 0);
  EXPECT_THAT(ReadFile(Path("out.jsonl")), StartsWith(before));
  EXPECT_EQ(JsonLines(ReadFile(Path("out.jsonl"))).size(), 10u);
}

TEST_F(GenerateCommandTest, AnotherJobIsRefused) {
  const std::string lines = "{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}\n";
  ASSERT_EQ(RunCkv(Job(lines)).exit_code, 0);
  const std::string out = Path("out.jsonl");
  EXPECT_EQ(CkvError(2, Job(lines, {"--temperature", "0.5"})),
            Str("--out ", out,
                ": holds results of another job: 'temperature' was 1.0, not 0.5; "
                "name another file or remove this one"));
  EXPECT_EQ(CkvError(2, Job("{\"prompt\": \"a\"}\n{\"prompt\": \"c\"}\n")),
            Str("--out ", out,
                ": its line 2 is not about prompt 2 of this job; name another file "
                "or remove this one"));
  EXPECT_EQ(CkvError(2, Job("{\"prompt\": \"a\"}\n")),
            Str("--out ", out,
                ": its line 2 is not about prompt 2 of this job; name another file "
                "or remove this one"));
  RemoveAll(out + ".settings.json");
  EXPECT_EQ(CkvError(2, Job(lines)),
            Str("--out ", out, ": is there already, but ", out,
                ".settings.json is not, so it cannot be continued; name another file"));
}

TEST_F(GenerateCommandTest, BadLinesAreNamed) {
  const std::string in = Path("in.jsonl");
  const auto error = [&](const std::string& line) {
    return CkvError(3, Job("{\"prompt\": \"a\"}\n" + line + "\n"));
  };
  EXPECT_THAT(error("{\"prompt\": "), StartsWith(in + ":2: line 1, column "));
  EXPECT_EQ(error("[1]"), Str(in, ":2: is a JSON array, not an object"));
  EXPECT_EQ(error("{\"a\": 1, \"b\": 2}"),
            Str(in, ":2: has no field 'prompt' (it has: a, b); --prompt-field names another"));
  EXPECT_EQ(error("{\"prompt\": 3}"),
            Str(in, ":2: field 'prompt' is a number, not a string or a list of token ids"));
  EXPECT_EQ(error("{\"prompt\": [3, -1]}"), Str(in, ":2: field 'prompt' holds -1, not a token id"));
  EXPECT_EQ(error("{\"prompt\": [3, 258]}"),
            Str(in, ": prompt 2: prompt: token id 258 is outside the vocabulary of 258"));
  EXPECT_EQ(error("{\"prompt\": \"a\", \"max_tokens\": 0}"),
            Str(in, ":2: field 'max_tokens' is 0, but must be a whole number >= 1"));
  EXPECT_EQ(error("{\"prompt\": \"a\", \"seed\": 1.5}"),
            Str(in, ":2: field 'seed' is 1.5, but must be a whole number"));
  EXPECT_EQ(error("{\"prompt\": \"a\", \"stop\": [\"\"]}"),
            Str(in, ":2: field 'stop' holds \"\", but must hold texts that are not empty"));
  EXPECT_EQ(error("{\"prompt\": \"a\", \"generations\": 1}"),
            Str(in,
                ":2: has a field 'generations', where the result is to stand; --result-field "
                "names another"));
  EXPECT_FALSE(FileExists(Path("out.jsonl")));  // nothing was begun
}

TEST_F(GenerateCommandTest, BadOptionsAreNamed) {
  EXPECT_EQ(CkvError(2, Generate({"--prefill", "chunked", "--chunk", "0"})),
            "--chunk: 0, but must be >= 1");
  EXPECT_EQ(CkvError(2, Generate({"--chunk", "8"})), "--chunk: belongs to --prefill chunked");
  EXPECT_EQ(CkvError(2, Generate({"--tolerance", "-1"})), "--tolerance: -1, but must be >= 0");
  EXPECT_EQ(CkvError(2, Generate({"--prefill", "sequential", "--passes", "2"})),
            "--passes: belongs to prompts in passes, not to --prefill sequential");
  WriteModel(Path("plain"), "0_0_2_2");
  EXPECT_EQ(CkvError(2, {"generate", Path("plain"), "--device", "cpu", "--tolerance", "0.1"}),
            "--tolerance: no layer of this model reads a layer above it, so one pass is exact");
  EXPECT_EQ(CkvError(2, Generate({"--min-p", "2"})), "--min-p: 2, but must be from 0 to 1");
  EXPECT_EQ(CkvError(2, Generate({"--repetition-penalty", "0"})),
            "--repetition-penalty: 0, but must be above 0");
  EXPECT_EQ(CkvError(2, Generate({"--stop", ""})), "--stop: is empty");
  EXPECT_EQ(CkvError(2, Generate({"--stop-ids", "a"})), "--stop-ids: 'a' is not a token id");
  EXPECT_EQ(CkvError(2, Generate({"--logprobs", "2"})),
            "--logprobs: are given in JSON only; add --json or --jsonl");
  EXPECT_EQ(CkvError(2, Generate({"--beams", "2", "-n", "3"})),
            "--samples: 3, but must be from 1 to the 2 beams");
  EXPECT_THAT(CkvError(2, Generate({"--beams", "2", "--temperature", "1"})), HasSubstr("excludes"));
  EXPECT_THAT(CkvError(2, Generate({"--length-penalty", "2"})), HasSubstr("--beams"));
  EXPECT_THAT(CkvError(2, Generate({"--jsonl", "x", "--prompt", "a"})), HasSubstr("--prompt"));
  EXPECT_EQ(CkvError(2, Generate({"--prompt", "-", "--prompt-file", "-"})),
            "--prompt: - is given more than once, but stdin can be read only once");
  EXPECT_THAT(CkvError(4, Generate({"--prompt-file", Path("none.txt")})), HasSubstr("none.txt"));
  EXPECT_THAT(CkvError(4, Generate({"--jsonl", Path("none.jsonl")})), HasSubstr("none.jsonl"));
}

}  // namespace
}  // namespace ckv
