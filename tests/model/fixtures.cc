#include "tests/model/fixtures.h"

#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "base/file.h"
#include "base/target.h"
#include "ckpt/weights.h"
#include "model/hf_config.h"
#include "tests/tensors.h"

namespace ckv {
namespace {

constexpr int64_t kFixtureVocab = 11;
constexpr int64_t kFixtureRows = 2;
constexpr int64_t kFixtureTokens = 9;

}  // namespace

const std::vector<FixtureCase>& FixtureCases() {
  static const std::vector<FixtureCase> cases = {
      {"plain", "0_1_2", 0, 1, false},
      {"sandwich_top", "0_2_2_3", 2, 2, false},
      {"two_groups_windows", "1s_1_2s_4_4", 1, 3, false},
      {"split_down", "0_1_1/0_1/0", 0, 1, false},
      {"split_up", "0_3/1_1_3", 3, 2, false},
      {"no_own_position", "0_0_2_2", 0, 1, true},
  };
  return cases;
}

std::string FixtureRoot() { return CKV_SOURCE_DIR "/tests/testdata/kv"; }

DecoderConfig FixtureConfig(const FixtureCase& fixture) {
  DecoderConfig config;
  config.vocab_size = kFixtureVocab;
  config.hidden_size = 8;
  config.intermediate_size = 12;
  config.num_attention_heads = 2;
  config.num_key_value_heads = 1;
  config.initializer_range = 0.4;
  config.sliding_window = 4;
  config.forward_passes = fixture.forward_passes;
  config.backward_passes = fixture.backward_passes;
  config.force_nodiag = fixture.force_nodiag;
  config.kv_sharing = ConfigValue::Scalar(fixture.sharing);
  config.Resolve();
  return config;
}

OracleWeights ToOracleWeights(const NamedTensors& weights) {
  OracleWeights result;
  for (const auto& [name, weight] : weights) {
    const at::Tensor wide = weight.detach().to(at::kDouble).contiguous();
    const double* begin = wide.data_ptr<double>();
    result[name] = OracleRow(begin, begin + wide.numel());
  }
  return result;
}

std::vector<std::vector<int64_t>> RowsOf(const at::Tensor& ids) {
  std::vector<std::vector<int64_t>> rows;
  const at::Tensor dense = ids.contiguous();
  for (int64_t row = 0; row < ids.size(0); ++row) {
    const int64_t* begin = dense.data_ptr<int64_t>() + row * ids.size(1);
    rows.emplace_back(begin, begin + ids.size(1));
  }
  return rows;
}

at::Tensor ToTensor(const OracleMatrix& matrix) {
  std::vector<at::Tensor> rows;
  for (const OracleRow& row : matrix) rows.push_back(at::tensor(row, at::kDouble));
  return at::stack(rows);
}

void WriteFixture(const FixtureCase& fixture, const std::string& folder) {
  const DecoderConfig config = FixtureConfig(fixture);
  Decoder decoder(config);
  decoder->InitializeWeights(7);
  {
    at::NoGradGuard no_grad;  // norms other than 1, or a mistake there would not show
    uint64_t seed = 100;
    for (auto& [name, weight] : NamedParameters(*decoder)) {
      if (weight.dim() == 1) weight.copy_(RandomTensor({weight.size(0)}, ++seed) * 0.2 + 1.0);
      // A short embedding would be blown up by the first norm, and rounding with it.
      if (name == "model.embed_tokens.weight") weight.mul_(2.5);
    }
  }
  const NamedTensors weights = NamedParameters(*decoder);
  const OracleWeights numbers = ToOracleWeights(weights);
  const at::Tensor tokens = RandomIds({kFixtureRows, kFixtureTokens}, kFixtureVocab, 1);
  at::Tensor labels = tokens.clone();
  labels.index_put_({1, 4}, kIgnoreTarget);
  const auto token_rows = RowsOf(tokens);
  const auto label_rows = RowsOf(labels);

  const Oracle oracle(config);
  std::vector<at::Tensor> logits;
  std::vector<at::Tensor> sequential;
  for (const auto& row : token_rows) {
    logits.push_back(ToTensor(oracle.Logits(numbers, row)));
    sequential.push_back(ToTensor(oracle.SequentialLogits(numbers, row)));
  }
  NamedTensors io = {
      {"input_ids", tokens},
      {"labels", labels},
      {"logits", at::stack(logits).to(at::kFloat)},
      {"sequential_logits", at::stack(sequential).to(at::kFloat)},
      {"loss", at::tensor({oracle.Loss(numbers, token_rows, label_rows)}).to(at::kFloat)},
  };
  for (const auto& [name, weight] : weights) {
    at::Tensor grad = at::empty({weight.numel()}, at::kDouble);
    for (int64_t i = 0; i < weight.numel(); ++i) {
      grad[i] = oracle.Gradient(numbers, name, static_cast<size_t>(i), token_rows, label_rows);
    }
    io.emplace_back("grad." + name, grad.view(weight.sizes()).to(at::kFloat));
  }

  RemoveAll(folder);
  MakeDirs(folder);
  WriteFileAtomically(JoinPath(folder, "config.json"),
                      ToHfConfig(config, "float32").dump(1) + "\n");
  WriteTensors(JoinPath(folder, "model.safetensors"), weights);
  WriteTensors(JoinPath(folder, "io.safetensors"), io);
  // fp32 against doubles that were rounded to fp32; differences see about 1e-9 of truncation.
  const OrderedJson meta = {
      {"tolerances",
       {{"logits_atol", 1e-5}, {"loss_atol", 2e-6}, {"grad_atol", 2e-6}, {"grad_rtol", 1e-5}}}};
  WriteFileAtomically(JoinPath(folder, "meta.json"), meta.dump(1) + "\n");
}

}  // namespace ckv
