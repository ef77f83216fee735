// The decoder against the oracle of loops over doubles, and the committed fixtures against both.
#include "tests/model/oracle.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "base/random.h"
#include "base/target.h"
#include "ckpt/weights.h"
#include "nn/loss.h"
#include "tests/model/fixtures.h"
#include "tests/model/tiny_decoder.h"
#include "tests/sharing/random_spec.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

TEST(Oracle, DecoderAgreesForRandomSpecs) {
  at::NoGradGuard no_grad;
  Random random(5);
  for (int i = 0; i < 40; ++i) {
    DecoderConfig config = TinyConfig("0");
    config.num_layers.reset();
    config.kv_sharing = ConfigValue::Scalar(RandomSpec(random, 7).ToString());
    config.forward_passes = static_cast<int64_t>(random.Below(4));
    config.backward_passes = 1 + static_cast<int64_t>(random.Below(3));
    config.force_nodiag = random.Below(5) == 0;
    config.Resolve();
    Decoder decoder = TinyDecoder(config, static_cast<uint64_t>(i));
    decoder->eval();
    const at::Tensor tokens = RandomIds({1, 10}, config.vocab_size, static_cast<uint64_t>(i));
    const OracleWeights weights = ToOracleWeights(NamedParameters(*decoder));
    const Oracle oracle(config);
    DecoderRun run;
    run.order = DecoderRun::Order::kParallel;
    const at::Tensor parallel = decoder->Logits(decoder->Hidden({tokens, {}, {}}, run))[0];
    EXPECT_LT(MaxAbsDiff(parallel, ToTensor(oracle.Logits(weights, RowsOf(tokens)[0]))), 1e-11)
        << config.sharing().ToString();
    run.order = DecoderRun::Order::kSequential;
    const at::Tensor sequential = decoder->Logits(decoder->Hidden({tokens, {}, {}}, run))[0];
    EXPECT_LT(MaxAbsDiff(sequential, ToTensor(oracle.SequentialLogits(weights, RowsOf(tokens)[0]))),
              1e-11)
        << config.sharing().ToString();
  }
}

class FixtureTest : public ::testing::TestWithParam<FixtureCase> {};

// Whoever changes the oracle or a case must write the fixtures anew (make_fixtures).
TEST_P(FixtureTest, IsWhatTheOracleGives) {
  const std::string folder = JoinPath(FixtureRoot(), GetParam().name);
  const TensorFile io(JoinPath(folder, "io.safetensors"));
  const TensorFile model(JoinPath(folder, "model.safetensors"));
  NamedTensors stored;
  for (const SafetensorsEntry& entry : model.header().entries()) {
    stored.emplace_back(entry.name, model.Read(entry.name));
  }
  const OracleWeights weights = ToOracleWeights(stored);
  const Oracle oracle(FixtureConfig(GetParam()));
  const auto tokens = RowsOf(io.Read("input_ids"));
  const auto labels = RowsOf(io.Read("labels"));
  for (size_t row = 0; row < tokens.size(); ++row) {
    const auto at_row = static_cast<int64_t>(row);
    EXPECT_LT(MaxAbsDiff(ToTensor(oracle.Logits(weights, tokens[row])), io.Read("logits")[at_row]),
              1e-6);
    EXPECT_LT(MaxAbsDiff(ToTensor(oracle.SequentialLogits(weights, tokens[row])),
                         io.Read("sequential_logits")[at_row]),
              1e-6);
  }
  EXPECT_NEAR(oracle.Loss(weights, tokens, labels), io.Read("loss").item<float>(), 1e-6);
  // A sample of the gradients: all of them take seconds.
  for (const auto& [name, weight] : stored) {
    const at::Tensor grad = io.Read("grad." + name).flatten();
    for (int64_t i = 3; i < grad.numel(); i += 29) {
      EXPECT_NEAR(oracle.Gradient(weights, name, static_cast<size_t>(i), tokens, labels),
                  grad[i].item<float>(), 1e-6)
          << name << " " << i;
    }
  }
}

// In fp64, where rounding hides nothing: every gradient of the decoder is the oracle's.
TEST_P(FixtureTest, HasTheGradientsOfTheDecoderInDoubles) {
  const std::string folder = JoinPath(FixtureRoot(), GetParam().name);
  const TensorFile io(JoinPath(folder, "io.safetensors"));
  Decoder decoder(FixtureConfig(GetParam()));
  decoder->to(at::kDouble);
  LoadWeights(TensorFiles::OpenModel(folder), *decoder);
  DecoderRun run;
  run.order = DecoderRun::Order::kParallel;
  const at::Tensor labels = io.Read("labels");
  const at::Tensor hidden = decoder->Hidden({io.Read("input_ids"), {}, {}}, run);
  const int64_t length = labels.size(1) - 1;
  const at::Tensor targets = labels.narrow(1, 1, length).reshape({-1});
  (LinearCrossEntropy(hidden.narrow(1, 0, length).flatten(0, 1), decoder->head_weight(), targets,
                      {}) /
   targets.ne(kIgnoreTarget).sum())
      .backward();
  for (const auto& [name, parameter] : NamedParameters(*decoder)) {
    const at::Tensor want = io.Read("grad." + name);
    const at::Tensor got = parameter.grad().defined() ? parameter.grad() : at::zeros_like(want);
    EXPECT_LT(MaxAbsDiff(got, want), 1e-8 + 2e-7 * want.abs().max().item<double>()) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Own, FixtureTest, ::testing::ValuesIn(FixtureCases()),
                         [](const auto& row) { return std::string(row.param.name); });

}  // namespace
}  // namespace ckv
