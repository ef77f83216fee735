// What a launcher says of the processes of a run: torchrun's variables, Slurm's, or RANK,
// WORLD_SIZE, MASTER_ADDR and MASTER_PORT set by hand.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace ckv {

struct Launch {
  int rank = 0;
  int world = 1;
  int local_rank = 0;   // among the processes of this host
  int local_world = 1;  // processes of this host
  std::string master;   // host of rank 0
  int port = 0;
  int restarts = 0;  // how often the launcher started the run before

  // The launcher keeps the store at master:port (torchrun's agent); else rank 0 does.
  bool has_store = false;
  // What the keys of this start begin with, so that those of an earlier one do not count.
  std::string prefix;
  std::string launcher;  // "torchrun", "Slurm", "RANK"
};

// The value of an environment variable; nullopt: not set.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;
std::optional<std::string> ReadEnvironment(const std::string& name);

// nullopt: no launcher, so this process is alone. Throws ConfigError for variables that are missing
// beside others, are no numbers or contradict each other.
//
// RANK counts before Slurm's variables, so that torchrun may run within a Slurm job. Slurm's count
// within `srun` only: a batch script that starts the program without srun runs one process.
std::optional<Launch> FindLaunch(const Environment& environment = ReadEnvironment);

// All variables by which FindLaunch sees a launcher: without them a process is alone.
const std::vector<std::string>& LaunchVariables();

// The first host of a Slurm list: "gpu[07-09,12],login" -> "gpu07".
std::string FirstHost(const std::string& node_list);

}  // namespace ckv
