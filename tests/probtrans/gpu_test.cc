// On a GPU: kernels of our own against LibTorch's operations in double precision, and recorded
// passes against passes as they stand.
#include "tests/gpu.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "ckpt/weights.h"
#include "tests/probtrans/random_encoder.h"
#include "train/sentence_task.h"

namespace ckv {
namespace {

struct EncoderGradients {
  Tensor words, unary;
  std::vector<Tensor> weights;
};

EncoderGradients EncodeOn(const at::Device& device, at::ScalarType type, ProbTransConfig config,
                          const std::string& pairs, const Tensor& sentences, const Tensor& mask) {
  config.pairs = pairs;
  const auto encoder = RandomEncoder(config, 1, 0.4);
  encoder->to(device, type);
  const Tensor unary = sentences.to(device, type).detach().set_requires_grad(true);
  const EncodedSentences encoded = encoder->Encode(unary, mask.to(device));
  (encoded.words * encoded.words).sum().backward();
  EncoderGradients result{
      encoded.words.detach().to(at::kCPU, at::kDouble), unary.grad().to(at::kCPU, at::kDouble), {}};
  for (const Tensor& weights : encoder->parameters()) {
    result.weights.push_back(weights.grad().to(at::kCPU, at::kDouble));
  }
  return result;
}

double RelativeError(const Tensor& got, const Tensor& want) {
  return MaxAbsDiff(got, want) / std::max(1.0, want.abs().max().item<double>());
}

TEST(PairKernelsGpu, AreAsExactAsDenseProducts) {
  CKV_NEEDS_GPU();
  for (const char* factor : {"full", "uv", "uvw"}) {
    for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{}, {2, 3, 4}, {2, 5}}) {
      for (const int64_t n : {1, 2, 3, 7, 33, 70}) {
        SCOPED_TRACE(Str(factor, " ", cuts.size(), " cuts, ", n, " words"));
        ProbTransConfig config = SmallConfig(factor, cuts);
        if (config.rank > 0) config.rank = 11;
        config.iterations = 2;
        const Tensor sentences = RandomTensor({3, n, config.labels}, 7);
        Tensor mask = AllWords(3, n);
        mask[1].narrow(0, (n + 1) / 2, n / 2).fill_(false);
        mask[2].fill_(false);
        const EncoderGradients want =
            EncodeOn(at::kCPU, at::kDouble, config, "dense", sentences, mask);
        for (const char* pairs : {"dense", "band", "fused"}) {
          SCOPED_TRACE(pairs);
          const EncoderGradients got =
              EncodeOn(at::kCUDA, at::kFloat, config, pairs, sentences, mask);
          EXPECT_LT(RelativeError(got.words, want.words), 1e-4);
          EXPECT_LT(RelativeError(got.unary, want.unary), 1e-3);
          for (size_t w = 0; w < got.weights.size(); ++w) {
            EXPECT_LT(RelativeError(got.weights[w], want.weights[w]), 1e-3) << w;
          }
        }
      }
    }
  }
}

TEST(PairKernelsGpu, MixturesAndBothDirectionsInOneBin) {
  CKV_NEEDS_GPU();
  for (const char* distances : {"none", "mixture"}) {
    ProbTransConfig config = SmallConfig("uv", {});
    config.distances = distances;
    if (distances == std::string("mixture")) {
      config.distance_limit = 3;
      config.distance_tensors = 2;
    }
    const Tensor sentences = RandomTensor({2, 9, config.labels}, 7);
    const Tensor mask = AllWords(2, 9);
    const EncoderGradients want = EncodeOn(at::kCPU, at::kDouble, config, "dense", sentences, mask);
    const EncoderGradients got = EncodeOn(at::kCUDA, at::kFloat, config, "fused", sentences, mask);
    EXPECT_LT(RelativeError(got.words, want.words), 1e-4) << distances;
    EXPECT_LT(RelativeError(got.unary, want.unary), 1e-3) << distances;
  }
}

std::vector<EncodedSentence> ManyLengths(int sentences) {
  Random random(2);
  std::vector<EncodedSentence> data;
  for (int s = 0; s < sentences; ++s) {
    EncodedSentence sentence;
    sentence.labels.resize(1);
    const size_t words = 1 + random.Below(20);
    for (size_t i = 0; i < words; ++i) {
      sentence.ids.push_back(static_cast<int64_t>(random.Below(20)));
      sentence.labels[0].push_back(sentence.ids.back() % 4);
    }
    data.push_back(std::move(sentence));
  }
  return data;
}

std::shared_ptr<SentenceModel> GpuModel(SentenceTask kind, double dropout,
                                        const at::Device& device) {
  ProbTransConfig config = SmallConfig("uv");
  config.dropout = dropout;
  SentenceModelShape shape;
  shape.vocabulary = 21;
  shape.classes = {kind == SentenceTask::kMasked ? 20 : 4};
  auto model = std::make_shared<SentenceModel>(std::make_shared<MeanFieldEncoder>(config), shape);
  model->InitializeWeights(3);
  model->to(device);
  model->train();
  return model;
}

SentenceTaskOptions GpuOptions(SentenceTask kind, bool recorded) {
  SentenceTaskOptions options;
  options.task = kind;
  options.batch_size = 32;
  options.micro_batch_size = 8;
  options.recorded = recorded;
  return options;
}

OptimConfig GpuOptim() {
  OptimConfig optim;
  optim.kind = "adam";
  optim.weight_decay = 0.0;
  return optim;
}

// The losses of some steps, then the weights.
std::vector<Tensor> Trained(bool recorded, SentenceTask kind, const at::Device& device) {
  const auto model = GpuModel(kind, 0.0, device);
  SentenceTaskOptions options = GpuOptions(kind, recorded);
  options.score_norm = 0.01;
  AdamW optimizer(NamedParameters(*model), GpuOptim());
  const std::vector<EncodedSentence> data = ManyLengths(90);
  SentenceStepTask task(model, data, options, 1, true, device);
  std::vector<Tensor> values;
  for (int64_t step = 0; step < 30; ++step) {
    const StepLoss loss = task.RunStep(step, optimizer);
    optimizer.Step(0.003, loss.sum);
    values.push_back(loss.sum.to(at::kCPU, at::kDouble));
  }
  for (const Tensor& weight : model->parameters()) {
    values.push_back(weight.detach().to(at::kCPU, at::kDouble));
  }
  return values;
}

void ExpectLikePassesAsTheyStand(const at::Device& device) {
  for (const SentenceTask kind : {SentenceTask::kWords, SentenceTask::kMasked}) {
    const std::vector<Tensor> want = Trained(false, kind, device);
    const std::vector<Tensor> got = Trained(true, kind, device);
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_LT(RelativeError(got[i], want[i]), 2e-3) << i;
  }
}

TEST(RecordedPassesGpu, TrainLikePassesAsTheyStand) {
  CKV_NEEDS_GPU();
  ExpectLikePassesAsTheyStand(at::kCUDA);
}

// Where nothing can be recorded the rest must do as well: few shapes, sums that stay in place, and
// fp32 in another order.
TEST(RecordedPasses, OfFewShapesTrainLikeOthersOnACpu) { ExpectLikePassesAsTheyStand(at::kCPU); }

// One batch again and again, with weights that do not move: what differs is dropout.
TEST(RecordedPassesGpu, DropoutIsDrawnAnewFromTheSeed) {
  CKV_NEEDS_GPU();
  const auto losses = [] {
    torch::manual_seed(5);
    const auto model = GpuModel(SentenceTask::kWords, 0.5, at::kCUDA);
    AdamW optimizer(NamedParameters(*model), GpuOptim());
    const std::vector<EncodedSentence> data = ManyLengths(32);
    SentenceStepTask task(model, data, GpuOptions(SentenceTask::kWords, true), 1, false, at::kCUDA);
    std::vector<double> sums;
    for (int64_t step = 0; step < 8; ++step) {
      const StepLoss loss = task.RunStep(step, optimizer);
      optimizer.Step(1e-12, loss.sum);
      sums.push_back(loss.sum.item<double>());
    }
    return sums;
  };
  const std::vector<double> first = losses(), second = losses();
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_NEAR(first[i], second[i], 1e-4 * first[i]) << i;
    for (size_t j = 0; j < i; ++j) EXPECT_GT(std::abs(first[i] - first[j]), 1e-4) << i << " " << j;
  }
}

}  // namespace
}  // namespace ckv
