#include "convert/calibration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "tests/model/tiny_decoder.h"
#include "tests/temp_dir.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kVocabulary = 31;

// A plain model in fp64, and what its layers' projections see on some text.
class CalibrationTest : public ::testing::TestWithParam<bool> {
 protected:
  CalibrationTest() {
    config_ = TinyConfig("0_1_2_3");
    config_.attention_bias = GetParam();
    source_ = TinyDecoder(config_, 5);
    source_->eval();
    at::NoGradGuard no_grad;
    if (GetParam()) {
      for (int layer = 0; layer < 4; ++layer) {
        for (const KvKind kind : {KvKind::kKeys, KvKind::kValues}) {
          Tensor bias = source_->named_parameters()[KvTensorName(layer, kind, "bias")];
          bias.copy_(RandomTensor({8}, 40 + static_cast<uint64_t>(layer)));
        }
      }
    }
  }

  KvProjection Own(int layer, KvKind kind) const {
    const auto parameters = source_->named_parameters();
    KvProjection own{parameters[KvTensorName(layer, kind, "weight")].detach(), {}};
    if (GetParam()) own.bias = parameters[KvTensorName(layer, kind, "bias")].detach();
    return own;
  }

  // The normalised input of a layer, from the source's own definition. [B T, C]
  Tensor Seen(int layer, const Tensor& tokens) {
    at::NoGradGuard no_grad;
    std::vector<Tensor> outputs;
    DecoderRun run;
    run.layer_outputs = &outputs;
    source_->Hidden({tokens, {}, {}}, run);
    const auto parameters = source_->named_parameters();
    const Tensor x = layer == 0 ? parameters["model.embed_tokens.weight"].index({tokens})
                                : outputs[static_cast<size_t>(layer - 1)];
    const Tensor scale = (x.square().mean(-1, true) + config_.rms_norm_eps).rsqrt();
    const Tensor weight = parameters[Str("model.layers.", layer, ".input_layernorm.weight")];
    return (x * scale * weight).flatten(0, 1);
  }

  static Tensor Apply(const KvProjection& projection, const Tensor& x) {
    const Tensor y = x.mm(projection.weight.t());
    return projection.bias.defined() ? y + projection.bias : y;
  }

  // What the solution makes small.
  double Loss(const KvProjection& projection, int owner, const std::vector<int>& readers,
              KvKind kind, const Tensor& tokens) {
    const Tensor given = Apply(projection, Seen(owner, tokens));
    double sum = 0.0;
    for (const int reader : readers) {
      const Tensor wanted = Apply(Own(reader, kind), Seen(reader, tokens));
      sum += (given - wanted).square().sum().item<double>();
    }
    return sum;
  }

  DecoderConfig config_;
  Decoder source_{nullptr};
};

TEST_P(CalibrationTest, NoPerturbationReproducesTheReadersBetter) {
  const KvSharingSpec target = KvSharingSpec::Parse("0_2_2_2");
  const Tensor tokens = RandomIds({4, 16}, kVocabulary, 1);
  Calibration calibration(source_, target);
  calibration.Add(tokens);
  for (const KvKind kind : {KvKind::kKeys, KvKind::kValues}) {
    const KvProjection mean = AverageProjection({Own(1, kind), Own(2, kind), Own(3, kind)});
    const KvProjection solved = calibration.Solve(2, kind, mean, /*ridge=*/0.0);
    const double best = Loss(solved, 2, {1, 2, 3}, kind, tokens);
    EXPECT_LT(best, Loss(mean, 2, {1, 2, 3}, kind, tokens));
    EXPECT_LT(best, Loss(Own(2, kind), 2, {1, 2, 3}, kind, tokens));
    for (uint64_t trial = 0; trial < 20; ++trial) {
      KvProjection other = solved;
      other.weight = solved.weight + 1e-3 * RandomTensor(solved.weight.sizes().vec(), 60 + trial);
      if (GetParam()) other.bias = solved.bias + 1e-3 * RandomTensor({8}, 90 + trial);
      EXPECT_GT(Loss(other, 2, {1, 2, 3}, kind, tokens), best);
    }
  }
}

TEST_P(CalibrationTest, OfALayerThatReadsItselfAloneIsItsOwn) {
  Calibration calibration(source_, KvSharingSpec::Parse("0_2_2_3"));
  calibration.Add(RandomIds({4, 16}, kVocabulary, 1));
  const KvProjection own = Own(3, KvKind::kKeys);
  const KvProjection solved = calibration.Solve(3, KvKind::kKeys, own, 0.0);
  EXPECT_LT(MaxAbsDiff(solved.weight, own.weight), 1e-9);
}

TEST_P(CalibrationTest, DoesNotDependOnHowTheTextWasCut) {
  const KvSharingSpec target = KvSharingSpec::Parse("0_0_2/0_2");
  const Tensor tokens = RandomIds({6, 16}, kVocabulary, 1);
  Calibration whole(source_, target);
  whole.Add(tokens);
  Calibration parts(source_, target);
  parts.Add(tokens.narrow(0, 0, 1));
  parts.Add(tokens.narrow(0, 1, 5));
  EXPECT_EQ(parts.num_tokens(), whole.num_tokens());
  const KvProjection mean = Own(0, KvKind::kValues);
  EXPECT_LT(MaxAbsDiff(whole.Solve(0, KvKind::kValues, mean, 1e-4).weight,
                       parts.Solve(0, KvKind::kValues, mean, 1e-4).weight),
            1e-12);
}

TEST_P(CalibrationTest, ALargeRidgeGivesTheMean) {
  Calibration calibration(source_, KvSharingSpec::Parse("0_1_2_2"));
  calibration.Add(RandomIds({1, 8}, kVocabulary, 1));
  const KvProjection mean = AverageProjection({Own(2, KvKind::kKeys), Own(3, KvKind::kKeys)});
  const KvProjection solved = calibration.Solve(2, KvKind::kKeys, mean, 1e9);
  EXPECT_LT(MaxAbsDiff(solved.weight, mean.weight), 1e-6);
  if (GetParam()) {
    EXPECT_LT(MaxAbsDiff(solved.bias, mean.bias), 1e-6);
  }
}

TEST_P(CalibrationTest, RefusesTooLittleTextForNoRidge) {
  Calibration calibration(source_, KvSharingSpec::Parse("0_1_2_2"));
  calibration.Add(RandomIds({1, 8}, kVocabulary, 1));
  const KvProjection mean = Own(2, KvKind::kKeys);
  EXPECT_THAT(ErrorOf([&] { calibration.Solve(2, KvKind::kKeys, mean, 0.0); }),
              HasSubstr("2: --ridge: 0 with 8 tokens of text leaves the keys and values of layer 2 "
                        "undetermined"));
}

INSTANTIATE_TEST_SUITE_P(Bias, CalibrationTest, ::testing::Bool(),
                         [](const auto& row) { return row.param ? "WithBias" : "WithoutBias"; });

}  // namespace
}  // namespace ckv
