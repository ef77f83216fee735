// Training of sentence models: what the loss is made of, what is learnt, and resuming.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/random.h"
#include "base/target.h"
#include "ckpt/weights.h"
#include "tests/probtrans/random_encoder.h"
#include "tests/temp_dir.h"
#include "train/plateau.h"
#include "train/sentence_task.h"
#include "train/training_checkpoint.h"

namespace ckv {
namespace {

// The label of a word is the type of the word two before it: one arc at distance two decides.
std::vector<EncodedSentence> ArcTask(int64_t sentences, uint64_t seed) {
  Random random(seed);
  std::vector<EncodedSentence> data;
  for (int64_t s = 0; s < sentences; ++s) {
    EncodedSentence sentence;
    sentence.labels.resize(1);
    for (size_t i = 0; i < 10; ++i) {
      sentence.ids.push_back(static_cast<int64_t>(random.Below(8)));
      sentence.labels[0].push_back(i < 2 ? LabelSet::kUnknownClass : sentence.ids[i - 2]);
    }
    data.push_back(std::move(sentence));
  }
  return data;
}

double ArcAccuracy(const std::string& factor, int64_t gamma, int64_t steps) {
  ProbTransConfig config;
  config.labels = 32;
  config.channels = 4;
  config.iterations = 1;
  config.factor = factor;
  config.rank = factor == "full" ? 0 : 8;
  config.distance_cuts = CutsOfGamma(gamma);
  SentenceModelShape shape;
  shape.vocabulary = 8;
  shape.classes = {8};
  auto model = std::make_shared<SentenceModel>(std::make_shared<MeanFieldEncoder>(config), shape);
  model->InitializeWeights(1);
  const std::vector<EncodedSentence> data = ArcTask(32 * steps, 5), fresh = ArcTask(200, 6);
  OptimConfig optim;
  optim.kind = "adam";
  optim.beta2 = 0.999;
  optim.weight_decay = 0.0;
  optim.clip_norm = 5.0;
  AdamW optimizer(NamedParameters(*model), optim);
  SentenceTaskOptions options;
  options.batch_size = 32;
  SentenceStepTask task(model, data, options, 1, true, at::kCPU);
  model->train();
  for (int64_t step = 0; step < steps; ++step) {
    const StepLoss loss = task.RunStep(step, optimizer);
    optimizer.Step(0.01, loss.sum);
  }
  const SentenceLosses losses = EvaluateModel(*model, fresh, options, at::kCPU);
  return static_cast<double>(losses.right) / (200.0 * 8.0);  // the first two words do not count
}

TEST(ProbTransLearning, OneArcIsLearntWithItsDistanceAndNotWithout) {
  EXPECT_GE(ArcAccuracy("full", 3, 100), 0.999);
  EXPECT_GE(ArcAccuracy("uv", 3, 100), 0.999);
  const double without = ArcAccuracy("uv", 0, 600);  // near 0.41: what the words themselves tell
  EXPECT_GT(without, 0.3);
  EXPECT_LT(without, 0.5);
}

// A small model over words 0..5 with tags 0..3.
struct TinyTagger {
  explicit TinyTagger(int64_t micro, bool sum = true, double norm = 0.0) {
    ProbTransConfig config = SmallConfig("uv");
    SentenceModelShape shape;
    shape.vocabulary = 6;
    shape.classes = {4};
    model = std::make_shared<SentenceModel>(std::make_shared<MeanFieldEncoder>(config), shape);
    model->InitializeWeights(3);
    model->to(at::kDouble);
    Random random(2);
    for (const size_t n : {5, 1, 9, 3, 2, 7}) {
      EncodedSentence sentence;
      sentence.labels.resize(1);
      for (size_t i = 0; i < n; ++i) {
        sentence.ids.push_back(static_cast<int64_t>(random.Below(6)));
        sentence.labels[0].push_back(static_cast<int64_t>(random.Below(4)));
      }
      data.push_back(std::move(sentence));
    }
    options.batch_size = 6;
    options.micro_batch_size = micro;
    options.sum_micro_batches = sum;
    options.score_norm = norm;
  }

  // Gradients of one step, by parameter, and the loss.
  std::vector<Tensor> Gradients(StepLoss* loss) {
    OptimConfig optim;
    optim.kind = "adam";
    optim.weight_decay = 0.0;
    AdamW optimizer(NamedParameters(*model), optim);
    SentenceStepTask task(model, data, options, 1, false, at::kCPU);
    *loss = task.RunStep(0, optimizer);
    // After one step from zero, the first moment is (1 - beta1) times the gradient, clipped.
    const AdamW::StepResult result = optimizer.Step(1e-9, loss->sum);
    const double norm = result.grad_norm.item<double>();
    const double clip = std::max(1.0, (norm + 1e-6) / optim.clip_norm);
    std::vector<Tensor> grads;
    for (const auto& [name, tensor] : optimizer.State()) {
      if (name.rfind("exp_avg.", 0) == 0) grads.push_back(tensor / (1.0 - optim.beta1) * clip);
    }
    return grads;
  }

  std::shared_ptr<SentenceModel> model;
  std::vector<EncodedSentence> data;
  SentenceTaskOptions options;
};

// What the recipe says, written out: each sentence's mean, each micro-batch's mean of those, their
// sum, and the norm once for each micro-batch.
Tensor LossByHand(TinyTagger& tiny) {
  Tensor total;
  const auto unit = static_cast<size_t>(tiny.options.micro_batch_size);
  for (size_t begin = 0; begin < tiny.data.size(); begin += unit) {
    Tensor sum;
    for (size_t s = begin; s < begin + unit; ++s) {
      const Tensor ids = at::tensor(tiny.data[s].ids).unsqueeze(0);
      const Tensor logits =
          tiny.model->Logits(tiny.model->Encode(ids, at::ones_like(ids, at::kBool)))[0][0];
      const Tensor mean = at::nll_loss(logits.log_softmax(1), at::tensor(tiny.data[s].labels[0]));
      sum = sum.defined() ? sum + mean : mean;
    }
    Tensor term = sum / static_cast<double>(unit);
    if (tiny.options.score_norm > 0) {
      term = term + tiny.model->encoder().ScoreNorm() * tiny.options.score_norm;
    }
    total = total.defined() ? total + term : term;
  }
  return total;
}

TEST(SentenceStepTask, SumsMicroBatchMeansAndPenalisesEach) {
  for (const char* way : {"as it comes", "by length", "few shapes"}) {
    SCOPED_TRACE(way);
    TinyTagger tiny(2, true, 0.01);
    tiny.options.by_length = way == std::string("by length");
    tiny.options.recorded = way == std::string("few shapes");
    // Several groups, across micro-batches.
    tiny.options.words_at_once = way == std::string("as it comes") ? 4096 : 12;
    const Tensor by_hand = LossByHand(tiny);
    by_hand.backward();
    std::vector<Tensor> want;
    for (const Tensor& parameter : tiny.model->parameters()) {
      want.push_back(parameter.grad().clone());
    }
    tiny.model->zero_grad();
    StepLoss loss;
    const std::vector<Tensor> got = tiny.Gradients(&loss);
    EXPECT_NEAR(loss.sum.item<double>(), by_hand.item<double>(), 1e-12);
    EXPECT_EQ(loss.count, 3);
    EXPECT_EQ(loss.words, 5 + 1 + 9 + 3 + 2 + 7);
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_LT(MaxAbsDiff(got[i], want[i]), 1e-10);
  }
}

// Sums that stay where they are start anew in each step.
TEST(SentenceStepTask, StepsOfFewShapesEqualOthers) {
  const auto weights_after = [](bool recorded, bool sum) {
    TinyTagger tiny(2, sum, 0.01);
    tiny.options.recorded = recorded;
    tiny.options.batch_size = 4;  // the second batch of an epoch is smaller
    OptimConfig optim;
    optim.kind = "adam";
    AdamW optimizer(NamedParameters(*tiny.model), optim);
    SentenceStepTask task(tiny.model, tiny.data, tiny.options, 1, true, at::kCPU);
    std::vector<Tensor> values;
    for (int64_t step = 0; step < 7; ++step) {
      const StepLoss loss = task.RunStep(step, optimizer);
      optimizer.Step(0.01, loss.sum);
      values.push_back(loss.sum.clone());
    }
    for (const Tensor& weight : tiny.model->parameters()) values.push_back(weight.clone());
    return values;
  };
  for (const bool sum : {true, false}) {
    const std::vector<Tensor> want = weights_after(false, sum), got = weights_after(true, sum);
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_LT(MaxAbsDiff(got[i], want[i]), 1e-9) << i;
  }
}

TEST(SentenceStepTask, MeanOfMicroBatchesIsAThirdOfTheirSum) {
  TinyTagger summed(2, true, 0.01), averaged(2, false, 0.01);
  StepLoss of_sum, of_mean;
  const std::vector<Tensor> sum = summed.Gradients(&of_sum), mean = averaged.Gradients(&of_mean);
  EXPECT_NEAR(of_sum.sum.item<double>(), of_mean.sum.item<double>(), 1e-12);  // as reported
  for (size_t i = 0; i < sum.size(); ++i) EXPECT_LT(MaxAbsDiff(sum[i] / 3.0, mean[i]), 1e-10);
}

// The unknown word's vector is trained by nothing but the decay, which must be in the gradient: it
// moves by the full rate each step until it is flat.
TEST(SentenceStepTask, DecayInTheGradientFlattensTheUnknownWord) {
  TinyTagger tiny(2);
  for (EncodedSentence& sentence : tiny.data) {
    for (int64_t& id : sentence.ids) id = std::max<int64_t>(id, 1);  // 0 never occurs
  }
  OptimConfig optim;
  optim.kind = "adam";
  optim.beta2 = 0.999;
  optim.eps = 1e-9;
  optim.weight_decay = 1e-5;
  AdamW optimizer(NamedParameters(*tiny.model), optim);
  SentenceStepTask task(tiny.model, tiny.data, tiny.options, 1, true, at::kCPU);
  const Tensor table = tiny.model->named_parameters()["embedding.weight"];
  const double before = table[0].abs().max().item<double>();
  for (int64_t step = 0; step < 600; ++step) {
    const StepLoss loss = task.RunStep(step, optimizer);
    optimizer.Step(0.005, loss.sum);
  }
  EXPECT_GT(before, 0.3);
  EXPECT_LT(table[0].abs().max().item<double>(), 0.05);
  EXPECT_GT(table.narrow(0, 1, 5).abs().max().item<double>(), 0.3);
}

TEST(Plateau, TiesWithALowerLossCountAsImprovement) {
  PlateauConfig config;
  config.patience = 1;
  PlateauState state;
  EXPECT_TRUE(UpdatePlateau(config, 0.1, 0.9, 1.0, &state));
  EXPECT_FALSE(UpdatePlateau(config, 0.1, 0.9, 1.0, &state));
  EXPECT_TRUE(UpdatePlateau(config, 0.1, 0.9, 0.9, &state));   // same score, lower loss
  EXPECT_FALSE(UpdatePlateau(config, 0.1, 0.8, 0.1, &state));  // lower score
  EXPECT_EQ(state.lr_scale, 1.0);
  EXPECT_FALSE(UpdatePlateau(config, 0.1, 0.8, 0.1, &state));  // the second: more than patience
  EXPECT_EQ(state.lr_scale, 0.5);
  EXPECT_EQ(state.bad, 0);
  EXPECT_TRUE(UpdatePlateau(config, 0.1, 0.91, 2.0, &state));
  EXPECT_FALSE(state.stopped);
}

TEST(Plateau, StopsBelowTheLeastRateAndRoundTrips) {
  PlateauConfig config;
  config.patience = 0;
  config.min_lr = 0.03;
  PlateauState state;
  UpdatePlateau(config, 0.1, 0.5, 1.0, &state);
  EXPECT_FALSE(UpdatePlateau(config, 0.1, 0.4, 1.0, &state));
  EXPECT_FALSE(state.stopped);  // 0.05
  UpdatePlateau(config, 0.1, 0.4, 1.0, &state);
  EXPECT_TRUE(state.stopped);  // 0.025
  const PlateauState back = PlateauState::FromJson(ParseJson(state.ToJson().dump(), "x"), "x");
  EXPECT_EQ(back.lr_scale, state.lr_scale);
  EXPECT_EQ(back.best_score, 0.5);
  EXPECT_TRUE(back.stopped);
  EXPECT_EQ(
      ErrorOf([] { PlateauState::FromJson(ParseJson("{}", "s.json"), "s.json"); }).substr(0, 9),
      "3: s.json");
}

// Two epochs and a bit in one go, and with a checkpoint in between, dropout included.
TEST(SentenceTraining, ResumesBitForBit) {
  const auto train = [](int64_t stop_at, const std::string& folder) {
    TinyTagger tiny(2);
    ProbTransConfig config = SmallConfig("uv");
    config.dropout = 0.2;
    SentenceModelShape shape = tiny.model->shape();
    tiny.model = std::make_shared<SentenceModel>(std::make_shared<MeanFieldEncoder>(config), shape);
    tiny.model->InitializeWeights(3);
    tiny.options.batch_size = 4;
    OptimConfig optim;
    optim.kind = "adam";
    AdamW optimizer(NamedParameters(*tiny.model), optim);
    SentenceStepTask task(tiny.model, tiny.data, tiny.options, 1, true, at::kCPU);
    TrainConfig loop;
    loop.steps = 7;
    loop.schedule.kind = "constant";
    loop.log_every = 1;
    TrainState state;
    torch::manual_seed(1);
    TrainingParts parts;
    parts.optimizer = &optimizer;
    parts.data = &task.order();
    if (FileExists(folder)) state = LoadTrainingCheckpoint(folder, parts);
    TrainHooks hooks;
    hooks.log = [](const TrainState&, const TrainProgress&) {};
    hooks.validate = [](TrainState&) {};
    hooks.save = [&](const TrainState& now) { SaveTrainingCheckpoint(folder, parts, now); };
    loop.steps = stop_at;
    Trainer(loop, task, optimizer, at::kCPU).Run(state, hooks);
    EXPECT_EQ(state.step, stop_at);
    std::vector<Tensor> weights;
    for (const auto& [name, tensor] : optimizer.Weights()) weights.push_back(tensor.clone());
    return weights;
  };
  TempDir dir;
  const std::vector<Tensor> straight = train(7, dir.File("a"));
  train(3, dir.File("b"));
  const std::vector<Tensor> resumed = train(7, dir.File("b"));
  ASSERT_EQ(straight.size(), resumed.size());
  for (size_t i = 0; i < straight.size(); ++i) EXPECT_TRUE(straight[i].equal(resumed[i])) << i;
}

}  // namespace
}  // namespace ckv
