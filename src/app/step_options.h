// The option that says how the tokens behind a prompt are computed.
#pragma once

#include "gen/generation.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace ckv {

// Adds --steps to a command. `steps` must outlive the parser.
CLI::Option* AddStepsOption(CLI::App& command, StepKind& steps);

}  // namespace ckv
