#include "sweep/runner.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/signals.h"
#include "sweep/child.h"
#include "sweep/live_table.h"

namespace ckv {
namespace {

constexpr char kSweepTag[] = "sweep";
constexpr char kTrainStage[] = "train";

std::string FolderOf(const SweepConfig& config, const SweepPoint& point) {
  return JoinPath(config.RunsDir(), point.id);
}

std::string Filled(std::string word, const std::string& folder, const std::string& stage) {
  const std::pair<const char*, std::string> places[] = {
      {"{run}", folder}, {"{out}", JoinPath(folder, stage + ".json")}};
  for (const auto& [place, text] : places) {
    for (size_t at = 0; (at = word.find(place, at)) != std::string::npos; at += text.size()) {
      word.replace(at, 5, text);
    }
  }
  return word;
}

// Of what a stage's result depends on.
std::string StageHash(const SweepConfig& config, const SweepPoint& point, size_t stage) {
  uint64_t hash = point.hash;
  for (size_t i = 0; i < stage; ++i) {
    hash = Fnv1a64(config.stages[i].name, hash);
    for (const std::string& word : config.stages[i].command) hash = Fnv1a64(word + "\n", hash);
  }
  return HashHex(hash);
}

std::string StageName(const SweepConfig& config, size_t stage) {
  return stage == 0 ? kTrainStage : config.stages[stage - 1].name;
}

double StageTimeout(const SweepConfig& config, size_t stage) {
  return static_cast<double>(stage == 0 ? config.train_timeout_s
                                        : config.stages[stage - 1].timeout_s);
}

// Held while a process works on a point.
class PointLock {
 public:
  explicit PointLock(const std::string& folder) {
    const std::string path = JoinPath(folder, "sweep.lock");
    fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd_ < 0) throw IoError(path, "cannot open", errno);
    if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) return;
    if (errno != EWOULDBLOCK) throw IoError(path, "cannot lock", errno);
    ::close(fd_);
    fd_ = -1;
  }
  ~PointLock() {
    if (fd_ >= 0) ::close(fd_);
  }
  PointLock(const PointLock&) = delete;
  PointLock& operator=(const PointLock&) = delete;

  bool held() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// A point that is being run.
struct Running {
  size_t point = 0;
  size_t stage = 0;
  size_t slot = 0;
  std::unique_ptr<PointLock> lock;
  std::unique_ptr<Child> child;
};

class SweepRunner {
 public:
  SweepRunner(const SweepConfig& config, const std::vector<SweepPoint>& points,
              const RunnerOptions& options)
      : config_(config),
        points_(points),
        options_(options),
        table_(config, options.live),
        slots_(static_cast<size_t>(config.parallel), false) {
    for (const int64_t index : options.indices) {
      if (index < 0 || index >= static_cast<int64_t>(points.size())) {
        throw ConfigError("--point", Str(index, ", but there are ", points.size(), " points"));
      }
      order_.push_back(static_cast<size_t>(index));
    }
    // What cannot start shows before anything has.
    if (!config.train_launcher.empty()) FindProgram(config.train_launcher[0], "train_launcher");
    for (const SweepStage& stage : config.stages) {
      if (!stage.launcher.empty()) FindProgram(stage.launcher[0], "launcher of " + stage.name);
    }
    const auto first_gpu = static_cast<size_t>(options.local_rank) * slots_.size();
    const size_t needed = static_cast<size_t>(options.local_world) * slots_.size();
    if (!config.gpus.empty() && config.gpus.size() < needed) {
      throw ConfigError("gpus", Str("has ", config.gpus.size(), " entries, but ", needed,
                                    " points run at once on this host"));
    }
    for (size_t i = 0; i < slots_.size(); ++i) {
      gpus_.push_back(config.gpus.empty() ? options.gpu : config.gpus[first_gpu + i]);
    }
    if (order_.empty()) {
      for (size_t i = 0; i < points.size(); ++i) order_.push_back(i);
    }
    for (const SweepPoint& point : points) states_.push_back(StateOf(config, point));
    const auto& stages = config.stages;
    first_alone_ =
        static_cast<size_t>(std::find_if(stages.begin(), stages.end(),
                                         [](const SweepStage& stage) { return stage.alone; }) -
                            stages.begin() + 1);
  }

  SweepCounts Run() {
    WatchSignals();
    MakeDirs(config_.RunsDir());
    RunPoints();
    if (first_alone_ <= config_.stages.size()) {
      alone_ = true;
      slots_.assign(1, false);
      elsewhere_.clear();
      RunPoints();
    }
    table_.Clear();
    return Count();
  }

 private:
  void RunPoints() {
    size_t next = 0;
    while (next < order_.size() || !running_.empty() || WaitsForOthers()) {
      while (next < order_.size() && running_.size() < slots_.size() && PendingSignal() == 0) {
        Begin(order_[next++]);
      }
      if (PendingSignal() != 0) Stop();
      PollAll();
      Show(next);
      if (!running_.empty() || WaitsForOthers()) {
        std::this_thread::sleep_for(std::chrono::duration<double>(options_.poll_s));
      }
      if (next == order_.size() && running_.empty()) LookAtOthers();
    }
  }

  // The first stage that is to be run, if its turn is now.
  std::optional<size_t> NextStage(const PointState& state) const {
    for (size_t stage = 0; stage <= config_.stages.size(); ++stage) {
      const StageState* known = state.FindStage(StageName(config_, stage));
      if (known != nullptr && known->status == StageStatus::kDone) continue;
      const bool is_alone = stage >= first_alone_;
      const bool is_run = known == nullptr || IsRetried(known->status) || options_.retry;
      if (is_run && is_alone == alone_) return stage;
      return std::nullopt;
    }
    return std::nullopt;
  }

  void Begin(size_t index) {
    if (!NextStage(states_[index]).has_value()) return;
    const std::string folder = FolderOf(config_, points_[index]);
    MakeDirs(folder);
    auto lock = std::make_unique<PointLock>(folder);
    if (!lock->held()) {
      elsewhere_.push_back(index);
      return;
    }
    const PointState before = std::exchange(states_[index], StateOf(config_, points_[index]));
    const std::optional<size_t> stage = NextStage(states_[index]);
    if (!stage.has_value()) return;
    if (options_.shared && HasEndedSince(before, states_[index], *stage)) return;
    Running running;
    running.point = index;
    running.stage = *stage;
    running.slot =
        static_cast<size_t>(std::find(slots_.begin(), slots_.end(), false) - slots_.begin());
    running.lock = std::move(lock);
    slots_[running.slot] = true;
    running_.push_back(std::move(running));
    StartStage(running_.back());
  }

  // Whether another process has run the stage to its end, be it a bad one, since this one began.
  bool HasEndedSince(const PointState& before, const PointState& now, size_t stage) const {
    const StageState* ended = now.FindStage(StageName(config_, stage));
    if (ended == nullptr || ended->status == StageStatus::kRunning) return false;
    const StageState* known = before.FindStage(StageName(config_, stage));
    return known == nullptr || known->status != ended->status || known->seconds != ended->seconds;
  }

  bool WaitsForOthers() const { return options_.shared && !elsewhere_.empty(); }

  // Of the points that other processes had: notes how those have ended of which the lock is free,
  // and begins one that was left in the midst.
  void LookAtOthers() {
    const auto now = std::chrono::steady_clock::now();
    if (!WaitsForOthers() || now < next_look_) return;
    next_look_ = now + std::chrono::milliseconds(500);
    std::vector<size_t> left;
    for (const size_t index : std::exchange(elsewhere_, {})) {
      if (!running_.empty() || !PointLock(FolderOf(config_, points_[index])).held()) {
        left.push_back(index);
        continue;
      }
      states_[index] = StateOf(config_, points_[index]);
      const std::optional<size_t> stage = NextStage(states_[index]);
      if (!stage.has_value()) continue;
      const StageState* known = states_[index].FindStage(StageName(config_, *stage));
      if (known == nullptr || known->status == StageStatus::kRunning) Begin(index);
    }
    elsewhere_.insert(elsewhere_.end(), left.begin(), left.end());
  }

  void StartStage(Running& running) {
    const SweepPoint& point = points_[running.point];
    const std::string folder = FolderOf(config_, point);
    const std::string name = StageName(config_, running.stage);
    ChildCommand command;
    command.program = options_.program;
    command.launcher =
        running.stage == 0 ? config_.train_launcher : config_.stages[running.stage - 1].launcher;
    command.unset = options_.unset;
    command.arguments = StageArguments(config_, point, name);
    command.out = JoinPath(folder, name + ".out");
    command.log = JoinPath(folder, name + ".err");
    command.timeout_s = StageTimeout(config_, running.stage);
    if (config_.threads > 0) command.environment["OMP_NUM_THREADS"] = Str(config_.threads);
    if (!gpus_[running.slot].empty()) {
      command.environment["CUDA_VISIBLE_DEVICES"] = gpus_[running.slot];
    }
    RemoveAll(command.log);
    StageState& state = states_[running.point].Stage(name);
    state = StageState();
    state.name = name;
    state.hash = StageHash(config_, point, running.stage);
    state.status = StageStatus::kRunning;
    WritePointState(folder, states_[running.point]);
    running.child = std::make_unique<Child>(std::move(command));
  }

  void PollAll() {
    for (size_t i = 0; i < running_.size();) {
      const std::optional<ChildResult> result = running_[i].child->Poll();
      if (!result.has_value() || !Finish(running_[i], *result)) {
        ++i;
        continue;
      }
      slots_[running_[i].slot] = false;
      running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }

  // Records a stage's end; false if the next one of the point has been started.
  bool Finish(Running& running, const ChildResult& result) {
    const SweepPoint& point = points_[running.point];
    const std::string name = StageName(config_, running.stage);
    StageState& state = states_[running.point].Stage(name);
    state.status = result.status;
    state.exit_code = result.exit_code;
    state.seconds = result.seconds;
    state.message = result.message;
    WritePointState(FolderOf(config_, point), states_[running.point]);
    const bool good = result.status == StageStatus::kDone;
    table_.Clear();
    Log(good ? LogLevel::kInfo : LogLevel::kWarn, kSweepTag,
        Str(point.id, ": ", name, " ", StageStatusName(result.status), " after ",
            Fixed(result.seconds, 1), " s",
            good || result.message.empty() ? "" : ": " + result.message));
    if (!good || stopping_) return true;
    const std::optional<size_t> next = NextStage(states_[running.point]);
    if (!next.has_value()) return true;
    running.stage = *next;
    StartStage(running);
    return false;
  }

  // The children save and end; then so does this process.
  void Stop() {
    stopping_ = true;
    table_.Clear();
    LogInfo(kSweepTag, Str("stopped by ", SignalName(PendingSignal()), ": ", running_.size(),
                           " points save and end"));
    for (Running& running : running_) running.child->Interrupt();
    while (!running_.empty()) {
      PollAll();
      std::this_thread::sleep_for(std::chrono::duration<double>(options_.poll_s));
    }
    throw Interrupted(PendingSignal(), Str("the sweep was stopped by ", SignalName(PendingSignal()),
                                           "; the same command goes on"));
  }

  void Show(size_t next) {
    std::vector<LivePoint> live;
    for (const Running& running : running_) {
      live.push_back({points_[running.point].id, StageName(config_, running.stage),
                      running.child->Seconds(), FolderOf(config_, points_[running.point])});
    }
    SweepCounts counts = Count();
    counts.waiting = static_cast<int64_t>(order_.size() - next);
    table_.Show(live, counts);
  }

  SweepCounts Count() const {
    SweepCounts counts;
    counts.elsewhere = static_cast<int64_t>(elsewhere_.size());
    for (const size_t index : order_) {
      bool failed = false;
      size_t done = 0;
      for (const StageState& stage : states_[index].stages) {
        if (stage.status == StageStatus::kDone) {
          ++done;
        } else if (stage.status != StageStatus::kRunning && stage.status != StageStatus::kWaiting) {
          failed = true;
        }
      }
      counts.failed += failed ? 1 : 0;
      counts.done += done == config_.stages.size() + 1 ? 1 : 0;
    }
    return counts;
  }

  const SweepConfig& config_;
  const std::vector<SweepPoint>& points_;
  const RunnerOptions& options_;
  LiveTable table_;
  std::vector<size_t> order_;
  std::vector<PointState> states_;
  std::vector<bool> slots_;
  std::vector<std::string> gpus_;  // of each slot; "" = as it is
  std::vector<Running> running_;
  std::vector<size_t> elsewhere_;
  size_t first_alone_ = 0;  // the stage from which on points run one at a time
  bool alone_ = false;      // whether those have their turn
  std::chrono::steady_clock::time_point next_look_;
  bool stopping_ = false;
};

}  // namespace

PointState StateOf(const SweepConfig& config, const SweepPoint& point) {
  PointState state = NewPointState(point);
  const std::string folder = FolderOf(config, point);
  const std::optional<PointState> before = ReadPointState(folder);
  if (!before.has_value() || before->hash != state.hash) return state;
  // Stages whose command, or an earlier one's, has changed have not been run.
  for (size_t stage = 0; stage <= config.stages.size(); ++stage) {
    const StageState* known = before->FindStage(StageName(config, stage));
    if (known == nullptr || known->hash != StageHash(config, point, stage)) break;
    state.stages.push_back(*known);
  }
  return state;
}

std::vector<std::string> StageArguments(const SweepConfig& config, const SweepPoint& point,
                                        const std::string& stage) {
  const std::string folder = FolderOf(config, point);
  std::vector<std::string> arguments;
  if (stage == kTrainStage) {
    arguments = {kTrainStage, config.config};
    for (const std::string& item : point.sets) {
      arguments.emplace_back("--set");
      arguments.push_back(item);
    }
    arguments.emplace_back("--set");
    arguments.push_back(Str("run.dir=", folder));
    return arguments;
  }
  for (const SweepStage& candidate : config.stages) {
    if (candidate.name != stage) continue;
    for (const std::string& word : candidate.command) {
      arguments.push_back(Filled(word, folder, stage));
    }
    return arguments;
  }
  throw InternalError(Str("there is no stage '", stage, "'"));
}

SweepCounts RunSweep(const SweepConfig& config, const std::vector<SweepPoint>& points,
                     const RunnerOptions& options) {
  return SweepRunner(config, points, options).Run();
}

std::string SlurmScript(const SweepConfig& config, const std::string& sweep_path, size_t num_points,
                        const std::string& program) {
  const auto quoted = [](const std::string& text) {
    std::string result = "'";
    for (const char c : text) result += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return result + "'";
  };
  std::string script =
      Str("#!/bin/bash\n#SBATCH --job-name=", config.name, "\n#SBATCH --array=0-", num_points - 1);
  if (config.slurm.max_running > 0) script += Str("%", config.slurm.max_running);
  // Slurm warns a minute before the end, so that the point saves; the same array goes on.
  script += Str("\n#SBATCH --signal=B:USR1@60\n#SBATCH --output=", config.dir, "/slurm-%a.log\n");
  for (const std::string& option : config.slurm.options) script += Str("#SBATCH ", option, "\n");
  script += "set -euo pipefail\n";
  for (const std::string& line : config.slurm.setup) script += line + "\n";
  script += Str("exec ", quoted(program), " sweep ", quoted(sweep_path),
                " --point \"$SLURM_ARRAY_TASK_ID\"\n");
  return script;
}

}  // namespace ckv
