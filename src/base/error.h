// The exceptions that every folder throws and that `main` alone catches.
//
// Each type stands for one kind of cause and carries the exit code of the program. A message is one
// line that says where the fault is, what was found and what would be right.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include "base/str.h"

namespace ckv {

// Exit codes of `ckv`. README lists them; tests/app checks them.
enum ExitCode : int {
  kExitOk = 0,
  kExitInternal = 1,
  kExitConfig = 2,
  kExitFormat = 3,
  kExitIo = 4,
  kExitDiverged = 5,
  kExitDist = 6,
  kExitSignalBase = 128,  // plus the signal: 130 SIGINT, 138 SIGUSR1, 143 SIGTERM
};

class Error : public std::runtime_error {
 public:
  Error(int exit_code, const std::string& message)
      : std::runtime_error(message), exit_code_(exit_code) {}

  int exit_code() const { return exit_code_; }

 private:
  int exit_code_;
};

// The user's YAML, `--set` or flag is wrong. `origin` names it: "a.yaml:12:7", "--set a.b=3",
// "--out".
class ConfigError : public Error {
 public:
  ConfigError(std::string_view origin, std::string_view what);
};

// A data file or checkpoint is broken or of the wrong kind. `where` is a byte offset, a line or the
// name of a tensor; it may be empty.
class FormatError : public Error {
 public:
  FormatError(std::string_view path, std::string_view where, std::string_view what);
};

// A file cannot be opened, read or written. Appends the text of `error_number` unless that is 0.
class IoError : public Error {
 public:
  IoError(std::string_view path, std::string_view what, int error_number = 0);
};

// Loss or gradient is not finite.
class DivergedError : public Error {
 public:
  DivergedError(int64_t step, std::string_view what);
};

// Another process of a run over several fails to answer, or the way to it.
class DistError : public Error {
 public:
  explicit DistError(const std::string& what);
};

// A bug of ours, or a device that failed: no input can cause it.
class InternalError : public Error {
 public:
  explicit InternalError(const std::string& what);
};

// The work was saved and the process leaves because signal `signal_number` asked for it.
class Interrupted : public Error {
 public:
  Interrupted(int signal_number, const std::string& what);
};

}  // namespace ckv

// Throws InternalError unless `condition`; the further arguments (at least one), as for Str, make
// the message.
#define CKV_CHECK(condition, ...)                                                                  \
  do {                                                                                             \
    if (!(condition)) {                                                                            \
      throw ::ckv::InternalError(::ckv::Str(                                                       \
          __FILE__, ":", __LINE__, ": check failed: ", #condition, " ", ::ckv::Str(__VA_ARGS__))); \
    }                                                                                              \
  } while (false)
