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
void AddTrainCommand(CLI::App& program);

// The program's parser with all commands.
void AddCommands(CLI::App& program);

// Reads the arguments (argv[0] left out) and runs what they ask for. Help and version go to stdout.
// Throws ConfigError for wrong usage, and what the command throws.
void RunProgram(const std::vector<std::string>& arguments);

}  // namespace ckv
