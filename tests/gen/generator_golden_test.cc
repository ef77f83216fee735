// Greedy generation against recorded outputs of the published implementation: every folder under
// `CKV_GOLDENS`/kv that records some. Prints the worst error of each.
#include <cstdio>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "base/json.h"
#include "ckpt/tensor_file.h"
#include "ckpt/weights.h"
#include "gen/generator.h"
#include "model/hf_config.h"
#include "tests/goldens.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

class GenerationGolden {
 public:
  explicit GenerationGolden(const std::string& name)
      : name_(name),
        folder_(JoinPath(JoinPath(GoldensRoot(), "kv"), name)),
        io_(JoinPath(folder_, "io.safetensors")) {
    const Json meta = ReadJsonFile(JoinPath(folder_, "meta.json"));
    tolerance_ = meta.at("tolerances").at("logits_atol").get<double>();
    const std::string path = JoinPath(folder_, "config.json");
    decoder_ = Decoder(FromHfConfig(ReadJsonFile(path), path));
    LoadWeights(TensorFiles::OpenModel(folder_), *decoder_);
  }

  bool Has(const std::string& tensor) const { return io_.Has(tensor); }
  Decoder& decoder() { return decoder_; }

  // The prompts `<prefix>prompt_ids`, without padding.
  std::vector<GenerateRequest> Requests(const std::string& prefix) const {
    const at::Tensor ids = io_.Read(prefix + "prompt_ids");
    const std::string mask_name = prefix + "attention_mask";
    const at::Tensor mask = io_.Has(mask_name) ? io_.Read(mask_name) : at::ones_like(ids);
    std::vector<GenerateRequest> requests(static_cast<size_t>(ids.size(0)));
    for (int64_t row = 0; row < ids.size(0); ++row) {
      for (int64_t i = 0; i < ids.size(1); ++i) {
        if (mask[row][i].item<int64_t>() == 0) continue;
        requests[static_cast<size_t>(row)].prompt.push_back(ids[row][i].item<int32_t>());
      }
    }
    return requests;
  }

  // Generates from `requests`, which continue rows [first_row, ...) of `<prefix>generated_ids`, and
  // compares ids and the logits that each was chosen from.
  void Check(const std::string& prefix, const std::vector<GenerateRequest>& requests,
             int64_t first_row) {
    for (const at::DeviceType device : {at::kCPU, at::kCUDA}) {
      if (device == at::kCUDA && !torch::cuda::is_available()) continue;
      decoder_->to(device);
      for (const StepKind kind : {StepKind::kEager, StepKind::kEngine}) {
        CheckSteps(prefix, requests, first_row, kind);
      }
    }
    decoder_->to(at::kCPU);
  }

 private:
  void CheckSteps(const std::string& prefix, const std::vector<GenerateRequest>& requests,
                  int64_t first_row, StepKind kind) {
    const at::Tensor want_logits = io_.Read(prefix + "generated_logits");
    const int64_t num_new = want_logits.size(1);
    const at::Tensor all_ids = io_.Read(prefix + "generated_ids");
    const at::Tensor want_ids = all_ids.narrow(1, all_ids.size(1) - num_new, num_new);
    GenerateOptions options;
    options.max_new_tokens = num_new;
    options.sampling.temperature = 0.0;
    options.steps = kind;
    GenerateHooks hooks;
    double worst = 0.0;
    int64_t step = 0;
    hooks.on_logits = [&](const at::Tensor& logits) {
      const at::Tensor want = want_logits.select(1, step).narrow(0, first_row, logits.size(0));
      worst = std::max(worst, MaxAbsDiff(logits.cpu(), want));
      ++step;
    };
    const std::vector<Generation> got = Generate(decoder_, requests, options, hooks);
    EXPECT_EQ(step, num_new);
    ASSERT_EQ(got.size(), requests.size());
    for (size_t row = 0; row < got.size(); ++row) {
      const at::Tensor want = want_ids.select(0, first_row + static_cast<int64_t>(row));
      const at::Tensor ids = at::tensor(got[row].tokens, at::kLong);
      EXPECT_TRUE(at::equal(ids, want)) << name_ << " " << prefix << " row " << row;
    }
    std::printf("  %-22s %-18s %-6s %-5s error %.1e  tolerance %.0e\n", name_.c_str(),
                (prefix + "generated").c_str(), kind == StepKind::kEager ? "eager" : "engine",
                decoder_->head_weight().is_cuda() ? "cuda" : "cpu", worst, tolerance_);
    EXPECT_LE(worst, tolerance_) << name_ << ": " << prefix << "generated_logits";
  }

  std::string name_;
  std::string folder_;
  TensorFile io_;
  double tolerance_ = 0.0;
  Decoder decoder_{nullptr};
};

class GenerationGoldenTest : public ::testing::TestWithParam<std::string> {};

TEST_P(GenerationGoldenTest, GreedyFromAPrompt) {
  GenerationGolden golden(GetParam());
  if (!golden.Has("generated_ids")) GTEST_SKIP() << "the folder records no generation";
  golden.Check("", golden.Requests(""), 0);
}

// A prompt of no more tokens than passes goes token by token.
TEST_P(GenerationGoldenTest, GreedyFromAShortPrompt) {
  GenerationGolden golden(GetParam());
  if (!golden.Has("short_generated_ids")) GTEST_SKIP() << "the folder records no short prompt";
  golden.Check("short_", golden.Requests("short_"), 0);
}

TEST_P(GenerationGoldenTest, GreedyFromPromptsOfDifferentLength) {
  GenerationGolden golden(GetParam());
  if (!golden.Has("leftpad_generated_ids")) GTEST_SKIP() << "the folder records no left padding";
  const std::vector<GenerateRequest> requests = golden.Requests("leftpad_");
  ASSERT_TRUE(LeftPadded(requests).key_mask.defined());
  golden.Check("leftpad_", requests, 0);
  // And each prompt alone gives what it gives in the batch.
  for (size_t row = 0; row < requests.size(); ++row) {
    golden.Check("leftpad_", {requests[row]}, static_cast<int64_t>(row));
  }
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(GenerationGoldenTest);
INSTANTIATE_TEST_SUITE_P(Kv, GenerationGoldenTest,
                         ::testing::ValuesIn(GoldenFolders("model.safetensors")),
                         [](const auto& row) { return row.param; });

TEST(GenerationGoldens, ArePresent) {
  if (GoldenFolders("model.safetensors").empty()) {
    GTEST_SKIP() << "no fixtures under " << GoldensRoot() << "/kv; set CKV_GOLDENS";
  }
}

}  // namespace
}  // namespace ckv
