#include "tests/app/run_program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <sstream>
#include <thread>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "base/error.h"
#include "base/file.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

// A child could not use OpenMP if this process had started threads of it.
const bool kSingleThreaded = [] {
  at::set_num_threads(1);
  return true;
}();

void RedirectTo(const std::string& path, int fd) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  if (file < 0 || ::dup2(file, fd) < 0) ::_exit(126);
}

// In the child, before the program runs.
void SetUpChild(const ProgramLimits& limits, const TempDir& files) {
  ::setpgid(0, 0);
  const int input = ::open(files.File("in").c_str(), O_RDONLY);
  if (input < 0 || ::dup2(input, 0) < 0) ::_exit(126);
  RedirectTo(files.File("out"), 1);
  RedirectTo(files.File("err"), 2);
  if (limits.file_bytes < 0) return;
  const auto bytes = static_cast<rlim_t>(limits.file_bytes);
  const rlimit limit = {bytes, bytes};
  if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) ::_exit(126);
}

// Runs `body` in a child, to which it must not return, and waits for its end.
template <typename Body>
ProgramResult RunChild(const ProgramLimits& limits, const std::string& what, Body body) {
  const TempDir files;
  WriteFileAtomically(files.File("in"), limits.input);
  std::fflush(nullptr);  // else the child would print it again
  const pid_t child = ::fork();
  CKV_CHECK(child >= 0, "cannot fork");
  if (child == 0) {
    SetUpChild(limits, files);
    body();
  }
  ProgramResult result;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(limits.timeout_s);
  int status = 0;
  int signal_number = limits.signal_number;
  while (::waitpid(child, &status, WNOHANG) == 0) {
    if (signal_number != 0 &&
        (limits.signal_when ? limits.signal_when() : FileExists(limits.signal_at))) {
      ::kill(child, signal_number);
      signal_number = 0;
    }
    if (!result.timed_out && std::chrono::steady_clock::now() > end) {
      result.timed_out = true;
      ::kill(-child, SIGKILL);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  result.out = ReadFile(files.File("out"));
  result.err = ReadFile(files.File("err"));
  EXPECT_FALSE(result.timed_out) << what << " took longer than " << limits.timeout_s << " s";
  return result;
}

std::vector<char*> ArgvOf(const std::vector<std::string>& words) {
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  return argv;
}

// "2025-01-31 12:00:00 I train] text".
bool IsLogLine(const std::string& line) {
  return line.size() > 22 && line[4] == '-' && line[13] == ':' &&
         line.find("] ") != std::string::npos;
}

std::vector<std::string> LinesOf(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// The names in the first column of a section of help: "  -h,--help   ..." gives "-h", "--help".
std::vector<std::string> NamesInSection(const std::string& help, const std::string& title) {
  std::vector<std::string> names;
  bool inside = false;
  for (const std::string& line : LinesOf(help)) {
    if (line == title) {
      inside = true;
    } else if (line.empty()) {
      inside = false;
    } else if (inside && line.size() > 2 && line[2] != ' ') {
      std::string column = line.substr(2, line.find(' ', 2) - 2);
      std::istringstream in(column);
      for (std::string name; std::getline(in, name, ',');) names.push_back(name);
    }
  }
  return names;
}

void WalkCommands(const std::vector<std::string>& words, std::vector<HelpedCommand>* commands) {
  std::vector<std::string> arguments = words;
  arguments.push_back("--help");
  const ProgramResult result = RunCkv(arguments);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  HelpedCommand command;
  command.words = words;
  command.help = result.out;
  command.subcommands = NamesInSection(result.out, "Subcommands:");
  command.options = NamesInSection(result.out, "Options:");
  commands->push_back(command);
  for (const std::string& name : command.subcommands) {
    std::vector<std::string> below = words;
    below.push_back(name);
    WalkCommands(below, commands);
  }
}

}  // namespace

ProgramResult RunProcess(const std::vector<std::string>& command, const ProgramLimits& limits) {
  return RunChild(limits, command[0], [&command] {
    const std::vector<char*> argv = ArgvOf(command);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
  });
}

ProgramResult RunCkv(const std::vector<std::string>& arguments, const ProgramLimits& limits) {
  CKV_CHECK(kSingleThreaded && at::get_num_threads() == 1, "a test has changed the threads");
  return RunChild(limits, "ckv " + ::testing::PrintToString(arguments), [&arguments] {
    std::vector<std::string> words = arguments;
    words.insert(words.begin(), "ckv");
    std::vector<char*> argv = ArgvOf(words);
    const int exit_code = RunMain(static_cast<int>(words.size()), argv.data());
    std::fflush(nullptr);
    ::_exit(exit_code);
  });
}

Json RunCkvJson(std::vector<std::string> arguments) {
  arguments.push_back("--json");
  const ProgramResult result = RunCkv(arguments);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err.find("error:"), std::string::npos) << result.err;
  if (result.exit_code != 0) return nullptr;
  return ParseJson(result.out, "stdout");
}

std::string CkvError(int exit_code, const std::vector<std::string>& arguments,
                     const ProgramLimits& limits) {
  const ProgramResult result = RunCkv(arguments, limits);
  EXPECT_EQ(result.exit_code, exit_code) << result.err;
  EXPECT_EQ(result.out, "");
  std::vector<std::string> lines = LinesOf(result.err);
  lines.erase(std::remove_if(lines.begin(), lines.end(), IsLogLine), lines.end());
  const std::string prefix = "error: ";
  if (lines.size() != 1 || lines[0].rfind(prefix, 0) != 0 || result.err.back() != '\n') {
    ADD_FAILURE() << "not one line of error:\n" << result.err;
    return "";
  }
  return lines[0].substr(prefix.size());
}

const std::vector<HelpedCommand>& AllCommands() {
  static const std::vector<HelpedCommand> commands = [] {
    std::vector<HelpedCommand> found;
    WalkCommands({}, &found);
    return found;
  }();
  return commands;
}

}  // namespace ckv
