// The batch file that runs `ckv train` under Slurm.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ckv {

struct SlurmJob {
  std::string program = "ckv";
  std::string config;
  std::vector<std::string> sets;
  std::string run_dir;  // where Slurm's output goes
  std::string name;

  int64_t nodes = 1;
  int64_t tasks_per_node = 1;  // ranks
  bool gpus = true;            // one a rank
  int64_t cpus_per_task = 0;   // 0: Slurm's default
  std::string time;            // "2-00:00:00"; empty: the partition's
  std::string partition;
  std::string account;
  int64_t warning_s = 120;  // before the time limit: SIGUSR1, upon which the run saves
};

// `text` as one word of a shell.
std::string ShellWord(const std::string& text);

// The file's content. The job is put back into the queue when it left because of the warning, and
// by Slurm itself when it is preempted or requeued; each time it goes on where it was.
std::string SlurmScript(const SlurmJob& job);

}  // namespace ckv
