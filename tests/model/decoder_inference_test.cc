// Prompts in packed products and in place against the same prompts layer by layer.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "model/decoder.h"
#include "tests/gpu.h"
#include "tests/model/sample_specs.h"
#include "tests/model/tiny_decoder.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

using FusedOrder = DecoderRun::Order;

struct FusedResult {
  std::vector<at::Tensor> hidden;
  std::vector<at::Tensor> held;  // of the cache: keys and values of all rows
};

// Two calls, the second one with a past, of rows that are equally long or not.
FusedResult RunFusedCase(Decoder& decoder, bool fused, FusedOrder order, bool last_only,
                         bool uneven, bool with_cache) {
  at::NoGradGuard no_grad;
  const at::Device device = decoder->head_weight().device();
  const int64_t vocab = decoder->config().vocab_size;
  KvCache cache = decoder->NewCache(3, 40);
  FusedResult result;
  for (uint64_t call = 0; call < 2; ++call) {
    const at::Tensor tokens = RandomIds({3, 11}, vocab, call + 1);
    const at::Tensor mask = at::arange(11) < at::tensor({11, 5, 8}).unsqueeze(1);
    DecoderRun run;
    run.order = order;
    run.forward_passes = 3;
    run.backward_passes = 1;
    run.chunk_tokens = 4;
    run.last_only = last_only;
    run.fusing = fused ? DecoderRun::Fusing::kAlways : DecoderRun::Fusing::kNever;
    if (with_cache) run.cache = &cache;
    DecoderInput input{tokens.to(device), {}, {}};
    if (uneven) input.key_mask = mask.to(device);
    at::Tensor hidden = decoder->Hidden(input, run);
    // Padding gets anything.
    if (uneven && !last_only)
      hidden = hidden.masked_fill(input.key_mask.logical_not().unsqueeze(2), 0);
    result.hidden.push_back(hidden.to(at::kDouble).cpu());
  }
  if (!with_cache) return result;
  const KvSharingSpec& spec = decoder->config().sharing();
  for (const int layer : spec.kv_layers()) {
    for (int64_t row = 0; row < 3; ++row) {
      if (spec.computes_k(layer)) result.held.push_back(cache.HeldKeys(layer, row));
      if (spec.computes_v(layer)) result.held.push_back(cache.HeldValues(layer, row));
    }
  }
  for (at::Tensor& held : result.held) held = held.to(at::kDouble).cpu();
  return result;
}

void ExpectFusedIsPlain(Decoder& decoder, const std::string& spec) {
  for (const FusedOrder order : {FusedOrder::kParallel, FusedOrder::kChunked}) {
    for (int flags = 0; flags < 8; ++flags) {
      const bool last_only = (flags & 1) != 0;
      const bool uneven = (flags & 2) != 0;
      const bool with_cache = (flags & 4) != 0;
      const FusedResult plain = RunFusedCase(decoder, false, order, last_only, uneven, with_cache);
      const FusedResult fused = RunFusedCase(decoder, true, order, last_only, uneven, with_cache);
      for (size_t i = 0; i < plain.hidden.size(); ++i) {
        EXPECT_LT(MaxAbsDiff(fused.hidden[i], plain.hidden[i]), 1e-11) << spec << " " << flags;
      }
      ASSERT_EQ(fused.held.size(), plain.held.size());
      for (size_t i = 0; i < plain.held.size(); ++i) {
        EXPECT_LT(MaxAbsDiff(fused.held[i], plain.held[i]), 1e-11) << spec << " " << flags;
      }
    }
  }
}

TEST(DecoderFused, GivesWhatPlainLayersGiveForEveryLayout) {
  bool packed = false;
  for (const std::string& spec : SampleSpecs()) {
    Decoder decoder = TinyDecoder(spec);
    if (packed) decoder->PackProjections();
    packed = !packed;
    ExpectFusedIsPlain(decoder, spec);
  }
}

TEST(DecoderFused, TakesBiasesAndOtherActivations) {
  DecoderConfig config = TinyConfig("0_3_3_3_4");
  config.attention_bias = true;
  config.mlp_bias = true;
  config.hidden_act = "gelu_tanh";
  Decoder decoder = TinyDecoder(config);
  {
    at::NoGradGuard no_grad;
    for (const auto& item : decoder->named_parameters()) {
      if (item.value().dim() == 1) item.value().copy_(RandomTensor({item.value().size(0)}, 3));
    }
  }
  ExpectFusedIsPlain(decoder, "biases");
  decoder->PackProjections();
  ExpectFusedIsPlain(decoder, "packed biases");
}

TEST(DecoderFused, PassesEndEarlyAsTheyDoOtherwise) {
  Decoder decoder = TinyDecoder("0_3_3_3_4");
  at::NoGradGuard no_grad;
  std::vector<std::vector<int64_t>> passes(2);
  std::vector<at::Tensor> hidden;
  for (const bool fused : {false, true}) {
    KvCache cache = decoder->NewCache(2, 20);
    DecoderRun run;
    run.order = FusedOrder::kParallel;
    run.forward_passes = 30;
    run.backward_passes = 1;
    run.tolerance = 1e-4;
    run.cache = &cache;
    run.passes_run = &passes[fused ? 1 : 0];
    run.fusing = fused ? DecoderRun::Fusing::kAlways : DecoderRun::Fusing::kNever;
    hidden.push_back(decoder->Hidden({RandomIds({2, 15}, 31, 1), {}, {}}, run));
  }
  EXPECT_EQ(passes[0], passes[1]);
  EXPECT_LT(passes[0][0], 31);
  EXPECT_LT(MaxAbsDiff(hidden[0], hidden[1]), 1e-12);
}

TEST(DecoderFused, PackingMovesParametersAndChangesNothing) {
  Decoder decoder = TinyDecoder("0_2_2_3");
  at::NoGradGuard no_grad;
  const at::Tensor tokens = RandomIds({2, 9}, 31, 1);
  const at::Tensor before = decoder->Hidden({tokens, {}, {}});
  decoder->PackProjections();
  const auto parameters = decoder->named_parameters();
  const at::Tensor gate = parameters["model.layers.1.mlp.gate_proj.weight"];
  const at::Tensor up = parameters["model.layers.1.mlp.up_proj.weight"];
  EXPECT_TRUE(gate.is_alias_of(up));
  EXPECT_TRUE(gate.is_contiguous());
  const void* place = up.data_ptr();
  decoder->PackProjections();
  EXPECT_EQ(up.data_ptr(), place);
  EXPECT_LT(MaxAbsDiff(decoder->Hidden({tokens, {}, {}}), before), 1e-13);
}

// At most twice the error of plain layers in the same type.
TEST(DecoderFusedGpu, IsAsExactAsPlainLayersInHalfPrecision) {
  CKV_NEEDS_GPU();
  for (const char* spec : {"0_1_2_3", "0_0_2_2", "0_3_3_3_4", "2_2_2_5_5_5", "0s_1s_2s_3",
                           "0_3s_3_3s_4", "0_3/0_3/0_3_4"}) {
    DecoderConfig config;
    config.vocab_size = 1000;
    config.hidden_size = 256;
    config.intermediate_size = 352;
    config.num_attention_heads = 8;
    config.num_key_value_heads = 2;
    config.initializer_range = 0.06;
    config.sliding_window = 6;
    config.kv_sharing = ConfigValue::Scalar(spec);
    config.Resolve();
    Decoder exact(config);
    exact->InitializeWeights(1);
    exact->to(at::kBFloat16);  // so that all dtypes have the same weights
    exact->to(at::kCUDA, at::kDouble);
    for (const auto dtype : {at::kBFloat16, at::kHalf}) {
      Decoder decoder(config);
      decoder->InitializeWeights(1);
      decoder->to(at::kBFloat16);
      decoder->to(at::kCUDA, dtype);
      for (const FusedOrder order : {FusedOrder::kParallel, FusedOrder::kChunked}) {
        for (int flags = 0; flags < 8; ++flags) {
          if (flags == 4) decoder->PackProjections();
          const bool last_only = (flags & 1) != 0;
          const bool uneven = (flags & 2) != 0;
          const auto run = [&](Decoder& of, bool fused) {
            return RunFusedCase(of, fused, order, last_only, uneven, true);
          };
          const FusedResult want = run(exact, false);
          const FusedResult plain = run(decoder, false);
          const FusedResult fused = run(decoder, true);
          double plain_error = 0.0;
          double fused_error = 0.0;
          const auto add = [&](const std::vector<at::Tensor>& wants,
                               const std::vector<at::Tensor>& plains,
                               const std::vector<at::Tensor>& fuseds) {
            for (size_t i = 0; i < wants.size(); ++i) {
              plain_error += (plains[i] - wants[i]).square().sum().item<double>();
              fused_error += (fuseds[i] - wants[i]).square().sum().item<double>();
            }
          };
          add(want.hidden, plain.hidden, fused.hidden);
          EXPECT_LE(fused_error, 4.0 * plain_error) << spec << " " << dtype << " " << flags;
          plain_error = fused_error = 0.0;
          add(want.held, plain.held, fused.held);
          EXPECT_LE(fused_error, 4.0 * plain_error) << spec << " " << dtype << " " << flags;
        }
      }
    }
  }
}

// Prompts long enough for the attention kernels of large calls.
TEST(DecoderFusedGpu, LongPromptsAreAsExactAsPlainLayers) {
  CKV_NEEDS_GPU();
  at::NoGradGuard no_grad;
  for (const char* spec : {"0_1_2_3", "0_3_3_3_4"}) {
    DecoderConfig config;
    config.vocab_size = 500;
    config.hidden_size = 128;
    config.intermediate_size = 352;
    config.num_attention_heads = 4;
    config.num_key_value_heads = 2;
    config.initializer_range = 0.08;
    config.attention_bias = true;
    config.kv_sharing = ConfigValue::Scalar(spec);
    config.Resolve();
    const at::Tensor tokens = RandomIds({64, 256}, 500, 1).to(at::kCUDA);
    std::vector<at::Tensor> hidden;
    for (const auto& [dtype, fused] : std::vector<std::pair<at::ScalarType, bool>>{
             {at::kFloat, false}, {at::kBFloat16, false}, {at::kBFloat16, true}}) {
      Decoder decoder(config);
      decoder->InitializeWeights(1);
      for (const auto& item : decoder->named_parameters()) {
        if (item.value().dim() == 1) item.value().copy_(RandomTensor({item.value().size(0)}, 3));
      }
      decoder->to(at::kBFloat16);
      decoder->to(at::kCUDA, dtype);
      KvCache cache = decoder->NewCache(64, 256);
      DecoderRun run;
      run.order = FusedOrder::kParallel;
      run.forward_passes = 2;
      run.cache = &cache;
      run.fusing = fused ? DecoderRun::Fusing::kAlways : DecoderRun::Fusing::kNever;
      hidden.push_back(decoder->Hidden({tokens, {}, {}}, run).to(at::kDouble));
    }
    const double plain = (hidden[1] - hidden[0]).norm().item<double>();
    EXPECT_LE((hidden[2] - hidden[0]).norm().item<double>(), 2.0 * plain) << spec;
    EXPECT_GT(plain, 0.0);
  }
}

}  // namespace
}  // namespace ckv
