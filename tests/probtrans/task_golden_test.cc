// Whole task models and the training recipe against recorded numbers.
#include <cstdio>

#include <gtest/gtest.h>

#include "base/target.h"
#include "ckpt/weights.h"
#include "data/sentence_batches.h"
#include "tests/probtrans/reference_case.h"
#include "tests/tensors.h"
#include "train/sentence_task.h"

namespace ckv {
namespace {

// "task_pos" and "train_pos" alike.
SentenceTask TaskOfKind(const std::string& kind) {
  if (kind.find("mlm") != std::string::npos) return SentenceTask::kMasked;
  return kind.find("cls") != std::string::npos ? SentenceTask::kSentences : SentenceTask::kWords;
}

// The model of a case; heads are those of its weights.
std::shared_ptr<SentenceModel> ModelOf(const ReferenceCase& golden, at::ScalarType type) {
  SentenceModelShape shape;
  shape.whole_sentences = TaskOfKind(golden.kind()) == SentenceTask::kSentences;
  shape.vocabulary = golden.weights().header().Find("embedding.weight")->shape[0];
  for (int head = 1;; ++head) {
    const std::string name = head == 1 ? "head.bias" : Str("head", head, ".bias");
    if (!golden.weights().Has(name)) break;
    shape.classes.push_back(golden.weights().header().Find(name)->shape[0]);
  }
  auto model = std::make_shared<SentenceModel>(golden.MakeEncoder(), shape);
  golden.LoadInto(*model);
  model->to(type);
  model->eval();
  return model;
}

// A case's sentences as data, masked words restored so that the batch builder can mask them.
std::vector<EncodedSentence> DataOf(const ReferenceCase& golden) {
  const Tensor ids = golden.Read("ids"), labels = golden.Read("labels");
  const Tensor lengths = golden.Read("mask").sum(1);
  std::vector<EncodedSentence> data;
  for (int64_t b = 0; b < ids.size(0); ++b) {
    const int64_t n = lengths[b].item<int64_t>();
    EncodedSentence sentence;
    for (int64_t i = 0; i < n; ++i) sentence.ids.push_back(ids[b][i].item<int64_t>());
    if (labels.dim() == 1) {
      sentence.labels = {{labels[b].item<int64_t>()}};
    } else {
      const int64_t heads = labels.dim() == 3 ? labels.size(2) : 1;
      for (int64_t head = 0; head < heads; ++head) {
        sentence.labels.emplace_back();
        for (int64_t i = 0; i < n; ++i) {
          const Tensor label = labels.dim() == 3 ? labels[b][i][head] : labels[b][i];
          sentence.labels.back().push_back(label.item<int64_t>());
        }
      }
    }
    data.push_back(std::move(sentence));
  }
  return data;
}

// The case as one batch: masked words come from the labels, not from a draw.
SentenceBatch BatchOf(const ReferenceCase& golden, const std::vector<EncodedSentence>& data) {
  SentenceBatchOptions options;
  options.task = TaskOfKind(golden.kind());
  std::vector<int64_t> members;
  for (size_t i = 0; i < data.size(); ++i) members.push_back(static_cast<int64_t>(i));
  if (options.task != SentenceTask::kMasked) {
    return MakeSentenceBatches(data, members, options, 1).at(0);
  }
  options.task = SentenceTask::kWords;
  SentenceBatch batch = MakeSentenceBatches(data, members, options, 1).at(0);
  SentenceBatch masked = batch;
  masked.positions.clear();
  masked.targets.assign(1, {});
  for (size_t i = 0; i < batch.positions.size(); ++i) {
    if (batch.targets[0][i] == kIgnoreTarget) continue;
    masked.positions.push_back(batch.positions[i]);
    masked.targets[0].push_back(batch.targets[0][i]);
  }
  masked.weights.assign(masked.positions.size(),
                        1.0 / static_cast<double>(masked.positions.size()));
  return masked;
}

class TaskGoldenTest : public ::testing::TestWithParam<std::string> {
 protected:
  void Run(at::ScalarType type);
};

void TaskGoldenTest::Run(at::ScalarType type) {
  const ReferenceCase golden(GetParam());
  if (golden.kind() == "encoder" || golden.kind() == "baseline" ||
      golden.kind().rfind("train_", 0) == 0) {
    GTEST_SKIP() << "no case of a task model";
  }
  const auto model = ModelOf(golden, type);
  const std::vector<EncodedSentence> data = DataOf(golden);
  const SentenceTensors batch = ToTensors(BatchOf(golden, data), at::kCPU);
  const Tensor features = model->Encode(batch.ids, batch.mask);
  const std::vector<Tensor> all_logits = model->Logits(features);
  const std::vector<Tensor> logits = model->Logits(EncodePositions(*model, batch));
  Tensor loss;
  for (size_t head = 0; head < logits.size(); ++head) {
    const Tensor one = WeightedCrossEntropy(logits[head], batch.targets[head], batch.weights);
    loss = loss.defined() ? loss + one : one;
  }
  const Tensor task_loss = loss;
  const Json& lambda = golden.meta().at("score_norm_lambda");
  if (lambda.is_number()) loss = loss + model->encoder().ScoreNorm() * lambda.get<double>();
  loss.backward();

  double worst = 0.0;
  const bool whole = model->shape().whole_sentences;
  const Tensor words = batch.mask.unsqueeze(2);
  const auto parameters = model->named_parameters();
  for (const std::string& name : golden.WantedNames()) {
    Tensor got, defined;
    if (name.rfind("logits", 0) == 0) {
      const size_t head = name == "logits" ? 0 : std::stoul(name.substr(6)) - 1;
      got = all_logits.at(head);
      if (!whole) defined = words;
    } else if (name == "task_loss") {
      got = task_loss.unsqueeze(0);
    } else if (name == "loss") {
      got = loss.unsqueeze(0);
    } else if (name == "score_norm") {
      got = model->encoder().ScoreNorm().unsqueeze(0);
    } else if (name.rfind("grad.", 0) == 0) {
      got = parameters[name.substr(5)].grad();
    } else {
      ADD_FAILURE() << "no idea what " << name << " is";
      continue;
    }
    worst = std::max(worst, golden.Compare(name, got.detach(), defined, type));
  }
  std::printf("  %-22s %-7s worst %.1e of the tolerance\n", golden.name().c_str(),
              type == at::kDouble ? "fp64" : "fp32", worst);
}

TEST_P(TaskGoldenTest, DoublePrecision) { Run(at::kDouble); }
TEST_P(TaskGoldenTest, SinglePrecision) { Run(at::kFloat); }

INSTANTIATE_TEST_SUITE_P(Goldens, TaskGoldenTest, ::testing::ValuesIn(ReferenceCases()),
                         [](const auto& one) { return one.param; });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(TaskGoldenTest);

class TrainGoldenTest : public ::testing::TestWithParam<std::string> {};

// Sums of micro-batch means, clipping, and Adam with the decay in the gradient, step by step.
TEST_P(TrainGoldenTest, RecipeOverSteps) {
  const ReferenceCase golden(GetParam());
  if (golden.kind().rfind("train_", 0) != 0) GTEST_SKIP() << "no training run";
  if (TaskOfKind(golden.kind()) == SentenceTask::kMasked) {
    GTEST_SKIP() << "masks of the run are fixed, ours are drawn";
  }
  const Json& hyper = golden.meta().at("hyper");
  const auto model = ModelOf(golden, at::kDouble);
  const std::vector<EncodedSentence> data = DataOf(golden);
  OptimConfig optim;
  optim.kind = "adam";
  optim.lr = hyper.at("lr");
  optim.beta2 = 0.999;
  optim.eps = hyper.at("eps");
  optim.weight_decay = hyper.at("weight_decay");
  optim.clip_norm = hyper.at("clip");
  AdamW optimizer(NamedParameters(*model), optim);
  SentenceTaskOptions options;
  options.task = TaskOfKind(golden.kind());
  options.batch_size = static_cast<int64_t>(data.size());
  options.micro_batch_size = hyper.at("micro");
  SentenceStepTask task(model, data, options, 0, /*shuffle=*/false, at::kCPU);

  const Tensor want_losses = golden.Want("losses"), want_norms = golden.Want("grad_norms");
  const auto steps = hyper.at("steps").get<int64_t>();
  for (int64_t step = 0; step < steps; ++step) {
    const StepLoss loss = task.RunStep(step, optimizer);
    EXPECT_EQ(loss.count, want_losses.size(1));
    EXPECT_NEAR(loss.sum.item<double>(), want_losses[step].sum().item<double>(), 1e-9);
    const AdamW::StepResult result = optimizer.Step(optim.lr, loss.sum);
    EXPECT_NEAR(result.grad_norm.item<double>(), want_norms[step].item<double>(), 1e-9);
  }
  double worst = 0.0;
  for (const auto& [name, weights] : optimizer.Weights()) {
    worst = std::max(worst, golden.Compare("final." + name, weights, Tensor(), at::kDouble));
  }
  std::printf("  %-22s worst %.1e of the tolerance\n", golden.name().c_str(), worst);
}

INSTANTIATE_TEST_SUITE_P(Goldens, TrainGoldenTest, ::testing::ValuesIn(ReferenceCases()),
                         [](const auto& one) { return one.param; });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(TrainGoldenTest);

}  // namespace
}  // namespace ckv
