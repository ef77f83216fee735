// Adapters: what is trained, with which gradients, and that merging them changes nothing.
#include "model/lora.h"

#include <algorithm>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "ckpt/weights.h"
#include "nn/loss.h"
#include "tests/model/tiny_decoder.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

LoraConfig AllTargets() {
  LoraConfig lora;
  lora.rank = 2;
  lora.alpha = 3.0;
  lora.targets = LoraTargets();
  return lora;
}

// An adapted model whose adapters do something.
Decoder AdaptedDecoder(const std::string& sharing, const LoraConfig& lora) {
  Decoder decoder = TinyDecoder(sharing);
  decoder->AddLora(lora, /*seed=*/5);
  at::NoGradGuard no_grad;
  uint64_t seed = 100;
  for (auto& [name, parameter] : decoder->TrainedParameters()) {
    if (name.find("lora_B") != std::string::npos) {
      Tensor weight = parameter;
      weight.copy_(0.2 * RandomTensor(parameter.sizes().vec(), ++seed));
    }
  }
  return decoder;
}

// The plain model with W + alpha / r B A for W.
Decoder MergedDecoder(const std::string& sharing, Decoder& adapted, const LoraConfig& lora) {
  Decoder merged = TinyDecoder(sharing, /*seed=*/77);
  at::NoGradGuard no_grad;
  const auto from = adapted->named_parameters();
  for (auto& item : merged->named_parameters()) {
    Tensor weight = item.value();
    weight.copy_(from[item.key()]);
    const std::string module = item.key().substr(0, item.key().rfind('.'));
    const Tensor* a = from.find(module + ".lora_A.weight");
    if (a == nullptr) continue;
    weight.add_(from[module + ".lora_B.weight"].mm(*a), lora.alpha / 2.0);
  }
  return merged;
}

Tensor LossOf(Decoder& decoder, const Tensor& tokens, int64_t checkpoint_layers = 0) {
  DecoderRun run;
  run.order = DecoderRun::Order::kParallel;
  run.forward_passes = 0;  // so that differences of the loss are those that backward sees
  run.backward_passes = 3;
  run.checkpoint_layers = checkpoint_layers;
  const Tensor hidden = decoder->Hidden({tokens, {}, {}}, run);
  return LinearCrossEntropy(hidden.flatten(0, 1), decoder->head_weight(), tokens.flatten(), {});
}

class LoraTest : public ::testing::TestWithParam<std::string> {};

TEST_P(LoraTest, GradientsAreTheDifferencesOfTheLoss) {
  Decoder decoder = AdaptedDecoder(GetParam(), AllTargets());
  const Tensor tokens = RandomIds({2, 6}, 31, 1);
  LossOf(decoder, tokens).backward();
  at::NoGradGuard no_grad;
  constexpr double kStep = 1e-5;
  for (auto& [name, parameter] : decoder->TrainedParameters()) {
    ASSERT_TRUE(parameter.grad().defined()) << name;
    for (const int64_t i : {int64_t{0}, parameter.numel() / 2, parameter.numel() - 1}) {
      Tensor entry = parameter.view({-1}).narrow(0, i, 1);
      entry.add_(kStep);
      const double above = LossOf(decoder, tokens).item<double>();
      entry.sub_(2 * kStep);
      const double below = LossOf(decoder, tokens).item<double>();
      entry.add_(kStep);
      // fp64 central differences: 1e-10 of the third derivative, 1e-10 of rounding.
      EXPECT_NEAR(parameter.grad().view({-1})[i].item<double>(), (above - below) / (2 * kStep),
                  1e-6)
          << name << " " << i;
    }
  }
}

TEST_P(LoraTest, MergedIsUnmergedInEveryOrder) {
  const LoraConfig lora = AllTargets();
  Decoder adapted = AdaptedDecoder(GetParam(), lora);
  Decoder merged = MergedDecoder(GetParam(), adapted, lora);
  at::NoGradGuard no_grad;
  const Tensor tokens = RandomIds({2, 9}, 31, 2);
  for (const auto order : {DecoderRun::Order::kParallel, DecoderRun::Order::kSequential}) {
    for (const auto fusing : {DecoderRun::Fusing::kNever, DecoderRun::Fusing::kAlways}) {
      DecoderRun run;
      run.order = order;
      run.fusing = fusing;
      const Tensor a = adapted->Logits(adapted->Hidden({tokens, {}, {}}, run));
      const Tensor b = merged->Logits(merged->Hidden({tokens, {}, {}}, run));
      EXPECT_LT(MaxAbsDiff(a, b), 1e-11);
      const Tensor base = TinyDecoder(GetParam())->Hidden({tokens, {}, {}}, run);
      EXPECT_GT(MaxAbsDiff(base, adapted->Hidden({tokens, {}, {}}, run)), 1e-2);
    }
  }
}

TEST_P(LoraTest, CheckpointingWithDropoutChangesNoGradient) {
  LoraConfig lora = AllTargets();
  lora.dropout = 0.3;
  Decoder decoder = AdaptedDecoder(GetParam(), lora);
  decoder->train();
  const Tensor tokens = RandomIds({2, 6}, 31, 3);
  std::vector<Tensor> plain;
  for (const int64_t layers : {0, 1, 2, 100}) {
    decoder->zero_grad();
    torch::manual_seed(4);
    LossOf(decoder, tokens, layers).backward();
    size_t i = 0;
    for (const auto& [name, parameter] : decoder->TrainedParameters()) {
      if (layers == 0) {
        plain.push_back(parameter.grad().clone());
      } else {
        EXPECT_LE(MaxAbsDiff(plain[i++], parameter.grad()), 1e-12) << layers << " " << name;
      }
    }
  }
  torch::manual_seed(5);
  decoder->zero_grad();
  LossOf(decoder, tokens).backward();
  EXPECT_GT(MaxAbsDiff(plain[0], decoder->TrainedParameters()[0].second.grad()), 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Specs, LoraTest,
                         ::testing::Values("0_1_2", "0_0_2_2", "0_2_2_3", "0_3s_3_3s_4"));

TEST(Lora, FreshAdaptersChangeNothingAndAloneAreTrained) {
  LoraConfig lora;
  lora.rank = 4;
  lora.targets = {"v_proj", "down_proj"};
  Decoder plain = TinyDecoder("0_0_2_2");
  Decoder decoder = TinyDecoder("0_0_2_2");
  decoder->AddLora(lora, 9);
  const Tensor tokens = RandomIds({2, 6}, 31, 1);
  EXPECT_EQ(MaxAbsDiff(plain->Hidden({tokens, {}, {}}), decoder->Hidden({tokens, {}, {}})), 0.0);
  std::vector<std::string> names;
  for (const auto& item : decoder->named_parameters()) {
    if (item.value().requires_grad()) names.push_back(item.key());
  }
  // Two layers own values; all four have a feed-forward block. An A and a B each.
  EXPECT_EQ(names.size(), 2u * (2 + 4));
  const auto trained = decoder->TrainedParameters();
  ASSERT_EQ(trained.size(), names.size());
  for (size_t i = 0; i < trained.size(); ++i) EXPECT_EQ(trained[i].first, kPeftPrefix + names[i]);
  EXPECT_EQ(names[0], "model.layers.0.self_attn.v_proj.lora_A.weight");
  EXPECT_EQ(trained[0].second.sizes(), (std::vector<int64_t>{4, 16}));
  EXPECT_EQ(trained[1].second.sizes(), (std::vector<int64_t>{8, 4}));
  LossOf(decoder, tokens).backward();
  EXPECT_FALSE(decoder->head_weight().grad().defined());

  Decoder again = TinyDecoder("0_0_2_2");
  again->AddLora(lora, 9);
  Decoder other = TinyDecoder("0_0_2_2");
  other->AddLora(lora, 10);
  EXPECT_EQ(MaxAbsDiff(trained[0].second, again->TrainedParameters()[0].second), 0.0);
  EXPECT_GT(MaxAbsDiff(trained[0].second, other->TrainedParameters()[0].second), 0.0);
  EXPECT_LE(trained[0].second.abs().max().item<double>(), 0.25);  // 1 / sqrt(16)
}

}  // namespace
}  // namespace ckv
