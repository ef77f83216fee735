#include "tasks/task.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "tasks/answers.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kChoice[] =
    "kind: multiple_choice\ndata: [d.jsonl]\nmetrics: [acc, acc_norm, acc_chars, exact_match]\n"
    "forms:\n  - needs: [q]\n    context: 'Q: {{q}}'\n    choices: '{{c}}'\n    target: '{{g}}'\n";

class TaskTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Data(
        "{\"q\": \"one\", \"c\": [\"a\", \"bb\"], \"g\": 0}\n"
        "{\"q\": \"two\", \"c\": [\"c\", \"d\", \"\u00e4\u00e4\"], \"g\": 2}\n"
        "{\"q\": \"one\", \"c\": [\"a\", \"bb\"], \"g\": 0}\n");
  }
  void Data(const std::string& lines) { WriteFileAtomically(dir_.File("d.jsonl"), lines); }
  Task Open(const std::string& yaml, const std::vector<std::string>& sets = {}) {
    WriteFileAtomically(dir_.File("t.yaml"), yaml);
    return Task(LoadTaskConfig(dir_.File("t.yaml"), sets), {dir_.path()}, "t.yaml");
  }

  TempDir dir_;
};

std::vector<std::string> Texts(const Task& task, int64_t document) {
  std::vector<std::string> texts;
  for (const TaskRequest& request : task.Requests(document)) {
    texts.push_back(request.context + "|" + request.continuation);
  }
  return texts;
}

TEST_F(TaskTest, ChoicesFollowTheContextAndTheDelimiter) {
  const Task task = Open(kChoice);
  EXPECT_EQ(task.size(), 3);
  EXPECT_EQ(task.config().name, "t");
  EXPECT_THAT(Texts(task, 0), ElementsAre("Q: one| a", "Q: one| bb"));
  EXPECT_EQ(task.TargetOf(1), "2");
}

TEST_F(TaskTest, DescriptionAndExamplesComeFirst) {
  const Task task = Open(kChoice, {"few_shot.count=1", "description='D. '"});
  // A document is no example for itself, nor for its copies.
  EXPECT_THAT(Texts(task, 0), ElementsAre("D. Q: two \u00e4\u00e4\n\nQ: one| a",
                                          "D. Q: two \u00e4\u00e4\n\nQ: one| bb"));
  EXPECT_EQ(Texts(task, 1)[0], "D. Q: one a\n\nQ: two| c");
  EXPECT_THAT(ErrorOf([&] { Open(kChoice, {"few_shot.count=3"}); }), HasSubstr("only 2 examples"));
  // Two of the three are copies.
  EXPECT_THAT(ErrorOf([&] { Open(kChoice, {"few_shot.count=2"}).Requests(0); }),
              HasSubstr("too few other examples"));
}

TEST_F(TaskTest, ExamplesFromAFileOfTheirOwn) {
  WriteFileAtomically(dir_.File("e.jsonl"), "{\"q\": \"x\", \"c\": [\"y\", \"z\"], \"g\": 1}\n");
  const Task task = Open(kChoice, {"few_shot.count=1", "few_shot.data=[e.jsonl]",
                                   "few_shot.delimiter=' ## '", "delimiter='='"});
  EXPECT_EQ(Texts(task, 2)[1], "Q: x=z ## Q: one|=bb");
}

TEST_F(TaskTest, ScoresOfChoices) {
  const Task task = Open(kChoice);
  const auto scores = [&](const std::vector<double>& log_probs) {
    std::vector<TaskResponse> answers;
    for (const double log_prob : log_probs) answers.push_back({log_prob, log_prob > -3.5, ""});
    const DocumentScores found = task.Score(1, answers);
    return std::vector<double>{found.at("acc").value, found.at("acc_norm").value,
                               found.at("acc_chars").value, found.at("exact_match").value};
  };
  // The third choice has four bytes and two characters.
  EXPECT_THAT(scores({-2, -3, -1}), ElementsAre(1, 1, 1, 1));
  EXPECT_THAT(scores({-2, -3, -3}), ElementsAre(0, 1, 1, 1));
  EXPECT_THAT(scores({-1.5, -3, -4}), ElementsAre(0, 1, 0, 0));
  EXPECT_THAT(scores({-1, -1, -4}), ElementsAre(0, 0, 0, 0));  // equal: the first counts
}

TEST_F(TaskTest, ContextsInThePlaceOfChoices) {
  Data("{\"s\": \"He saw _  there.\", \"o\": [\"Al\", \"Bo\"], \"answer\": \"2\"}\n");
  const Task task = Open(
      "data: [d.jsonl]\nmetrics: [acc]\nforms:\n"
      "  - contexts: [\"{{s | before('_')}}{{o.0}}\", \"{{s | before('_')}}{{o.1}}\"]\n"
      "    continuation: \"{{s | after('_') | strip}}\"\n"
      "    target: '{{answer | int | add(-1)}}'\n");
  EXPECT_THAT(Texts(task, 0), ElementsAre("He saw Al| there.", "He saw Bo| there."));
  EXPECT_EQ(task.Score(0, {{-2, false, ""}, {-1, false, ""}}).at("acc").value, 1.0);
}

TEST_F(TaskTest, LogLikelihoodTakesTheTargetAsItStands) {
  Data("{\"t\": \"a b  c\"}\n");
  const Task task = Open(
      "kind: log_likelihood\ndata: [d.jsonl]\nmetrics: [perplexity, acc]\n"
      "forms:\n  - context: '{{t | but_last_word}}'\n"
      "    target: ' {{t | last_word}}'\n");
  EXPECT_THAT(Texts(task, 0), ElementsAre("a b | c"));
  const DocumentScores scores = task.Score(0, {{-1.25, true, ""}});
  EXPECT_EQ(scores.at("perplexity").value, -1.25);
  EXPECT_EQ(scores.at("acc").value, 1.0);
}

TEST_F(TaskTest, RollingCountsWordsAndBytesOfTheCountedText) {
  Data("{\"t\": \" a \u00e4 \"}\n");
  const Task task = Open(
      "kind: rolling\ndata: [d.jsonl]\n"
      "metrics: [word_perplexity, byte_perplexity, bits_per_byte]\n"
      "forms:\n  - target: '{{t | strip}}'\n    counted: '{{t}}'\n");
  EXPECT_THAT(Texts(task, 0), ElementsAre("|a \u00e4"));
  const DocumentScores scores = task.Score(0, {{-7.0, false, ""}});
  EXPECT_EQ(scores.at("word_perplexity").weight, 4.0);
  EXPECT_EQ(scores.at("byte_perplexity").weight, 6.0);
  EXPECT_EQ(scores.at("bits_per_byte").value, -7.0);
}

TEST_F(TaskTest, GeneratedAnswersAreNormalized) {
  Data("{\"q\": \"2+2\", \"a\": [\"Four.\", \"4\"]}\n");
  const Task task = Open(
      "kind: generate\ndata: [d.jsonl]\nmetrics: [exact_match]\n"
      "generation: {normalize: [strip, lower, punctuation]}\n"
      "forms:\n  - context: '{{q}}='\n    target: '{{a}}'\n");
  const auto match = [&](const std::string& text) {
    return task.Score(0, {{0, false, text}}).at("exact_match").value;
  };
  EXPECT_EQ(match(" FOUR!\n"), 1.0);
  EXPECT_EQ(match("4"), 1.0);
  EXPECT_EQ(match("5"), 0.0);
  EXPECT_EQ(CutAtFirst("a\n\nb.c", {".", "\n\n", ""}), "a");
}

TEST_F(TaskTest, FingerprintFollowsWhatScoresDependOn) {
  const uint64_t plain = Open(kChoice).Fingerprint();
  EXPECT_EQ(Open(kChoice, {"about=other", "metrics=[acc]"}).Fingerprint(), plain);
  EXPECT_NE(Open(kChoice, {"delimiter=x"}).Fingerprint(), plain);
  EXPECT_NE(Open(kChoice, {"few_shot.count=1"}).Fingerprint(), plain);
  EXPECT_NE(Open(kChoice, {"version=2"}).Fingerprint(), plain);
  Data("{\"q\": \"one\", \"c\": [\"a\", \"bb\"], \"g\": 0}\n");
  EXPECT_NE(Open(kChoice).Fingerprint(), plain);
}

TEST_F(TaskTest, SaysWhatIsWrong) {
  const auto error = [&](const std::vector<std::string>& sets) {
    return ErrorOf([&] { Open(kChoice, sets).Requests(0); });
  };
  EXPECT_THAT(error({"metrics=[perplexity]"}), HasSubstr("is none of kind 'multiple_choice'"));
  EXPECT_THAT(error({"metrics=[best]"}), HasSubstr("but 'best' is not"));
  EXPECT_THAT(error({"kind=rolling"}), HasSubstr("metric 'acc' is none of kind 'rolling'"));
  EXPECT_THAT(error({"forms.0.contexts=[a]"}), HasSubstr("either 'choices' or 'contexts'"));
  EXPECT_THAT(error({"forms.0.needs=[z]"}), HasSubstr("document 0: fits none of the task's forms"));
  EXPECT_THAT(error({"forms.0.target=9"}), HasSubstr("right choice is '9', but it has 2 choices"));
  EXPECT_THAT(error({"forms.0.choices='{{q}}'"}), HasSubstr("its choices are no list"));
  EXPECT_THAT(error({"optin=1"}), HasSubstr("unknown key 'optin'"));
}

// Every task of the repository loads, and its templates are right.
TEST(BuiltInTasks, Load) {
  const std::string folder = std::string(CKV_SOURCE_DIR) + "/configs/tasks";
  int count = 0;
  for (const std::string& name : ListDir(folder)) {
    const TaskConfig config = LoadTaskConfig(JoinPath(folder, name));
    EXPECT_FALSE(config.about.empty()) << name;
    ++count;
    try {
      const Task task(config, {std::string(CKV_SOURCE_DIR) + "/../shared/data"}, name);
      for (int64_t i = 0; i < task.size(); ++i) {
        ASSERT_FALSE(task.Requests(i).empty()) << name;
        ASSERT_FALSE(task.TargetOf(i).empty()) << name;
      }
    } catch (const IoError&) {  // its data are not here
    }
  }
  EXPECT_GE(count, 10);
}

}  // namespace
}  // namespace ckv
