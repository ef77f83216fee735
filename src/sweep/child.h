// A child process of the sweep: this program with other arguments.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "sweep/point_state.h"

namespace ckv {

struct ChildCommand {
  std::string program;                             // "" = this one
  std::vector<std::string> launcher;               // words before it, e.g. of torchrun
  std::vector<std::string> arguments;              // without the program's name
  std::map<std::string, std::string> environment;  // beside that of the sweep
  std::vector<std::string> unset;                  // of the sweep's variables, not handed on
  std::string out;                                 // file for its stdout
  std::string log;                                 // file for its stderr, which is appended to
  double timeout_s = 0.0;  // 0 = none; then SIGTERM, and SIGKILL ten seconds later
};

struct ChildResult {
  StageStatus status = StageStatus::kFailed;
  int exit_code = 0;  // 128 + N for signal N
  double seconds = 0.0;
  std::string message;
};

// The program that runs.
std::string OwnProgram();

// The path of a program as a shell finds it. Throws ConfigError(origin, ...) if there is none.
std::string FindProgram(const std::string& name, const std::string& origin);

// What torchrun says at the end of its log of the rank that failed first: its exit code, 128 + N
// for signal N. nullopt: nothing.
std::optional<int> FirstFailedRank(const std::string& log);

class Child {
 public:
  // Starts it, in a process group of its own, so that a Ctrl-C reaches the sweep alone. It ends
  // when the sweep does, however that ends. Throws IoError.
  explicit Child(ChildCommand command);
  // Kills it if it still runs.
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // nullopt while it runs. Enforces the timeout.
  std::optional<ChildResult> Poll();

  // Asks it to save and end; its result is kInterrupted then. A second call kills it.
  void Interrupt();

  double Seconds() const;

 private:
  ChildResult Classify(int wait_status) const;

  ChildCommand command_;
  pid_t pid_ = -1;
  std::chrono::steady_clock::time_point start_;
  bool interrupted_ = false;
  bool timed_out_ = false;
  bool killed_ = false;
};

}  // namespace ckv
