// Models of sentence tasks: where heads read, ties, figures, and the baseline encoder.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/encoder_transformer.h"
#include "tests/probtrans/random_encoder.h"
#include "tests/temp_dir.h"
#include "train/sentence_task.h"

namespace ckv {
namespace {

EncoderTransformerConfig SmallBaseline(const std::string& positions) {
  EncoderTransformerConfig config;
  config.width = 6;
  config.layers = 2;
  config.heads = 2;
  config.head_width = 4;
  config.feed_forward = 8;
  config.positions = positions;
  config.relative_limit = 3;
  config.max_positions = 20;
  return config;
}

std::shared_ptr<SentenceModel> BaselineModel(const EncoderTransformerConfig& config,
                                             SentenceModelShape shape) {
  auto model = std::make_shared<SentenceModel>(std::make_shared<TransformerEncoder>(config), shape);
  model->InitializeWeights(4);
  model->to(at::kDouble);
  model->eval();
  return model;
}

TEST(Baseline, FreshPositionsHaveTheDeviationAskedFor) {
  for (const double deviation : {1.0, 0.03}) {
    EncoderTransformerConfig config = SmallBaseline("absolute");
    config.max_positions = 500;
    config.position_std = deviation;
    SentenceModelShape shape;
    shape.vocabulary = 9;
    shape.classes = {3};
    const auto model = BaselineModel(config, shape);
    bool found = false;
    for (const auto& item : model->named_parameters()) {
      if (item.key().find("timing_table") == std::string::npos) continue;
      found = true;
      EXPECT_NEAR(item.value().std().item<double>() / deviation, 1.0, 0.1);
    }
    EXPECT_TRUE(found);
  }
}

class BaselineTest : public ::testing::TestWithParam<std::string> {};

// Batch and padding change nothing; so the class token must be read in front, where it stands, not
// behind the padding.
TEST_P(BaselineTest, SentencesDoNotFeelEachOther) {
  for (const bool whole : {false, true}) {
    SentenceModelShape shape;
    shape.vocabulary = 9;
    shape.classes = {3};
    shape.whole_sentences = whole;
    const auto model = BaselineModel(SmallBaseline(GetParam()), shape);
    const Tensor ids = RandomIds({2, 7}, 9, 1);
    Tensor mask = AllWords(2, 7);
    mask[1].narrow(0, 3, 4).fill_(false);
    const Tensor together = model->Logits(model->Encode(ids, mask))[0];
    const Tensor alone =
        model->Logits(model->Encode(ids.narrow(0, 1, 1).narrow(1, 0, 3), AllWords(1, 3)))[0];
    const int64_t rows = whole ? 1 : 3;
    EXPECT_EQ(together.size(1), whole ? 1 : 7);
    EXPECT_LT(MaxAbsDiff(together[1].narrow(0, 0, rows), alone[0]), 1e-12);
  }
}

INSTANTIATE_TEST_SUITE_P(Positions, BaselineTest,
                         ::testing::Values("absolute", "relative", "none"));

TEST(TransformerEncoder, SharedLayersAreOneSetOfWeights) {
  EncoderTransformerConfig config = SmallBaseline("relative");
  const int64_t own = config.NumParameters();
  config.shared_layers = true;
  EXPECT_EQ(config.NumParameters() * 2, own);
  int64_t count = 0;
  for (const Tensor& weights : TransformerEncoder(config).parameters()) count += weights.numel();
  EXPECT_EQ(count, config.NumParameters());
}

TEST(TransformerEncoder, DropsWordsAndPositionsEvenWithoutOtherDropout) {
  TransformerEncoder encoder(SmallBaseline("absolute"));
  encoder.InitializeWeights(at::make_generator<at::CPUGeneratorImpl>(1));
  const Tensor unary = RandomTensor({1, 5, 6}, 2, at::kFloat);
  encoder.eval();
  EXPECT_EQ(MaxAbsDiff(encoder.Encode(unary, AllWords(1, 5)).words,
                       encoder.Encode(unary, AllWords(1, 5)).words),
            0.0);
  encoder.train();
  EXPECT_GT(MaxAbsDiff(encoder.Encode(unary, AllWords(1, 5)).words,
                       encoder.Encode(unary, AllWords(1, 5)).words),
            0.0);
}

TEST(TransformerEncoder, SaysWhatSentenceIsTooLong) {
  TransformerEncoder encoder(SmallBaseline("absolute"));
  EXPECT_THAT(ErrorOf([&] {
                encoder.Encode(RandomTensor({1, 21, 6}, 2, at::kFloat), AllWords(1, 21));
              }),
              ::testing::HasSubstr("a sentence has 21 words, but 'model.max_positions' is 20"));
}

// One table: its gradient has the parts of input and output, and there is no second parameter.
TEST(SentenceModel, TiedOutputIsTheTableItself) {
  SentenceModelShape shape;
  shape.vocabulary = 8;  // the mask is the last
  shape.classes = {7};
  shape.tied = true;
  const auto model = BaselineModel(SmallBaseline("none"), shape);
  const Tensor ids = at::tensor({1, 7, 2}, at::kLong).unsqueeze(0);
  const Tensor logits = model->Logits(model->Encode(ids, AllWords(1, 3)))[0];
  EXPECT_EQ(logits.size(2), 7);
  logits.sum().backward();
  EXPECT_FALSE(model->named_parameters().contains("head.weight"));
  const Tensor grad = model->named_parameters()["embedding.weight"].grad();
  EXPECT_GT(grad[5].abs().sum().item<double>(), 0.0);  // only an output
  EXPECT_GT(grad[7].abs().sum().item<double>(), 0.0);  // only an input
}

TEST(ScorePredictions, PerplexityIsEToTheLoss) {
  SentenceLosses losses;
  losses.loss = 2.0;
  losses.targets = 10;
  losses.right = 4;
  const SentenceFigures figures =
      ScorePredictions({}, {}, losses, SentenceTask::kMasked, /*spans=*/false);
  EXPECT_EQ(figures.values[1].first, "perplexity");
  EXPECT_DOUBLE_EQ(figures.values[1].second, std::exp(2.0));
  EXPECT_EQ(figures.score, -2.0);
}

TEST(ScorePredictions, SentencesAreRightAsAWholeAndByKind) {
  std::vector<Sentence> sentences(3);
  const std::vector<LabelSet> labels = {LabelSet("parent", {"1", "none"}),
                                        LabelSet("role", {"", "agent"})};
  for (Sentence& sentence : sentences) {
    sentence.words = {"x", "y"};
    sentence.labels = {{"1", "none"}, {"agent", ""}};
    sentence.kind = "seen";
  }
  sentences[2].kind = "other";
  sentences[1].labels[0][0] = "9";  // an offset that training never showed
  SentenceLosses losses;
  losses.predictions = {{{0, 1}, {1, 0}}, {{0, 1}, {1, 0}}, {{0, 1}, {1, 0}}};
  const SentenceFigures figures =
      ScorePredictions(sentences, labels, losses, SentenceTask::kWords, false);
  EXPECT_NEAR(figures.score, 2.0 / 3.0, 1e-12);
  EXPECT_EQ(figures.values[2].first, "parent_accuracy");
  EXPECT_NEAR(figures.values[2].second, 5.0 / 6.0, 1e-12);
  ASSERT_EQ(figures.by_kind.size(), 2u);
  EXPECT_EQ(figures.by_kind[0], (std::pair<std::string, double>("other", 1.0)));
  EXPECT_EQ(figures.by_kind[1], (std::pair<std::string, double>("seen", 0.5)));
}

TEST(ScorePredictions, AccuracyCountsToFourDecimals) {
  std::vector<Sentence> sentences(1);
  SentenceLosses losses;
  losses.predictions = {{{}}};
  sentences[0].labels.resize(1);
  for (int i = 0; i < 30000; ++i) {
    sentences[0].labels[0].push_back(i == 0 ? "b" : "a");
    losses.predictions[0][0].push_back(0);
  }
  const SentenceFigures figures = ScorePredictions(sentences, {LabelSet("tag", {"a", "b"})}, losses,
                                                   SentenceTask::kWords, false);
  EXPECT_EQ(figures.score, 1.0);  // 29,999 of 30,000
  EXPECT_LT(figures.values[1].second, 1.0);
}

}  // namespace
}  // namespace ckv
