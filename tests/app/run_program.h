// Runs the real program, as a user would, and keeps what it printed.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/json.h"

namespace ckv {

struct ProgramResult {
  int exit_code = -1;  // 128 + the signal that ended it
  bool timed_out = false;
  std::string out;
  std::string err;
};

// What a program is given and allowed.
struct ProgramLimits {
  std::string input;        // what it reads on stdin
  int timeout_s = 120;      // then it is killed
  int64_t file_bytes = -1;  // no file may grow larger, as on a full disk; -1: as large as it likes
  int signal_number = 0;    // is sent once, when the file `signal_at` is there
  std::string signal_at;
  std::function<bool()> signal_when;  // in place of signal_at
};

// Runs `command` (a path and its arguments).
ProgramResult RunProcess(const std::vector<std::string>& command, const ProgramLimits& limits = {});

// Runs what `ckv` runs in a child of this process, which has loaded LibTorch already: 0.3 s less
// than a start of the program. BinaryTest compares both.
ProgramResult RunCkv(const std::vector<std::string>& arguments, const ProgramLimits& limits = {});

// Runs it, expects success without anything on stderr that looks like an error, and parses its
// stdout, for which --json is added. Null if it failed.
Json RunCkvJson(std::vector<std::string> arguments);

// Runs it, expects that exit code, nothing on stdout and nothing on stderr but log lines and one
// "error: ..." at the end, of which the text behind "error: " is returned.
std::string CkvError(int exit_code, const std::vector<std::string>& arguments,
                     const ProgramLimits& limits = {});

// A command of the program as its help shows it.
struct HelpedCommand {
  std::vector<std::string> words;  // "data", "prepare"; none for the program itself
  std::string help;
  std::vector<std::string> subcommands;
  std::vector<std::string> options;  // "--out", "-h"
};

// All commands, found by walking --help; read once.
const std::vector<HelpedCommand>& AllCommands();

}  // namespace ckv
