#include <CLI/CLI.hpp>

#include "app/command.h"

namespace ckv {

void AddCommands(CLI::App& program) {
  AddDataCommand(program);
  AddTrainCommand(program);
  AddEvalCommand(program);
  AddGenerateCommand(program);
  AddChatCommand(program);
  AddStreamCommand(program);
  AddInspectCommand(program);
  AddConvertCommand(program);
  AddConicCommand(program);
  AddPlotCommand(program);
  AddBenchCommand(program);
  AddCompletionCommand(program);
}

}  // namespace ckv
