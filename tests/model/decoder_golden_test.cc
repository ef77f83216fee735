// The decoder against recorded outputs of the published implementation, every folder under
// `CKV_GOLDENS`/kv that has a model and its inputs and outputs, and against the project's own
// fixtures under tests/testdata/kv. Prints the worst error of each.
#include <cstdio>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "base/json.h"
#include "ckpt/tensor_file.h"
#include "ckpt/weights.h"
#include "model/decoder.h"
#include "model/hf_config.h"
#include "nn/loss.h"
#include "tests/goldens.h"
#include "tests/gpu.h"
#include "tests/model/fixtures.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

// A folder of recorded outputs and where the decoder runs.
struct GoldenPlace {
  std::string folder;
  at::DeviceType device = at::kCPU;
};

class GoldenCase {
 public:
  explicit GoldenCase(const GoldenPlace& place)
      : name_(BaseName(place.folder)),
        folder_(place.folder),
        device_(place.device),
        io_(JoinPath(folder_, "io.safetensors")),
        meta_(ReadJsonFile(JoinPath(folder_, "meta.json"))) {
    const std::string path = JoinPath(folder_, "config.json");
    decoder_ = Decoder(FromHfConfig(ReadJsonFile(path), path));
    LoadWeights(TensorFiles::OpenModel(folder_), *decoder_);
    decoder_->to(device_);
  }

  Decoder& decoder() { return decoder_; }
  bool Has(const std::string& tensor) const { return io_.Has(tensor); }
  at::Tensor Read(const std::string& tensor) const { return io_.Read(tensor); }
  const SafetensorsHeader& header() const { return io_.header(); }
  double Tolerance(const char* key) const { return meta_.at("tolerances").at(key).get<double>(); }

  // Whether the folder records a training forward at all (streaming folders do not).
  bool HasForward() const { return Has("input_ids") && Has("logits"); }

  DecoderInput Input(const std::string& tokens = "input_ids") const {
    DecoderInput input;
    input.tokens = Read(tokens).to(device_);
    if (Has("attention_mask")) input.key_mask = Read("attention_mask").to(device_, at::kBool);
    return input;
  }

  // Only real tokens count: what a padding query gives means nothing.
  double Error(const at::Tensor& got, const std::string& tensor) const {
    at::Tensor difference = (got.cpu() - Read(tensor)).abs();
    if (Has("attention_mask") && difference.dim() == 3) {
      difference = difference * Read("attention_mask").unsqueeze(2);
    }
    return difference.max().item<double>();
  }

  void Report(const char* what, double error, double tolerance) const {
    std::printf("  %-22s %-4s %-18s error %.1e  tolerance %.0e\n", name_.c_str(),
                c10::DeviceTypeName(device_, true).c_str(), what, error, tolerance);
    EXPECT_LE(error, tolerance) << name_ << ": " << what;
  }

 private:
  std::string name_;
  std::string folder_;
  at::DeviceType device_;
  TensorFile io_;
  Json meta_;
  Decoder decoder_{nullptr};
};

class DecoderGoldenTest : public ::testing::TestWithParam<GoldenPlace> {};

// The mean loss of logits[:, :-1] against labels[:, 1:].
at::Tensor MeanLoss(Decoder& decoder, const at::Tensor& hidden, const at::Tensor& labels) {
  const int64_t length = labels.size(1) - 1;
  const at::Tensor targets = labels.narrow(1, 1, length).reshape({-1}).to(hidden.device());
  const at::Tensor sum = LinearCrossEntropy(hidden.narrow(1, 0, length).flatten(0, 1),
                                            decoder->head_weight(), targets, {});
  return sum / targets.ne(kIgnoreTarget).sum();
}

// Largest excess of |got - want| over rtol |want|, for comparing against atol.
double GoldenGradientError(GoldenCase& golden, const std::string& prefix) {
  double worst = 0.0;
  int compared = 0;
  const double relative = golden.Tolerance("grad_rtol");
  for (const auto& [name, parameter] : NamedParameters(*golden.decoder())) {
    const std::string tensor = prefix + name;
    EXPECT_TRUE(golden.Has(tensor)) << tensor;
    if (!golden.Has(tensor)) continue;
    const at::Tensor want = golden.Read(tensor);
    const at::Tensor got =
        parameter.grad().defined() ? parameter.grad().cpu() : at::zeros_like(want);
    worst = std::max(worst, ((got - want).abs() - want.abs() * relative).max().item<double>());
    ++compared;
  }
  EXPECT_GT(compared, 0);
  return worst;
}

TEST_P(DecoderGoldenTest, TrainingForwardAndGradients) {
  GoldenCase golden(GetParam());
  if (!golden.HasForward()) GTEST_SKIP() << "the folder records no training forward";
  Decoder& decoder = golden.decoder();
  decoder->train();
  DecoderRun run;
  run.order = DecoderRun::Order::kParallel;
  std::vector<at::Tensor> layer_outputs;
  if (golden.Has("layer_out.0")) run.layer_outputs = &layer_outputs;
  const at::Tensor hidden = decoder->Hidden(golden.Input(), run);
  golden.Report("logits", golden.Error(decoder->Logits(hidden), "logits"),
                golden.Tolerance("logits_atol"));
  for (size_t layer = 0; layer < layer_outputs.size(); ++layer) {
    const std::string tensor = Str("layer_out.", layer);
    golden.Report(tensor.c_str(), golden.Error(layer_outputs[layer], tensor),
                  golden.Tolerance("logits_atol"));
  }
  const at::Tensor loss = MeanLoss(decoder, hidden, golden.Read("labels"));
  golden.Report("loss", MaxAbsDiff(loss.cpu(), golden.Read("loss")), golden.Tolerance("loss_atol"));
  loss.backward();
  golden.Report("gradients", GoldenGradientError(golden, "grad."), golden.Tolerance("grad_atol"));
}

TEST_P(DecoderGoldenTest, PrefillIntoACache) {
  GoldenCase golden(GetParam());
  if (!golden.Has("prefill_logits")) GTEST_SKIP() << "the folder records no prefill";
  at::NoGradGuard no_grad;
  Decoder& decoder = golden.decoder();
  decoder->eval();
  const DecoderInput input = golden.Input();
  KvCache cache = decoder->NewCache(input.tokens.size(0), input.tokens.size(1));
  DecoderRun run;
  run.cache = &cache;
  const at::Tensor logits = decoder->Logits(decoder->Hidden(input, run));
  golden.Report("prefill logits", golden.Error(logits, "prefill_logits"),
                golden.Tolerance("logits_atol"));
  double worst = 0.0;
  for (const int layer : decoder->config().sharing().kv_layers()) {
    for (const bool keys : {true, false}) {
      const at::Tensor want = golden.Read(Str(keys ? "prefill_k." : "prefill_v.", layer));
      for (int64_t row = 0; row < want.size(0); ++row) {
        at::Tensor of_row = want[row];  // [G, T, D]
        at::Tensor got = (keys ? cache.HeldKeys(layer, row) : cache.HeldValues(layer, row)).cpu();
        if (input.key_mask.defined()) {
          const at::Tensor real = input.key_mask[row].cpu().nonzero().squeeze(1);
          of_row = of_row.index_select(1, real);
          // The recorded positions count padding in front, the cache's do not.
          const Rope rope(decoder->config().rope, got.size(2));
          if (keys) got = ApplyRope(got, rope.Turn(real.narrow(0, 0, 1), at::kFloat));
        }
        // A store of windowed readers keeps the last tokens.
        const int64_t held = got.size(1);
        worst = std::max(worst, MaxAbsDiff(got, of_row.narrow(1, of_row.size(1) - held, held)));
      }
    }
  }
  golden.Report("prefill cache", worst, golden.Tolerance("logits_atol"));
}

// The second call of a prompt cut in two: long enough for the plan, or short enough to go token by
// token.
TEST_P(DecoderGoldenTest, PromptInTwoCalls) {
  GoldenCase golden(GetParam());
  if (!golden.Has("chunk_long_logits")) GTEST_SKIP() << "the folder records no chunked prefill";
  at::NoGradGuard no_grad;
  Decoder& decoder = golden.decoder();
  decoder->eval();
  const at::Tensor tokens = golden.Input().tokens;
  const int64_t length = tokens.size(1);
  for (const std::string tensor : {"chunk_long_logits", "chunk_short_logits"}) {
    const int64_t cut = length - golden.Read(tensor).size(1);
    KvCache cache = decoder->NewCache(tokens.size(0), length);
    DecoderRun run;
    run.cache = &cache;
    decoder->Hidden({tokens.narrow(1, 0, cut), {}, {}}, run);
    const at::Tensor hidden = decoder->Hidden({tokens.narrow(1, cut, length - cut), {}, {}}, run);
    golden.Report(tensor.c_str(), MaxAbsDiff(decoder->Logits(hidden).cpu(), golden.Read(tensor)),
                  golden.Tolerance("logits_atol"));
  }
}

TEST_P(DecoderGoldenTest, TokenByToken) {
  GoldenCase golden(GetParam());
  if (!golden.Has("sequential_logits")) GTEST_SKIP() << "the folder records no sequential run";
  at::NoGradGuard no_grad;
  golden.decoder()->eval();
  DecoderRun run;
  run.order = DecoderRun::Order::kSequential;
  const at::Tensor hidden = golden.decoder()->Hidden(golden.Input(), run);
  golden.Report("sequential logits",
                golden.Error(golden.decoder()->Logits(hidden), "sequential_logits"),
                golden.Tolerance("logits_atol"));
}

TEST_P(DecoderGoldenTest, TrainingTokenByToken) {
  GoldenCase golden(GetParam());
  if (!golden.Has("seqtrain_logits")) GTEST_SKIP() << "the folder records no sequential training";
  Decoder& decoder = golden.decoder();
  decoder->train();
  DecoderRun run;
  run.order = DecoderRun::Order::kSequential;
  const at::Tensor hidden = decoder->Hidden(golden.Input(), run);
  golden.Report("seqtrain logits", golden.Error(decoder->Logits(hidden), "seqtrain_logits"),
                golden.Tolerance("logits_atol"));
  const at::Tensor loss = MeanLoss(decoder, hidden, golden.Read("labels"));
  golden.Report("seqtrain loss", MaxAbsDiff(loss.cpu(), golden.Read("seqtrain_loss")),
                golden.Tolerance("loss_atol"));
  loss.backward();
  golden.Report("seqtrain gradients", GoldenGradientError(golden, "seqtrain_grad."),
                golden.Tolerance("grad_atol"));
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(DecoderGoldenTest);
// Folders that hold a model under `root`; none for a device that is not here.
std::vector<GoldenPlace> GoldenPlaces(const std::string& root, at::DeviceType device = at::kCPU) {
  std::vector<GoldenPlace> places;
  if (device == at::kCUDA && !torch::cuda::is_available()) return places;
  for (const std::string& name : FoldersWith(root, "model.safetensors")) {
    places.push_back({JoinPath(root, name), device});
  }
  return places;
}

std::string GoldenName(const ::testing::TestParamInfo<GoldenPlace>& row) {
  return BaseName(row.param.folder);
}

const std::string& RecordedRoot() {
  static const std::string root = JoinPath(GoldensRoot(), "kv");
  return root;
}

INSTANTIATE_TEST_SUITE_P(Kv, DecoderGoldenTest, ::testing::ValuesIn(GoldenPlaces(RecordedRoot())),
                         GoldenName);
INSTANTIATE_TEST_SUITE_P(Own, DecoderGoldenTest, ::testing::ValuesIn(GoldenPlaces(FixtureRoot())),
                         GoldenName);
// The same fixtures and tolerances on a GPU, in fp32.
INSTANTIATE_TEST_SUITE_P(KvOnGpu, DecoderGoldenTest,
                         ::testing::ValuesIn(GoldenPlaces(RecordedRoot(), at::kCUDA)), GoldenName);
INSTANTIATE_TEST_SUITE_P(OwnOnGpu, DecoderGoldenTest,
                         ::testing::ValuesIn(GoldenPlaces(FixtureRoot(), at::kCUDA)), GoldenName);

TEST(DecoderGoldens, RunOnAGpuToo) { CKV_NEEDS_GPU(); }

TEST(DecoderGoldens, ArePresent) {
  if (GoldenFolders("model.safetensors").empty()) {
    GTEST_SKIP() << "no fixtures under " << GoldensRoot() << "/kv; set CKV_GOLDENS";
  }
}

}  // namespace
}  // namespace ckv
