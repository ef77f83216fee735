// The folder of one run, by which commands exchange all they know:
//
//   experiments/<study>/runs/<name>/
//     config.yaml     resolved configuration
//     run.json        how the run was started: command, code, host, device, libraries, sessions
//     log.txt         the log
//     metrics.jsonl   see record/metrics.h
//     checkpoints/    see record/checkpoint_dir.h
//     result.json     final numbers; its presence means: done
//     lock            held by the process that works on the run
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "record/checkpoint_dir.h"

namespace ckv {

// "experiments/<study>/runs/<name>". Throws ConfigError unless both are plain folder names.
std::string DefaultRunDir(const std::string& study, const std::string& name);

// What the program was built from: git's short hash, with "-dirty" for changed files; "unknown"
// outside a repository.
std::string CodeRevision();

// How a process came to work on a run; host, process id, time and revision are added.
struct RunSession {
  std::vector<std::string> command;             // argv
  std::string device;                           // "cpu (2 threads)", "NVIDIA H200"
  std::map<std::string, std::string> versions;  // library -> version
  uint64_t seed = 0;
  int64_t start_step = 0;  // 0: from the beginning
};

// A run that this process alone may change, until destruction.
class RunDir {
 public:
  // Creates the folder if need be and locks it. Throws IoError naming the process that holds it.
  explicit RunDir(const std::string& path);
  ~RunDir();
  RunDir(RunDir&& other) noexcept;
  RunDir& operator=(RunDir&& other) noexcept;

  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const;
  CheckpointDir checkpoints() const { return CheckpointDir(path_); }

  // The resolved configuration; nullopt: not written, so the run has not begun.
  std::optional<std::string> ReadConfig() const;
  void WriteConfig(const std::string& yaml);

  // Writes run.json, or appends to the sessions of the one that is there.
  void RecordSession(const RunSession& session);

  // Writes result.json; the last thing a run does.
  void WriteResult(const OrderedJson& result);
  bool HasResult() const;

 private:
  std::string path_;
  int lock_fd_ = -1;
};

}  // namespace ckv
