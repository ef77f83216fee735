#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "app/command.h"
#include "app/output.h"
#include "app/sweep_facts.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "config/config.h"
#include "dist/launch.h"
#include "sweep/chart.h"
#include "sweep/child.h"
#include "sweep/runner.h"

namespace ckv {
namespace {

struct SweepCommand {
  std::string path;
  std::vector<std::string> sets;
  bool dry_run = false;
  bool retry = false;
  std::string slurm;
  std::vector<int64_t> points;
  std::vector<std::string> names;  // of the program's commands
  CommandOutput output;
};

// FLOPs a second: as the sweep's file says, else the middle of what the points that are done had.
std::optional<double> TrainingSpeed(const SweepConfig& config,
                                    const std::vector<PointState>& states) {
  if (config.flops_per_second > 0.0) return config.flops_per_second;
  std::vector<double> speeds;
  for (const PointState& state : states) {
    const StageState* train = state.FindStage("train");
    if (train == nullptr || train->status != StageStatus::kDone || train->seconds <= 0.0) continue;
    speeds.push_back(state.train_flops / train->seconds);
  }
  if (speeds.empty()) return std::nullopt;
  std::nth_element(speeds.begin(), speeds.begin() + speeds.size() / 2, speeds.end());
  return speeds[speeds.size() / 2];
}

std::string StatusOfPoint(const SweepConfig& config, const PointState& state) {
  for (const StageState& stage : state.stages) {
    if (stage.status != StageStatus::kDone) {
      return Str(stage.name, " ", StageStatusName(stage.status));
    }
  }
  if (state.stages.empty()) return "waiting";
  return state.stages.size() == config.stages.size() + 1 ? "done" : "train done";
}

std::string TimeText(double seconds) {
  if (seconds < 100.0) return Str(Fixed(seconds, 0), " s");
  if (seconds < 6000.0) return Str(Fixed(seconds / 60.0, 0), " min");
  return Str(Fixed(seconds / 3600.0, 1), " h");
}

void PrintDryRun(const SweepCommand& command, const SweepConfig& config, const SweepPoints& found,
                 bool vocabulary_known) {
  std::vector<PointState> states;
  for (const SweepPoint& point : found.points) states.push_back(StateOf(config, point));
  const std::optional<double> speed = TrainingSpeed(config, states);
  std::string text =
      Str("   #  parameters   tokens    FLOPs  KV resident  written      read     "
          "time  status         point\n");
  OrderedJson json;
  json["points"] = OrderedJson::array();
  double seconds = 0.0;
  double flops = 0.0;
  size_t left = 0;
  for (size_t i = 0; i < states.size(); ++i) {
    const bool chosen =
        command.points.empty() || std::find(command.points.begin(), command.points.end(),
                                            static_cast<int64_t>(i)) != command.points.end();
    if (!chosen) continue;
    const PointState& state = states[i];
    const std::string status = StatusOfPoint(config, state);
    const double time = speed.has_value() ? state.train_flops / *speed : 0.0;
    const StageState* train = state.FindStage("train");
    const bool trains = train == nullptr || (train->status != StageStatus::kDone &&
                                             (IsRetried(train->status) || command.retry));
    if (trains) {
      seconds += time;
      flops += state.train_flops;
      ++left;
    }
    char line[256];
    std::snprintf(
        line, sizeof(line), "%4zu  %10s %8s %8s  %11s %8s  %8s %8s  %-14s ", i,
        ShortNumber(state.parameters).c_str(), ShortNumber(state.tokens).c_str(),
        ShortNumber(state.train_flops).c_str(), ShortNumber(state.kv_resident_bytes).c_str(),
        ShortNumber(state.kv_written_bytes).c_str(), ShortNumber(state.kv_read_bytes).c_str(),
        speed.has_value() ? TimeText(time).c_str() : "-", status.c_str());
    std::string same;
    for (const std::string& alias : state.aliases) same += Str(same.empty() ? "  = " : ", ", alias);
    text += Str(line, state.id, same, "\n");
    OrderedJson item = {{"index", i},
                        {"id", state.id},
                        {"label", state.label},
                        {"aliases", state.aliases},
                        {"seed", state.seed},
                        {"kv_sharing", state.kv_sharing},
                        {"sets", state.sets},
                        {"parameters", state.parameters},
                        {"tokens", state.tokens},
                        {"train_flops", state.train_flops},
                        {"kv_resident_bytes", state.kv_resident_bytes},
                        {"kv_written_bytes", state.kv_written_bytes},
                        {"kv_read_bytes", state.kv_read_bytes},
                        {"status", status}};
    if (speed.has_value()) item["seconds"] = time;
    json["points"].push_back(std::move(item));
  }
  json["left_out"] = found.num_left_out;
  json["equal"] = found.num_equal;
  json["to_train"] = left;
  json["to_train_flops"] = flops;
  if (speed.has_value()) json["expected_seconds"] = seconds / static_cast<double>(config.parallel);
  text += Str("\n", json["points"].size(), " points, ", left, " to train: ", ShortNumber(flops),
              " FLOPs");
  if (speed.has_value()) {
    text += Str(", about ", TimeText(seconds / static_cast<double>(config.parallel)), " with ",
                config.parallel, " at once (training alone)");
  } else {
    text += "; the time is not known before a point is done or 'flops_per_second' is set";
  }
  if (found.num_left_out > 0) text += Str("; ", found.num_left_out, " left out by constraints");
  if (found.num_equal > 0) text += Str("; ", found.num_equal, " equal to others");
  text += "\nKV bytes in bf16: a token in the cache; written and read by a decoding step\n";
  if (!vocabulary_known) text += "The tokenizer is not there yet: embeddings are not counted.\n";
  command.output.Print(json, text);
}

// How the processes that a launcher started for one sweep divide the host: each has the GPU of its
// local rank, and its points know nothing of the launcher.
void ShareSweep(const std::optional<Launch>& launch, RunnerOptions* options) {
  if (!launch.has_value()) return;
  options->shared = true;
  options->local_rank = launch->local_rank;
  options->local_world = launch->local_world;
  options->unset = LaunchVariables();
  options->live = launch->rank == 0;
  std::vector<std::string> gpus;
  if (const std::optional<std::string> visible = ReadEnvironment("CUDA_VISIBLE_DEVICES")) {
    std::istringstream list(*visible);
    for (std::string gpu; std::getline(list, gpu, ',');) gpus.push_back(gpu);
  } else {
    for (int64_t i = 0; i < static_cast<int64_t>(torch::cuda::device_count()); ++i) {
      gpus.push_back(Str(i));
    }
  }
  if (gpus.empty()) return;
  options->gpu = gpus[static_cast<size_t>(launch->local_rank) % gpus.size()];
}

// What would show only after hours.
void CheckPoints(const SweepCommand& command, const SweepConfig& config, const SweepPoints& found) {
  for (const int64_t index : command.points) {
    if (index < 0 || index >= static_cast<int64_t>(found.points.size())) {
      throw ConfigError("--point", Str(index, ", but there are ", found.points.size(), " points"));
    }
  }
  for (const SweepStage& stage : config.stages) {
    const std::string& name = stage.command.front();
    if (std::find(command.names.begin(), command.names.end(), name) != command.names.end())
      continue;
    throw ConfigError(command.path, Str("the stage '", stage.name, "' calls 'ckv ", name,
                                        "', but there is no such command"));
  }
  const bool known =
      config.baseline.empty() ||
      std::any_of(found.points.begin(), found.points.end(), [&config](const SweepPoint& point) {
        const std::vector<std::string>& aliases = point.aliases;
        return point.label == config.baseline ||
               std::find(aliases.begin(), aliases.end(), config.baseline) != aliases.end();
      });
  if (!known) {
    throw ConfigError(command.path, Str("'baseline' is '", config.baseline,
                                        "', but no point is called so; --dry-run lists them"));
  }
}

void RunSweepCommand(const SweepCommand& command) {
  const std::optional<Launch> launch = FindLaunch();
  const bool root = !launch.has_value() || launch->rank == 0;
  const SweepConfig config = LoadSweepConfig(command.path, command.sets);
  PointDescriber describer(config.config);
  const SweepPoints found =
      ExpandSweep(config, command.path,
                  [&](const std::vector<std::string>& sets) { return describer.Describe(sets); });
  if (found.points.empty()) {
    throw ConfigError(command.path, "no point is left: the constraints exclude all of them");
  }
  CheckPoints(command, config, found);
  if (command.dry_run) {
    if (root) PrintDryRun(command, config, found, describer.vocabulary_known());
    return;
  }
  MakeDirs(config.RunsDir());
  if (root) WriteFileAtomically(JoinPath(config.RunsDir(), "sweep.yaml"), DumpYaml(config));
  if (!command.slurm.empty()) {
    if (!root) return;
    if (!command.sets.empty()) {
      throw ConfigError("--slurm", "takes no --set: the tasks of the array read the file alone");
    }
    WriteFileAtomically(command.slurm,
                        SlurmScript(config, std::filesystem::absolute(command.path).string(),
                                    found.points.size(), OwnProgram()));
    command.output.Print({{"script", command.slurm}, {"tasks", found.points.size()}},
                         Str("sbatch ", command.slurm, "   # ", found.points.size(), " tasks"));
    return;
  }
  LogInfo("sweep", Str(config.name, ": ", found.points.size(), " points in ", config.RunsDir()));
  RunnerOptions options;
  options.retry = command.retry;
  options.indices = command.points;
  ShareSweep(launch, &options);
  const SweepCounts counts = RunSweep(config, found.points, options);
  if (!root) return;
  const int64_t total = command.points.empty() ? static_cast<int64_t>(found.points.size())
                                               : static_cast<int64_t>(command.points.size());
  std::string text = Str(counts.done, " of ", total, " points done");
  if (counts.failed > 0) text += Str(", ", counts.failed, " failed");
  if (counts.elsewhere > 0) text += Str(", ", counts.elsewhere, " run elsewhere");
  text += Str("\nckv report ", config.dir, "\n");
  command.output.Print({{"points", total},
                        {"done", counts.done},
                        {"failed", counts.failed},
                        {"elsewhere", counts.elsewhere},
                        {"dir", config.dir}},
                       text);
}

}  // namespace

void AddSweepCommand(CLI::App& program) {
  const auto options = std::make_shared<SweepCommand>();
  CLI::App* command = program.add_subcommand(
      "sweep", "Train and evaluate many configurations, or go on with a sweep that was stopped");
  command->add_option("SWEEP", options->path, "YAML file of the sweep")
      ->type_name("FILE")
      ->required();
  command->add_option("--set", options->sets, "Change a key of the sweep's file, e.g. parallel=2")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  CLI::Option* const dry_run =
      command->add_flag("--dry-run", options->dry_run,
                        "Print the points with their size, FLOPs, KV bytes and expected time");
  command->add_flag("--retry", options->retry,
                    "Run also what diverged, ran out of memory or timed out before");
  command->add_option("--point", options->points, "Only the points of these numbers (--dry-run)")
      ->type_name("N")
      ->allow_extra_args(false);
  command->add_option("--slurm", options->slurm, "Write a job array for sbatch and leave")
      ->type_name("FILE")
      ->excludes(dry_run);
  options->output.AddOptions(*command);
  command->footer(
      "Examples:\n"
      "  ckv sweep experiments/first-study/sweep.yaml --dry-run\n"
      "  ckv sweep experiments/first-study/sweep.yaml\n\n"
      "Under torchrun or srun each rank runs points on a GPU of its own until none is left.\n"
      "The same command goes on with a sweep that was stopped. docs/sweeps.md describes the file.");
  command->callback([options, &program] {
    for (const CLI::App* other : program.get_subcommands([](CLI::App*) { return true; })) {
      options->names.push_back(other->get_name());
    }
    RunSweepCommand(*options);
  });
}

}  // namespace ckv
