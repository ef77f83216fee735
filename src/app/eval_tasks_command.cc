#include <algorithm>
#include <chrono>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/eval_commands.h"
#include "app/load_model.h"
#include "app/model_fingerprint.h"
#include "app/output.h"
#include "app/passes.h"
#include "app/task_options.h"
#include "app/task_ranks.h"
#include "app/train_ranks.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/progress.h"
#include "ckv_version.h"
#include "eval/run_task.h"
#include "nn/device.h"
#include "tasks/results.h"

namespace ckv {
namespace {

struct TasksCommand {
  ModelArguments model;
  std::vector<std::string> tasks;
  std::vector<std::string> sets;
  TaskHookConfig places;
  int64_t few_shot = -1;
  int64_t limit = 0;
  std::string mode;
  std::string passes;
  std::string bos = "auto";
  int64_t max_length = 0;
  int64_t batch_tokens = 0;
  bool no_prefix_sharing = false;
  bool batch_invariant = false;
  std::string cache;
  bool no_cache = false;
  std::string out;
  std::string samples;
  bool json = false;
};

using StopClock = std::chrono::steady_clock;

double SecondsSince(StopClock::time_point start) {
  return std::chrono::duration<double>(StopClock::now() - start).count();
}

// The order of running the model, as `ckv eval perplexity` has it.
DecoderRun TaskRunOrder(const TasksCommand& command, const DecoderConfig& config) {
  DecoderRun run;
  const std::string mode = !command.mode.empty() ? command.mode
                           : config.sequential   ? "sequential"
                                                 : "parallel";
  if (mode == "sequential") {
    if (!command.passes.empty()) {
      throw ConfigError("--passes", "belongs to the parallel order, not to --mode sequential");
    }
    run.order = DecoderRun::Order::kSequential;
    return run;
  }
  run.order = DecoderRun::Order::kParallel;
  Passes passes = {config.forward_passes, config.backward_passes};
  if (!command.passes.empty()) {
    passes = ParsePasses(command.passes);
    if (!config.sharing().cyclic()) {
      throw ConfigError("--passes",
                        "no layer of this model reads a layer above it, so one pass is exact");
    }
  }
  run.forward_passes = passes.forward;
  run.backward_passes = passes.backward;
  return run;
}

TaskRunOptions MakeRunOptions(const TasksCommand& command, const LoadedModel& model) {
  TaskRunOptions options;
  options.score.run = TaskRunOrder(command, model.decoder->config());
  options.score.max_length = command.max_length;
  options.score.batch_tokens = command.batch_tokens;
  options.score.share_prefixes = !command.no_prefix_sharing;
  options.score.batch_invariant = command.batch_invariant;
  options.bos = command.bos == "yes" || (command.bos == "auto" && model.begins_with_bos);
  options.limit = command.limit;
  return options;
}

// What answers depend on, besides the task: the first line of a cache file.
OrderedJson CacheSettings(const Task& task, const LoadedModel& model, uint64_t fingerprint,
                          const TasksCommand& command, const TaskRunOptions& options) {
  OrderedJson settings;
  settings["task"] = task.config().name;
  settings["version"] = task.config().version;
  settings["task_hash"] = HashHex(task.Fingerprint());
  settings["model_hash"] = HashHex(fingerprint);
  settings["precision"] = command.model.precision;
  settings["bos"] = options.bos;
  settings["max_length"] = options.score.max_length;
  settings["batch_invariant"] = options.score.batch_invariant;
  const bool sequential = options.score.run.order == DecoderRun::Order::kSequential;
  settings["order"] = sequential ? "sequential" : "parallel";
  if (!sequential && model.decoder->config().sharing().cyclic()) {
    settings["passes"] = {*options.score.run.forward_passes, *options.score.run.backward_passes};
  }
  return settings;
}

// Where a task's answers are kept; nullopt if they are not to be.
std::optional<AnswerFile> AnswersOf(const TasksCommand& command, OrderedJson settings) {
  if (command.no_cache) return std::nullopt;
  const std::string folder =
      command.cache.empty() ? JoinPath(command.model.path, "eval/answers") : command.cache;
  const std::string name =
      Str(settings["task"].get<std::string>(), "-v", settings["version"].get<std::string>(), "-",
          HashHex(Fnv1a64(settings.dump())), ".jsonl");
  return AnswerFile{JoinPath(folder, name), std::move(settings), !command.cache.empty()};
}

OrderedJson AboutRun(const LoadedModel& model, const TasksCommand& command,
                     const TaskRunOptions& options, int ranks, double seconds) {
  OrderedJson config;
  config["model"] = "ckv";
  config["model_args"] = {{"pretrained", model.folder},
                          {"weights", model.weights},
                          {"kv_sharing", model.decoder->config().sharing().ToString()}};
  config["model_num_parameters"] = model.decoder->NumParameters();
  config["model_dtype"] = command.model.precision;
  config["device"] = DeviceName(model.device);
  config["ranks"] = ranks;
  config["add_bos_token"] = options.bos;
  if (command.limit > 0) {
    config["limit"] = command.limit;
  } else {
    config["limit"] = nullptr;
  }
  OrderedJson about;
  about["config"] = config;
  about["git_hash"] = CKV_REVISION;
  about["date"] = static_cast<double>(std::time(nullptr));
  about["model_source"] = "ckv";
  about["model_name"] = command.model.path;
  about["max_length"] =
      command.max_length > 0 ? command.max_length : model.decoder->config().max_position_embeddings;
  about["total_evaluation_time_seconds"] = Str(seconds);
  return about;
}

std::string DumpLine(const OrderedJson& json, int indent) {
  return json.dump(indent, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

void WriteSamples(const std::string& folder, const Task& task,
                  const std::vector<std::vector<TaskResponse>>& answers) {
  MakeDirs(folder);
  std::string text;
  for (size_t i = 0; i < answers.size(); ++i) {
    text += DumpLine(SampleJson(task, static_cast<int64_t>(i), answers[i]), -1);
  }
  WriteFileAtomically(JoinPath(folder, Str("samples_", task.config().name, ".jsonl")), text);
}

void CheckTasksCommand(const TasksCommand& command) {
  if (command.tasks.empty()) {
    throw ConfigError("--tasks", "at least one task is needed; 'ckv eval tasks --list' names them");
  }
  for (const std::string& item : command.sets) {
    const bool known =
        std::any_of(command.tasks.begin(), command.tasks.end(), [&item](const std::string& task) {
          std::string name = BaseName(task);
          if (name.size() > 5 && name.substr(name.size() - 5) == ".yaml") {
            name.resize(name.size() - 5);
          }
          return item.rfind(name + ".", 0) == 0;
        });
    if (!known) throw ConfigError("--set " + item, "must be TASK.KEY=VALUE of a task in --tasks");
  }
}

// Writes and prints what the tasks gave.
void ReportTasks(const TasksCommand& command, const std::vector<TaskResult>& results,
                 const OrderedJson& about) {
  const OrderedJson json = ResultJson(results, about);
  if (!command.out.empty()) {
    WriteFileAtomically(command.out, DumpLine(json, 2));
  } else if (!command.no_cache && command.cache.empty() &&
             IsDirectory(JoinPath(command.model.path, "eval/answers"))) {
    WriteFileAtomically(JoinPath(command.model.path, "eval/results.json"), DumpLine(json, 2));
  }
  if (command.json) {
    WriteToStdout(DumpLine(json, 2));
  } else {
    WriteToStdout(Str(
        command.model.path, ", num_fewshot: ",
        command.few_shot < 0 ? std::string("as the tasks say") : Str(command.few_shot), ", limit: ",
        command.limit > 0 ? Str(command.limit) : std::string("none"), "\n", ResultTable(results)));
  }
}

// One task on all ranks; rank 0 shows how far its own part is.
TaskResult RunOneTask(const TasksCommand& command, LoadedModel& model, const Task& task,
                      const TaskRunOptions& options, const std::optional<AnswerFile>& file,
                      CommGroup* group) {
  const bool root = group == nullptr || group->root();
  const auto start = StopClock::now();
  std::optional<ProgressBar> progress;
  const auto answers = RunTaskOnRanks(
      model.decoder, model.NeedTokenizer(), task, options, file, group,
      [&](int64_t done, int64_t total) {
        if (!root) return;
        if (!progress) {
          progress.emplace(task.config().name, static_cast<uint64_t>(total), "documents");
        }
        progress->Update(static_cast<uint64_t>(done));
      });
  if (progress) progress->Finish();
  LogInfo("eval", Str(task.config().name, ": ", answers.size(), " documents in ",
                      Fixed(SecondsSince(start), 1), " s"));
  DoTogether(group, [&] {
    if (root && !command.samples.empty()) WriteSamples(command.samples, task, answers);
  });
  return MakeTaskResult(task, answers);
}

void RunTasks(TasksCommand& command) {
  CheckTasksCommand(command);
  const std::unique_ptr<CommGroup> group = JoinRanksForEvaluation(&command.model.device);
  std::vector<Task> tasks;
  LoadedModel model;
  DoTogether(group.get(), [&] {
    // Everything that can be wrong with the tasks comes before the model is loaded.
    for (const std::string& name : command.tasks) {
      tasks.push_back(OpenTask(name, command.places.task_dir, command.places.data_dirs,
                               command.few_shot, command.sets));
      tasks.back().Requests(0);
    }
    model = LoadModel(command.model);
    model.NeedTokenizer();
  });
  const TaskRunOptions options = MakeRunOptions(command, model);
  const uint64_t fingerprint = command.no_cache ? 0 : ModelFingerprint(model);
  LogInfo("eval", Str(model.folder, " (", model.weights, " weights, ", command.model.precision,
                      ") on ", DescribeDevices(model.device, group.get())));
  const auto start = StopClock::now();
  std::vector<TaskResult> results;
  for (const Task& task : tasks) {
    const std::optional<AnswerFile> file =
        AnswersOf(command, CacheSettings(task, model, fingerprint, command, options));
    results.push_back(RunOneTask(command, model, task, options, file, group.get()));
  }
  DoTogether(group.get(), [&] {
    if (group != nullptr && !group->root()) return;
    const int ranks = group == nullptr ? 1 : group->world();
    ReportTasks(command, results, AboutRun(model, command, options, ranks, SecondsSince(start)));
  });
}

void PrintTasks(const TasksCommand& command) {
  std::string text;
  OrderedJson json = OrderedJson::array();
  for (const std::string& name : ListTasks(command.places.task_dir)) {
    const TaskConfig config = LoadTaskConfig(JoinPath(command.places.task_dir, name + ".yaml"));
    bool there = true;
    try {
      FindTaskFiles(config.data, command.places.data_dirs);
    } catch (const IoError&) {
      there = false;
    }
    text += Str(name, std::string(name.size() < 18 ? 18 - name.size() : 1, ' '),
                there ? "" : "(no data) ", config.about, "\n");
    json.push_back({{"name", name},
                    {"version", config.version},
                    {"kind", config.kind},
                    {"metrics", config.metrics},
                    {"data", there},
                    {"about", config.about}});
  }
  WriteToStdout(command.json ? DumpLine(json, 2) : text);
}

}  // namespace

void AddEvalTasksCommand(CLI::App& eval) {
  const auto options = std::make_shared<TasksCommand>();
  CLI::App* command = eval.add_subcommand(
      "tasks", "Accuracy and perplexity on downstream tasks, as lm-evaluation-harness has them");
  options->model.AddOptions(*command);
  command->get_option("CHECKPOINT")->required(false);
  command->add_option("--tasks", options->tasks, "Names, or paths of YAML files, of tasks")
      ->type_name("A,B,...")
      ->delimiter(',')
      ->allow_extra_args(false);
  const auto list_flag = std::make_shared<bool>(false);
  command->add_flag("--list", *list_flag, "Print the tasks there are and leave");
  command->add_option("--few-shot", options->few_shot, "Examples before each document")
      ->type_name("N")
      ->check(CLI::Range(0, 1000000));
  command->add_option("--limit", options->limit, "The first K documents of each task; 0 = all")
      ->type_name("K")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40))
      ->capture_default_str();
  command->add_option("--set", options->sets, "Change a key of a task's file")
      ->type_name("TASK.KEY=VALUE")
      ->allow_extra_args(false);
  command->add_option("--task-dir", options->places.task_dir, "Folder of the tasks' YAML files")
      ->type_name("DIR")
      ->capture_default_str();
  command
      ->add_option("--data-dir", options->places.data_dirs,
                   "Folders in which the tasks' data are looked for (default: data/tasks, then "
                   "../shared/data)")
      ->type_name("DIR")
      ->allow_extra_args(false);
  command
      ->add_option("--mode", options->mode,
                   "parallel: all tokens of a text at once, in passes; sequential: token by token, "
                   "exact (default: as the model's config says)")
      ->check(CLI::IsMember({"parallel", "sequential"}));
  command
      ->add_option("--passes", options->passes,
                   "Passes of the parallel order: N in all, or M,B (default: the model's)")
      ->type_name("N");
  command
      ->add_option("--bos", options->bos,
                   "Texts begin with <s> (auto: if tokenizer_config.json says so)")
      ->check(CLI::IsMember({"auto", "yes", "no"}))
      ->capture_default_str();
  command
      ->add_option("--max-length", options->max_length,
                   "Tokens of a request at most, cut at the start; 0 = the model's positions")
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option("--batch-tokens", options->batch_tokens,
                   "Tokens of a batch at most; 0 = as suits the device")
      ->type_name("N")
      ->capture_default_str();
  command->add_flag("--no-prefix-sharing", options->no_prefix_sharing,
                    "Run what requests begin with in common for each of them");
  command->add_flag("--batch-invariant", options->batch_invariant,
                    "Run every request by itself: scores are the same to the last bit, slowly");
  command
      ->add_option("--cache", options->cache,
                   "Folder that keeps the answers, from which an interrupted evaluation goes on "
                   "(default: eval/answers in CHECKPOINT)")
      ->type_name("DIR");
  command->add_flag("--no-cache", options->no_cache, "Keep no answers and use none");
  command
      ->add_option("--out", options->out,
                   "Write the results as JSON (default: eval/results.json in CHECKPOINT)")
      ->type_name("FILE");
  command
      ->add_option("--log-samples", options->samples,
                   "Write samples_<task>.jsonl, a line a document, into a folder")
      ->type_name("DIR");
  command->add_flag("--json", options->json, "Print the results as JSON");
  command->footer(
      "Examples:\n"
      "  ckv eval tasks experiments/demo/runs/first --tasks hellaswag,arc_easy --out results.json\n"
      "  ckv eval tasks MODEL --tasks piqa --set piqa.data=[my/valid.jsonl] --few-shot 5\n\n"
      "Under torchrun or srun all ranks share the documents, and the first prints and writes.\n"
      "docs/tasks.md says how to add a task.");
  command->callback([options, list_flag] {
    if (*list_flag) {
      PrintTasks(*options);
      return;
    }
    if (options->model.path.empty()) {
      throw ConfigError("", "CHECKPOINT is required; see 'ckv eval tasks --help'");
    }
    RunTasks(*options);
  });
}

}  // namespace ckv
