// Small fixtures of the project's own under tests/testdata/kv, in the format of the recorded ones
// (config.json, model.safetensors, io.safetensors, meta.json), so that a clone without those proves
// numbers too. `make_fixtures` wrote them from the oracle; tests compare both with it again.
#pragma once

#include <string>
#include <vector>

#include "ckpt/tensor_file.h"
#include "model/decoder.h"
#include "tests/model/oracle.h"

namespace ckv {

struct FixtureCase {
  const char* name;
  const char* sharing;
  int64_t forward_passes;
  int64_t backward_passes;
  bool force_nodiag;
};

const std::vector<FixtureCase>& FixtureCases();

// tests/testdata/kv
std::string FixtureRoot();

DecoderConfig FixtureConfig(const FixtureCase& fixture);

// Weights of a decoder as the oracle takes them.
OracleWeights ToOracleWeights(const NamedTensors& weights);

// The rows of an integer tensor [B, T].
std::vector<std::vector<int64_t>> RowsOf(const at::Tensor& ids);

at::Tensor ToTensor(const OracleMatrix& matrix);  // [T, V] fp64

// Writes the folder of a fixture anew: random weights and inputs, and what the oracle makes of
// them.
void WriteFixture(const FixtureCase& fixture, const std::string& folder);

}  // namespace ckv
