// What is known of a point, kept in its folder as point.json.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "sweep/points.h"

namespace ckv {

enum class StageStatus {
  kWaiting,
  kRunning,
  kDone,
  kDiverged,     // a loss or gradient was not finite
  kOutOfMemory,  // the device's or the host's
  kTimedOut,
  kKilled,       // by a signal that the sweep did not send
  kInterrupted,  // stopped together with the sweep
  kFailed,       // any other exit code
};

// "done", "out of memory", ...
const char* StageStatusName(StageStatus status);

// Whether the stage is run when the sweep is started again: what a signal or a failure ended is,
// what would end in the same way is not.
bool IsRetried(StageStatus status);

struct StageState {
  std::string name;
  std::string hash;  // of what it depends on; another one: it has not been run
  StageStatus status = StageStatus::kWaiting;
  int exit_code = 0;
  double seconds = 0.0;
  std::string message;  // the last line of its log, if it failed
};

struct PointState {
  std::string id;
  std::string label;
  std::vector<std::string> aliases;
  int64_t seed = 0;
  std::string hash;
  std::vector<std::pair<std::string, std::string>> choices;
  std::vector<std::string> sets;
  std::string kv_sharing;
  double parameters = 0.0;
  double tokens = 0.0;
  double train_flops = 0.0;
  double kv_resident_bytes = 0.0;
  double kv_written_bytes = 0.0;
  double kv_read_bytes = 0.0;
  std::vector<StageState> stages;

  // The label and, in parentheses, those of equal points.
  std::string FullLabel() const;

  // Adds one if there is none.
  StageState& Stage(const std::string& name);
  const StageState* FindStage(const std::string& name) const;
};

PointState NewPointState(const SweepPoint& point);

// point.json of a folder; nullopt: there is none. Throws FormatError.
std::optional<PointState> ReadPointState(const std::string& folder);
void WritePointState(const std::string& folder, const PointState& state);

}  // namespace ckv
