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
  AddPredictCommand(program);
  AddParseCommand(program);
  AddInspectCommand(program);
  AddSlurmCommand(program);
  AddConvertCommand(program);
  AddConicCommand(program);
  AddPlotCommand(program);
  AddSweepCommand(program);
  AddReportCommand(program);
  AddCompareCommand(program);
  AddBenchCommand(program);
  AddCompletionCommand(program);
}

}  // namespace ckv
