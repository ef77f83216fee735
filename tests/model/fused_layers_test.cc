// Fused layers give what plain layers give, in every order of running, with every gradient.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "ckpt/weights.h"
#include "nn/loss.h"
#include "tests/gpu.h"
#include "tests/model/tiny_decoder.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

struct Outcome {
  at::Tensor hidden;
  std::vector<at::Tensor> grads;
};

Outcome LossAndGradients(Decoder& decoder, const DecoderInput& input, const DecoderRun& run) {
  decoder->zero_grad();
  Outcome outcome;
  const at::Tensor hidden = decoder->Hidden(input, run);
  LinearCrossEntropy(hidden.flatten(0, 1), decoder->head_weight(), input.tokens.flatten(), {})
      .backward();
  outcome.hidden = hidden.detach();
  for (const auto& [name, parameter] : NamedParameters(*decoder)) {
    outcome.grads.push_back(parameter.grad().defined() ? parameter.grad().clone()
                                                       : at::zeros_like(parameter));
  }
  return outcome;
}

void ExpectSame(const Outcome& got, const Outcome& want, const std::string& what) {
  EXPECT_LT(MaxAbsDiff(got.hidden, want.hidden), 1e-12) << what;
  for (size_t i = 0; i < want.grads.size(); ++i) {
    const double scale = std::max(want.grads[i].abs().max().item<double>(), 1e-30);
    EXPECT_LE(MaxAbsDiff(got.grads[i], want.grads[i]) / scale, 1e-12)
        << what << ", parameter " << i;
  }
}

class FusedLayersTest : public ::testing::TestWithParam<const char*> {};

TEST_P(FusedLayersTest, ChangeNeitherResultsNorGradients) {
  for (const char* start : {"zeros", "guess"}) {
    DecoderConfig config = TinyConfig(GetParam());
    config.kv_start = start;
    Decoder decoder = TinyDecoder(config);
    DecoderInput input;
    input.tokens = RandomIds({2, 9}, 31, 1);
    DecoderInput documents = input;
    documents.segments = at::arange(18).view({2, 9}).div(5, "floor");
    for (const bool packed : {false, true}) {
      if (packed) decoder->PackProjections();
      for (const int64_t forward : {0, 1, 3}) {
        for (const int64_t checkpoint : {0, 3}) {
          DecoderRun plain;
          plain.order = DecoderRun::Order::kParallel;
          plain.forward_passes = forward;
          plain.backward_passes = 2;
          plain.checkpoint_layers = checkpoint;
          plain.fusing = DecoderRun::Fusing::kNever;
          DecoderRun fused = plain;
          fused.fusing = DecoderRun::Fusing::kAlways;
          for (const DecoderInput* each : {&input, &documents}) {
            ExpectSame(
                LossAndGradients(decoder, *each, fused), LossAndGradients(decoder, *each, plain),
                Str(start, ", packed ", packed, ", m ", forward, ", checkpoints ", checkpoint));
          }
        }
      }
    }
  }
}

TEST_P(FusedLayersTest, ChangeNothingWithoutGradient) {
  at::NoGradGuard no_grad;
  DecoderConfig config = TinyConfig(GetParam());
  Decoder decoder = TinyDecoder(config);
  DecoderInput input;
  input.tokens = RandomIds({2, 9}, 31, 1);
  const auto hidden = [&](DecoderRun::Fusing fusing, bool last_only, bool cached,
                          std::vector<at::Tensor>* outputs) {
    DecoderRun run;
    run.order = DecoderRun::Order::kParallel;
    run.fusing = fusing;
    run.last_only = last_only;
    run.layer_outputs = outputs;
    if (!cached) return decoder->Hidden(input, run);
    KvCache cache = decoder->NewCache(2, 20);
    run.cache = &cache;
    decoder->Hidden(input, run);
    return decoder->Hidden(input, run);
  };
  for (const bool last_only : {false, true}) {
    for (const bool cached : {false, true}) {
      EXPECT_LT(MaxAbsDiff(hidden(DecoderRun::Fusing::kAlways, last_only, cached, nullptr),
                           hidden(DecoderRun::Fusing::kNever, last_only, cached, nullptr)),
                1e-12);
    }
  }
  std::vector<at::Tensor> fused;
  std::vector<at::Tensor> plain;
  hidden(DecoderRun::Fusing::kAlways, false, false, &fused);
  hidden(DecoderRun::Fusing::kNever, false, false, &plain);
  ASSERT_EQ(fused.size(), plain.size());
  for (size_t i = 0; i < plain.size(); ++i) EXPECT_LT(MaxAbsDiff(fused[i], plain[i]), 1e-12);
}

INSTANTIATE_TEST_SUITE_P(Specs, FusedLayersTest,
                         ::testing::Values("0_1_2", "0_0_2_2", "0_4_4_4_4_5", "0_2_2_2_2_5",
                                           "2_2_2_5_5_5", "3_1/3_1_3", "0_3s_3_3s_4", "1_2s_2"));

// --- On a GPU in bf16: no further from fp64 than plain layers are.

DecoderConfig WideConfig(const std::string& sharing) {
  DecoderConfig config = TinyConfig(sharing);
  config.hidden_size = 128;
  config.intermediate_size = 352;
  config.head_dim = 64;
  config.initializer_range = 0.08;
  return config;
}

double RelativeError(const at::Tensor& got, const at::Tensor& want) {
  return (at::linalg_vector_norm(got.to(at::kCPU, at::kDouble) - want) /
          at::linalg_vector_norm(want).clamp_min(1e-30))
      .item<double>();
}

class FusedLayersGpuTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override { CKV_NEEDS_GPU(); }
};

TEST_P(FusedLayersGpuTest, AreAsExactAsPlainLayers) {
  const DecoderConfig config = WideConfig(GetParam());
  Decoder exact = TinyDecoder(config);
  Decoder low(config);
  low->InitializeWeights(0);
  low->to(at::kCUDA, at::kBFloat16);
  low->PackProjections();
  {
    at::NoGradGuard no_grad;  // the same rounded weights in both
    const auto from = NamedParameters(*low);
    const auto to = NamedParameters(*exact);
    for (size_t i = 0; i < from.size(); ++i) {
      at::Tensor target = to[i].second;
      target.copy_(from[i].second);
    }
  }
  DecoderInput input;
  input.tokens = RandomIds({3, 33}, 31, 1);
  DecoderInput on_gpu;
  on_gpu.tokens = input.tokens.cuda();
  DecoderRun run;
  run.order = DecoderRun::Order::kParallel;
  run.forward_passes = 2;
  const Outcome want = LossAndGradients(exact, input, run);
  run.fusing = DecoderRun::Fusing::kNever;
  const Outcome plain = LossAndGradients(low, on_gpu, run);
  run.fusing = DecoderRun::Fusing::kAuto;
  const Outcome fused = LossAndGradients(low, on_gpu, run);
  EXPECT_LT(RelativeError(fused.hidden, want.hidden),
            1.3 * RelativeError(plain.hidden, want.hidden) + 1e-3);
  for (size_t i = 0; i < want.grads.size(); ++i) {
    EXPECT_LT(RelativeError(fused.grads[i], want.grads[i]),
              1.5 * RelativeError(plain.grads[i], want.grads[i]) + 5e-3)
        << "parameter " << i;
  }
}

TEST_P(FusedLayersGpuTest, Fp8PassesAreNearBf16Ones) {
  at::NoGradGuard no_grad;
  const auto hidden = [&](bool fp8) {
    DecoderConfig config = WideConfig(GetParam());
    config.fp8_passes = fp8;
    Decoder decoder(config);
    decoder->InitializeWeights(0);
    decoder->to(at::kCUDA, at::kBFloat16);
    DecoderRun run;
    run.order = DecoderRun::Order::kParallel;
    // Else the bf16 passes would be those of inference, which round at other places.
    std::vector<at::Tensor> outputs;
    run.layer_outputs = &outputs;
    return decoder->Hidden({RandomIds({3, 33}, 31, 1).cuda(), {}, {}}, run).cpu().to(at::kDouble);
  };
  const at::Tensor plain = hidden(false);
  const double error = RelativeError(hidden(true), plain);
  const bool iterative = TinyConfig(GetParam()).sharing().cyclic();
  // Random weights amplify what the first passes leave.
  EXPECT_LT(error, 0.3);
  EXPECT_EQ(error > 0.0, iterative);  // or it ran in bf16
}

INSTANTIATE_TEST_SUITE_P(Specs, FusedLayersGpuTest,
                         ::testing::Values("0_1_2", "0_4_4_4_4_5", "0_2_2_2_2_5", "2_2_2_5_5_5",
                                           "0_3s_3_3s_4"));

TEST(FusedLayers, StayAwayFromBiases) {
  DecoderConfig config = TinyConfig("0_2_2");
  config.attention_bias = true;
  config.mlp_bias = true;
  Decoder decoder = TinyDecoder(config);
  for (const auto& [name, parameter] : NamedParameters(*decoder)) {
    at::NoGradGuard no_grad;
    at::Tensor target = parameter;
    if (parameter.dim() == 1) target.copy_(RandomTensor(parameter.sizes().vec(), 7));
  }
  DecoderInput input;
  input.tokens = RandomIds({2, 9}, 31, 1);
  DecoderRun run;
  run.fusing = DecoderRun::Fusing::kNever;
  const at::Tensor plain = decoder->Hidden(input, run);
  run.fusing = DecoderRun::Fusing::kAlways;
  EXPECT_TRUE(at::equal(decoder->Hidden(input, run), plain));
}

}  // namespace
}  // namespace ckv
