#include "app/slurm_script.h"

#include <csignal>

#include "base/error.h"

namespace ckv {

std::string ShellWord(const std::string& text) {
  constexpr char kPlain[] =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=:,+%@";
  if (!text.empty() && text.find_first_not_of(kPlain) == std::string::npos) return text;
  std::string word = "'";
  for (const char c : text) word += c == '\'' ? "'\\''" : std::string(1, c);
  return word + "'";
}

std::string SlurmScript(const SlurmJob& job) {
  std::string text = "#!/bin/bash\n";
  const auto option = [&text](const std::string& name, const auto& value) {
    text += Str("#SBATCH --", name, "=", value, "\n");
  };
  option("job-name", ShellWord(job.name));
  option("nodes", job.nodes);
  option("ntasks-per-node", job.tasks_per_node);
  if (job.gpus) option("gpus-per-node", job.tasks_per_node);
  if (job.cpus_per_task > 0) option("cpus-per-task", job.cpus_per_task);
  if (!job.time.empty()) option("time", job.time);
  if (!job.partition.empty()) option("partition", ShellWord(job.partition));
  if (!job.account.empty()) option("account", ShellWord(job.account));
  // To the ranks, not to this script: they save and leave.
  option("signal", Str("USR1@", job.warning_s));
  text += "#SBATCH --requeue\n#SBATCH --open-mode=append\n";
  std::string folder;  // in which % stands for itself
  for (const char c : job.run_dir) folder += c == '%' ? "%%" : std::string(1, c);
  option("output", ShellWord(folder + "/slurm-%j.log"));
  text += "\nset -u\nmkdir -p " + ShellWord(job.run_dir) + "\n\n";

  text += "# Slurm's variables tell each rank who it is; a rank that fails ends the others.\n";
  text += "srun --kill-on-bad-exit=1 " + ShellWord(job.program) + " train " + ShellWord(job.config);
  for (const std::string& set : job.sets) text += " \\\n  --set " + ShellWord(set);
  text += "\ncode=$?\n\n";

  text += Str("# ", kExitSignalBase + SIGUSR1,
              ": saved upon the warning before the time limit; the next job goes on from there.\n");
  text +=
      "# Slurm ends this script when it takes the job back; it must not end by itself before.\n";
  text += Str("if [ \"$code\" -eq ", kExitSignalBase + SIGUSR1,
              " ]; then\n  for _ in 1 2 3; do\n    scontrol requeue \"$SLURM_JOB_ID\" && sleep 60\n"
              "  done\nfi\nexit \"$code\"\n");
  return text;
}

}  // namespace ckv
