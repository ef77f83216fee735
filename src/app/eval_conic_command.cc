// `ckv eval conic`: a model's answers to Conic10K's problems, generated and scored.
#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/conic_commands.h"
#include "app/conic_outputs.h"
#include "app/conic_report.h"
#include "app/continue_prompts.h"
#include "app/load_model.h"
#include "app/model_fingerprint.h"
#include "app/output.h"
#include "app/prefill_options.h"
#include "app/prompt_builder.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/progress.h"
#include "config/config.h"
#include "gen/generator.h"
#include "nn/device.h"
#include "text/chat_template.h"

namespace ckv {
namespace {

struct EvalConicCommand {
  ModelArguments model;
  std::string data;
  std::string task = "parsing";
  std::string mode = "compat";
  std::string arithmetic = "auto";
  std::string train;
  std::string predictions;
  std::string rows;
  std::string bos = "auto";
  std::string chat_template;  // "" = the checkpoint's, if it has one
  int64_t max_length = 1024;
  int64_t batch_size = 64;
  int64_t limit = 0;
  bool zero_shot = false;
  CommandOutput output;
};

std::string PromptOf(const conic::Problem& problem, const EvalConicCommand& command,
                     conic::Task task) {
  return command.zero_shot ? conic::ReasoningInstruction(problem.text)
                           : conic::MakePrompt(problem, task).prompt;
}

void WritePredictions(const std::vector<ConicOutput>& outputs, conic::Task task,
                      const std::string& path) {
  if (path.empty()) return;
  std::string lines;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const OrderedJson json = {{"index", i},
                              {"pred", conic::ReadOutput(outputs[i].text, task)},
                              {"output", outputs[i].text},
                              {"finish", outputs[i].finish}};
    lines += json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
  }
  WriteFileAtomically(path, lines);
}

// How prompts become tokens: as texts, or as messages of a chat template.
class ConicPrompts {
 public:
  ConicPrompts(const EvalConicCommand& command, const LoadedModel& model)
      : builder_(model, command.bos) {
    if (command.chat_template == "none") return;
    const bool given = !command.chat_template.empty();
    if (!given && model.chat_template.empty()) return;
    if (command.bos != "auto") {
      throw ConfigError("--bos",
                        "the chat template says how a prompt begins (--template none: "
                        "prompts without it)");
    }
    template_ = LoadChatTemplate(given ? command.chat_template : model.chat_template);
    chat_.emplace(*template_, model.NeedTokenizer());
  }

  PromptItem Of(const std::string& text) const {
    PromptItem item;
    item.ids = chat_.has_value() ? chat_->EncodeFirst(text) : builder_.OfText(text);
    if (template_.has_value()) item.stops = template_->stop;
    return item;
  }
  std::vector<int32_t> StopIds() const {
    std::vector<int32_t> ids = builder_.EndIds();
    if (!chat_.has_value()) return ids;
    for (const int32_t id : chat_->StopIds()) ids.push_back(id);
    return ids;
  }
  // "" without one.
  std::string TemplateText() { return template_.has_value() ? DumpYaml(*template_) : ""; }

 private:
  PromptBuilder builder_;
  std::optional<ChatTemplate> template_;
  std::optional<ChatEncoder> chat_;
};

// All that decides what outputs are, device and batch size left out.
OrderedJson OutputSettings(const std::vector<conic::Problem>& problems,
                           const EvalConicCommand& command, conic::Task task,
                           const LoadedModel& model, ConicPrompts& prompts) {
  uint64_t hash = 0;
  for (const conic::Problem& problem : problems) {
    hash = Fnv1a64(PromptOf(problem, command, task) + "\n", hash);
  }
  return {{"weights", HashHex(ModelFingerprint(model))},
          {"precision", command.model.precision},
          {"problems", problems.size()},
          {"prompts", HashHex(hash)},
          {"chat_template", prompts.TemplateText()},
          {"bos", command.bos},
          {"max_length", command.max_length}};
}

std::vector<ConicOutput> GenerateAll(const std::vector<conic::Problem>& problems,
                                     const EvalConicCommand& command, conic::Task task,
                                     LoadedModel& model) {
  ConicPrompts prompts(command, model);
  ConicOutputs outputs(command.predictions, OutputSettings(problems, command, task, model, prompts),
                       problems.size());
  if (outputs.num_kept() > 0) {
    LogInfo("eval", Str(outputs.num_kept(), " of ", problems.size(), " problems were done before"));
  }
  const DecoderConfig& config = model.decoder->config();
  const int64_t room = std::min(command.max_length, config.max_position_embeddings);
  std::vector<PromptItem> items;
  std::vector<size_t> index_of;
  for (size_t i = 0; i < problems.size(); ++i) {
    if (outputs.Has(i)) continue;
    PromptItem item = prompts.Of(PromptOf(problems[i], command, task));
    item.max_tokens = room - static_cast<int64_t>(item.ids.size());
    if (item.max_tokens < 1) continue;
    items.push_back(std::move(item));
    index_of.push_back(i);
  }
  ContinueSettings settings;
  settings.options.sampling.temperature = 0.0;
  settings.options.max_new_tokens = room;
  settings.options.max_rows = command.batch_size;
  settings.options.stop_ids = prompts.StopIds();
  settings.options.num_ids = model.NeedTokenizer().vocab_size();
  settings.options.prefill = PrefillArguments{}.Run(config);
  ProgressBar progress("generate", items.size(), "problems");
  uint64_t done = 0;
  ContinueHooks hooks;
  hooks.on_prompt = [&](size_t prompt, const std::vector<ContinuedText>& texts) {
    const ContinuedText& text = texts.front();
    outputs.Add(index_of[prompt],
                {text.text, FinishName(text.generation.finish), text.generation.tokens.size()});
    progress.Update(++done);
  };
  if (!items.empty()) ContinuePrompts(model, items, settings, hooks);
  progress.Finish();
  const std::vector<ConicOutput> all = outputs.All();
  WritePredictions(all, task, command.predictions);
  outputs.Remove();
  return all;
}

void CheckEvalConic(const EvalConicCommand& command) {
  if (command.max_length < 2) {
    throw ConfigError("--max-length", Str(command.max_length, ", but must be >= 2"));
  }
  if (command.batch_size < 1) {
    throw ConfigError("--batch-size", Str(command.batch_size, ", but must be >= 1"));
  }
  if (command.limit < 0) throw ConfigError("--limit", Str(command.limit, ", but must be >= 0"));
  if (command.zero_shot && command.task != "reasoning") {
    throw ConfigError("--zero-shot", "is for --task reasoning");
  }
}

void RunEvalConic(const EvalConicCommand& command) {
  CheckEvalConic(command);
  const conic::Task task = ConicTask(command.task);
  std::vector<conic::Problem> problems = conic::ReadProblems(command.data);
  if (command.limit > 0 && static_cast<size_t>(command.limit) < problems.size()) {
    problems.resize(static_cast<size_t>(command.limit));
  }
  ConicCheck check;
  check.task = task;
  check.mode = command.mode == "strict" ? conic::Mode::kStrict : conic::Mode::kCompat;
  check.arithmetic = command.arithmetic;
  for (const conic::Problem& problem : problems) {
    const std::string gold = task == conic::Task::kParsing ? conic::MakePrompt(problem, task).target
                                                           : conic::Trim(problem.answers);
    check.gold.push_back({gold, problem.text});
  }
  if (!command.train.empty()) {
    check.leaked = conic::FindLeaked(check.gold, conic::ReadProblems(command.train));
  }
  LoadedModel model = LoadModel(command.model);
  model.NeedTokenizer();
  LogInfo("eval", Str(model.folder, " (", model.weights, " weights, ", command.model.precision,
                      ") on ", DeviceName(model.device)));
  const auto start = std::chrono::steady_clock::now();
  const std::vector<ConicOutput> outputs = GenerateAll(problems, command, task, model);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  int64_t empty = 0;
  int64_t cut_off = 0;
  size_t tokens = 0;
  for (size_t i = 0; i < outputs.size(); ++i) {
    check.predicted.push_back(conic::ReadOutput(outputs[i].text, task));
    empty += check.predicted.back().empty() ? 1 : 0;
    cut_off += outputs[i].finish != "stop" ? 1 : 0;
    tokens += outputs[i].tokens;
  }
  ConicReport report = CheckConic(check);
  report.summary["model"] = model.folder;
  report.summary["kv_sharing"] = model.decoder->config().sharing().ToString();
  report.summary["data"] = command.data;
  report.summary["empty_outputs"] = empty;
  report.summary["cut_off_outputs"] = cut_off;
  report.summary["generated_tokens"] = tokens;
  report.summary["generation_seconds"] = seconds;
  if (!command.rows.empty()) {
    std::string rows;
    for (const OrderedJson& row : report.rows) {
      rows += row.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
    }
    WriteFileAtomically(command.rows, rows);
  }
  report.text += Str(empty, " empty outputs, ", cut_off, " not ended by the model; ", tokens,
                     " tokens in ", HumanSeconds(seconds), "\n");
  command.output.Print(report.summary, report.text);
}

}  // namespace

void AddEvalConic(CLI::App& eval) {
  const auto options = std::make_shared<EvalConicCommand>();
  CLI::App* command = eval.add_subcommand(
      "conic", "Conic10K: generate statements or answers for a file of problems, and score them");
  options->model.AddOptions(*command);
  command->add_option("--data", options->data, "Release file, e.g. test.json")
      ->type_name("FILE")
      ->required();
  command->add_option("--task", options->task, "What the model was trained for")
      ->check(CLI::IsMember({"parsing", "answer", "reasoning"}))
      ->capture_default_str();
  command->add_flag("--zero-shot", options->zero_shot,
                    "Reasoning: ask with the benchmark's instruction, for models that were not "
                    "trained on the task");
  command->add_option("--mode", options->mode, "Of the statement scorer")
      ->check(CLI::IsMember({"compat", "strict"}))
      ->capture_default_str();
  command->add_option("--arithmetic", options->arithmetic, "Of answers, as in 'ckv conic check'")
      ->check(CLI::IsMember({"auto", "exact", "points"}))
      ->capture_default_str();
  command
      ->add_option("--train", options->train,
                   "Release file: score also without rows whose text stands in it")
      ->type_name("FILE");
  command
      ->add_option("--predictions", options->predictions,
                   "Write the outputs as JSON lines, which 'ckv conic check' reads. What is done "
                   "lies in FILE.partial meanwhile: the same command goes on with it")
      ->type_name("FILE");
  command->add_option("--rows", options->rows, "Write a JSON line with the score of every row")
      ->type_name("FILE");
  command
      ->add_option("--template", options->chat_template,
                   "Ask as a message of this chat template; none = with the prompts themselves "
                   "(default: as the model was trained)")
      ->type_name("FILE");
  command->add_option("--bos", options->bos, "Prompts begin with <s>")
      ->check(CLI::IsMember({"auto", "yes", "no"}))
      ->capture_default_str();
  command->add_option("--max-length", options->max_length, "Tokens of prompt and output together")
      ->type_name("N")
      ->capture_default_str();
  command->add_option("--batch-size", options->batch_size, "Problems generated at once")
      ->type_name("N")
      ->capture_default_str();
  command->add_option("--limit", options->limit, "Only the first N problems; 0 = all")
      ->type_name("N")
      ->capture_default_str();
  options->output.AddOptions(*command);
  command->footer(
      "Greedy decoding. A problem whose prompt is too long counts with an empty output.\n\n"
      "Example:\n"
      "  ckv eval conic experiments/conic10k/runs/vanilla --data test.json --train train.json \\\n"
      "    --predictions predictions.jsonl --out scores.json --json");
  command->callback([options] { RunEvalConic(*options); });
}

}  // namespace ckv
