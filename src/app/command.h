// The commands of `ckv`. Each Add… function adds one, with options and action, to a CLI11 parser;
// the action runs when the parser has read all arguments.
//
// CLI11's header is included by the .cc files alone: it is slow to compile.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace ckv {

void AddBenchCommand(CLI::App& program);
void AddChatCommand(CLI::App& program);
void AddCompareCommand(CLI::App& program);
void AddCompletionCommand(CLI::App& program);
void AddConicCommand(CLI::App& program);
void AddConvertCommand(CLI::App& program);
void AddDataCommand(CLI::App& program);
void AddEvalCommand(CLI::App& program);
void AddGenerateCommand(CLI::App& program);
void AddInspectCommand(CLI::App& program);
void AddParseCommand(CLI::App& program);
void AddPlotCommand(CLI::App& program);
void AddPredictCommand(CLI::App& program);
void AddReportCommand(CLI::App& program);
void AddSlurmCommand(CLI::App& program);
void AddStreamCommand(CLI::App& program);
void AddSweepCommand(CLI::App& program);
void AddTrainCommand(CLI::App& program);

// A command below `ckv eval`.
void AddEvalSentencesCommand(CLI::App& eval);

// The program's parser with all commands.
void AddCommands(CLI::App& program);

// Reads the arguments (argv[0] left out) and runs what they ask for. Help and version go to stdout.
// Throws ConfigError for wrong usage, and what the command throws.
void RunProgram(const std::vector<std::string>& arguments);

// What `main` does: runs the program, turns a failure into one line on stderr, and returns the exit
// code.
int RunMain(int argc, char** argv);

}  // namespace ckv
