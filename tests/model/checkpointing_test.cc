// Activation checkpointing under every pattern and preset: no gradient may change.
#include <cstring>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "ckpt/weights.h"
#include "nn/loss.h"
#include "sharing/patterns.h"
#include "sharing/presets.h"
#include "tests/model/tiny_decoder.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

constexpr int kLayers = 8;

// All patterns and targets at half and a quarter of the KV layers, and all presets.
std::vector<std::string> AllSchemes() {
  std::vector<std::string> specs;
  for (const std::string& pattern : SharingPatternNames()) {
    for (const std::string& target : GroupTargetNames()) {
      for (const int64_t kv_layers : {4, 2}) {
        specs.push_back(
            MakePattern(ParseSharingPattern(pattern), ParseGroupTarget(target), kLayers, kv_layers)
                .ToString());
      }
    }
  }
  for (const Preset& preset : Presets()) {
    std::map<std::string, std::string> params;
    for (const PresetParam& param : preset.params) {
      const bool number = param.kind == PresetParam::Kind::kNumber;
      if (param.default_value == nullptr) params[param.key] = number ? "2" : "sf";
    }
    specs.push_back(MakePreset(preset.name, kLayers, params).spec.ToString());
  }
  return specs;
}

std::vector<at::Tensor> LossGradients(Decoder& decoder, const at::Tensor& tokens,
                                      int64_t checkpoint_layers) {
  decoder->zero_grad();
  DecoderRun run;
  run.order = DecoderRun::Order::kParallel;
  run.forward_passes = 2;
  run.backward_passes = 2;
  run.checkpoint_layers = checkpoint_layers;
  const at::Tensor hidden = decoder->Hidden({tokens, {}, {}}, run);
  LinearCrossEntropy(hidden.flatten(0, 1), decoder->head_weight(), tokens.flatten(), {}).backward();
  std::vector<at::Tensor> grads;
  for (const auto& [name, parameter] : NamedParameters(*decoder)) {
    grads.push_back(parameter.grad().defined() ? parameter.grad().clone()
                                               : at::zeros_like(parameter));
  }
  return grads;
}

class CheckpointingTest : public ::testing::TestWithParam<std::string> {};

// Segments of one layer keep the order in which a parameter's gradients are summed; longer ones may
// sum the gradients of several readers before they leave the segment.
TEST_P(CheckpointingTest, ChangesNoGradient) {
  Decoder decoder = TinyDecoder(GetParam());
  const at::Tensor tokens = RandomIds({2, 9}, 31, 1);
  const std::vector<at::Tensor> plain = LossGradients(decoder, tokens, 0);
  for (const int64_t layers : {1, 2, 3, 1000}) {
    const std::vector<at::Tensor> again = LossGradients(decoder, tokens, layers);
    for (size_t i = 0; i < plain.size(); ++i) {
      const double scale = std::max(plain[i].abs().max().item<double>(), 1e-30);
      EXPECT_LE(MaxAbsDiff(again[i], plain[i]) / scale, 1e-12) << layers << ", parameter " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(AllSchemes, CheckpointingTest, ::testing::ValuesIn(AllSchemes()));

}  // namespace
}  // namespace ckv
