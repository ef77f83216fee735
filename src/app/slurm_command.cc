#include <memory>
#include <regex>
#include <string>
#include <utility>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/output.h"
#include "app/slurm_script.h"
#include "app/train_run.h"
#include "base/error.h"
#include "base/file.h"

namespace ckv {
namespace {

struct SlurmOptions {
  SlurmJob job;
  bool cpu = false;
  CommandOutput output;
};

void WriteSlurmScript(SlurmOptions& options) {
  SlurmJob& job = options.job;
  if (job.nodes < 1) throw ConfigError("--nodes", Str(job.nodes, ", but must be >= 1"));
  if (job.tasks_per_node < 1) {
    throw ConfigError("--ranks-per-node", Str(job.tasks_per_node, ", but must be >= 1"));
  }
  if (job.cpus_per_task < 0) {
    throw ConfigError("--cpus-per-rank", Str(job.cpus_per_task, ", but must be >= 0"));
  }
  if (job.warning_s < 1) throw ConfigError("--warning", Str(job.warning_s, ", but must be >= 1"));
  constexpr int64_t kMost = 1 << 20;
  if (job.nodes > kMost || job.tasks_per_node > kMost) {
    throw ConfigError("--nodes", Str(job.nodes, " nodes of ", job.tasks_per_node,
                                     " ranks, but each must be at most ", kMost));
  }
  if (job.warning_s > 65535) {  // Slurm's limit
    throw ConfigError("--warning", Str(job.warning_s, ", but must be at most 65535"));
  }
  static const std::regex kTime("(\\d+-)?\\d+(:\\d+){0,2}");
  if (!job.time.empty() && !std::regex_match(job.time, kTime)) {
    throw ConfigError("--time", Str("'", job.time, "' is not a time such as 2-00:00:00 or 90"));
  }
  for (const auto& [option, text] :
       {std::pair("--partition", job.partition), {"--account", job.account}}) {
    if (text.find_first_of("\r\n") != std::string::npos) {
      throw ConfigError(option, "has a line break, which would end Slurm's line");
    }
  }
  // Faults of the settings show here and not when the job starts.
  const TrainRun run = LoadTrainRun(job.config, job.sets);
  const int64_t ranks = job.nodes * job.tasks_per_node;
  if (ranks > run.train.batch_size) {
    throw ConfigError("--nodes", Str(ranks, " ranks, but train.batch_size gives work to ",
                                     run.train.batch_size, " only"));
  }
  job.gpus = !options.cpu;
  job.run_dir = run.Dir();
  job.name = "ckv-" + run.run.name;
  const std::string script = SlurmScript(job);
  MakeDirs(job.run_dir);  // Slurm opens its output there before the script begins
  options.output.Print({{"script", script}, {"ranks", ranks}, {"run", job.run_dir}}, script);
}

}  // namespace

void AddSlurmCommand(CLI::App& program) {
  const auto options = std::make_shared<SlurmOptions>();
  CLI::App* command =
      program.add_subcommand("slurm", "Write the batch file that trains under Slurm");
  SlurmJob& job = options->job;
  command->add_option("CONFIG", job.config, "YAML file of the run, as for train")
      ->type_name("FILE")
      ->required();
  command->add_option("--set", job.sets, "Change a key of the file, e.g. dist.zero=1")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  command->add_option("--nodes", job.nodes, "Hosts")->capture_default_str();
  command->add_option("--ranks-per-node", job.tasks_per_node, "Ranks on each, one GPU a rank")
      ->capture_default_str();
  command->add_flag("--cpu", options->cpu, "Ask for no GPUs");
  command->add_option("--cpus-per-rank", job.cpus_per_task, "Cores of a rank; 0 = Slurm's default")
      ->capture_default_str();
  command->add_option("--time", job.time, "Time limit, as Slurm writes it (default: partition's)")
      ->type_name("TIME");
  command->add_option("--partition", job.partition, "Partition")->type_name("NAME");
  command->add_option("--account", job.account, "Account")->type_name("NAME");
  command
      ->add_option("--warning", job.warning_s,
                   "Seconds before the time limit at which the run saves and is queued again")
      ->capture_default_str();
  command->add_option("--program", job.program, "This program as the hosts find it")
      ->capture_default_str();
  options->output.AddOptions(*command);
  command->footer(
      "Makes the run's folder, in which Slurm writes its output.\n"
      "Example:\n"
      "  ckv slurm configs/train/1b/cla2.yaml --nodes 2 --ranks-per-node 8 --out job.sh\n"
      "  sbatch job.sh");
  command->callback([options] { WriteSlurmScript(*options); });
}

}  // namespace ckv
