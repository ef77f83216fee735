// The options of sampling that `ckv generate` and `ckv chat` share.
#pragma once

#include <vector>

#include "gen/sampler.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace ckv {

// Adds --temperature, --top-k, --top-p, --min-p and --repetition-penalty to a command and returns
// them. `sampling` must outlive the parser.
std::vector<CLI::Option*> AddSamplingOptions(CLI::App& command, SamplingOptions& sampling);

}  // namespace ckv
