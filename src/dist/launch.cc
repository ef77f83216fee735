#include "dist/launch.h"

#include <cstdlib>

#include "base/error.h"

namespace ckv {
namespace {

constexpr int kFirstSlurmPort = 15000;
constexpr int kSlurmPorts = 15000;

// Whole decimal numbers of at most so many digits.
std::optional<int64_t> ParseDigits(const std::string& text, size_t most) {
  if (text.empty() || text.size() > most ||
      text.find_first_not_of("0123456789") != std::string::npos) {
    return std::nullopt;
  }
  return std::stoll(text);
}

std::optional<int> ParseCount(const std::string& text) {
  const std::optional<int64_t> number = ParseDigits(text, 9);
  return number ? std::optional<int>(static_cast<int>(*number)) : std::nullopt;
}

class Variables {
 public:
  explicit Variables(const Environment& environment) : environment_(environment) {}

  std::string Text(const std::string& name) const {
    const std::optional<std::string> value = environment_(name);
    if (!value || value->empty()) {
      throw ConfigError(name, "is not set, but other variables of a launcher are");
    }
    return *value;
  }
  int Number(const std::string& name) const {
    const std::string text = Text(name);
    const std::optional<int> number = ParseCount(text);
    if (!number) {
      throw ConfigError(name, Str("is '", text, "', but must be a whole number below 10^9"));
    }
    return *number;
  }
  // Slurm numbers jobs of federations and its own steps up to 2^32.
  int64_t Id(const std::string& name) const {
    const std::string text = Text(name);
    const std::optional<int64_t> number = ParseDigits(text, 18);
    if (!number) throw ConfigError(name, Str("is '", text, "', but must be a whole number"));
    return *number;
  }
  int Number(const std::string& name, int otherwise) const {
    return environment_(name) ? Number(name) : otherwise;
  }
  bool Has(const std::string& name) const { return environment_(name).has_value(); }

 private:
  const Environment& environment_;
};

void CheckLaunch(const Launch& launch, const char* rank, const char* world) {
  if (launch.world < 1) throw ConfigError(world, "is 0, but must be at least 1");
  if (launch.rank >= launch.world) {
    throw ConfigError(
        rank, Str("is ", launch.rank, ", but must be below ", world, ", which is ", launch.world));
  }
  if (launch.local_rank >= launch.local_world) {
    throw ConfigError("LOCAL_RANK", Str("is ", launch.local_rank, ", but this host has ",
                                        launch.local_world, " processes"));
  }
  if (launch.port < 1 || launch.port > 65535) {
    throw ConfigError("MASTER_PORT", Str("is ", launch.port, ", but must be from 1 to 65535"));
  }
}

Launch FromRank(const Variables& variables) {
  Launch launch;
  launch.rank = variables.Number("RANK");
  launch.world = variables.Number("WORLD_SIZE");
  launch.local_rank = variables.Number("LOCAL_RANK", 0);
  launch.local_world = variables.Number("LOCAL_WORLD_SIZE", launch.local_rank + 1);
  launch.master = variables.Text("MASTER_ADDR");
  launch.port = variables.Number("MASTER_PORT");
  launch.restarts = variables.Number("TORCHELASTIC_RESTART_COUNT", 0);
  launch.has_store = variables.Has("TORCHELASTIC_USE_AGENT_STORE") &&
                     variables.Text("TORCHELASTIC_USE_AGENT_STORE") == "True";
  launch.prefix = Str("/ckv/start_", launch.restarts);
  launch.launcher = variables.Has("TORCHELASTIC_RUN_ID") ? "torchrun" : "RANK";
  CheckLaunch(launch, "RANK", "WORLD_SIZE");
  return launch;
}

Launch FromSlurm(const Variables& variables) {
  Launch launch;
  launch.rank = variables.Number("SLURM_PROCID");
  launch.world = variables.Number("SLURM_STEP_NUM_TASKS");
  launch.local_rank = variables.Number("SLURM_LOCALID", 0);
  // "2(x3),1": tasks a node; only whether the ranks fit matters.
  launch.local_world = launch.local_rank + 1;
  if (variables.Has("SLURM_STEP_TASKS_PER_NODE")) {
    const std::string tasks = variables.Text("SLURM_STEP_TASKS_PER_NODE");
    const std::string first = tasks.substr(0, tasks.find_first_not_of("0123456789"));
    launch.local_world = std::max(launch.local_world, ParseCount(first).value_or(1));
  }
  const int64_t job = variables.Id("SLURM_JOB_ID");
  const int64_t step = variables.Has("SLURM_STEP_ID") ? variables.Id("SLURM_STEP_ID") : 0;
  launch.master = variables.Has("MASTER_ADDR") ? variables.Text("MASTER_ADDR")
                                               : FirstHost(variables.Text("SLURM_STEP_NODELIST"));
  const int64_t place = (job % 1000 * 15 + step % kSlurmPorts) % kSlurmPorts;
  launch.port = variables.Number("MASTER_PORT", kFirstSlurmPort + static_cast<int>(place));
  launch.restarts = variables.Number("SLURM_RESTART_COUNT", 0);
  launch.prefix = Str("/ckv/job_", job, ".", step, "_", launch.restarts);
  launch.launcher = "Slurm";
  CheckLaunch(launch, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS");
  return launch;
}

}  // namespace

std::optional<std::string> ReadEnvironment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

std::optional<Launch> FindLaunch(const Environment& environment) {
  const Variables variables(environment);
  if (variables.Has("RANK") || variables.Has("WORLD_SIZE")) return FromRank(variables);
  if (variables.Has("SLURM_PROCID") && variables.Has("SLURM_STEP_NUM_TASKS")) {
    return FromSlurm(variables);
  }
  return std::nullopt;
}

const std::vector<std::string>& LaunchVariables() {
  static const std::vector<std::string> kNames = {"RANK",
                                                  "WORLD_SIZE",
                                                  "LOCAL_RANK",
                                                  "LOCAL_WORLD_SIZE",
                                                  "MASTER_ADDR",
                                                  "MASTER_PORT",
                                                  "TORCHELASTIC_RESTART_COUNT",
                                                  "TORCHELASTIC_USE_AGENT_STORE",
                                                  "TORCHELASTIC_RUN_ID",
                                                  "SLURM_PROCID",
                                                  "SLURM_STEP_NUM_TASKS"};
  return kNames;
}

std::string FirstHost(const std::string& node_list) {
  std::string host;
  for (size_t i = 0; i < node_list.size() && node_list[i] != ','; ++i) {
    if (node_list[i] != '[') {
      host += node_list[i];
      continue;
    }
    const size_t close = node_list.find(']', i);
    if (close == std::string::npos) break;
    const std::string range = node_list.substr(i + 1, close - i - 1);
    host += range.substr(0, range.find_first_of("-,"));
    i = close;
  }
  if (host.empty()) throw ConfigError("SLURM_STEP_NODELIST", Str("'", node_list, "' has no host"));
  return host;
}

}  // namespace ckv
