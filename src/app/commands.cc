#include <CLI/CLI.hpp>

#include "app/command.h"

namespace ckv {

void AddCommands(CLI::App& program) {
  AddTrainCommand(program);
  AddBenchCommand(program);
}

}  // namespace ckv
