#include <algorithm>
#include <memory>

#include <CLI/CLI.hpp>

#include "app/command.h"
#include "app/generate.h"
#include "app/sampling_options.h"
#include "app/step_options.h"
#include "base/error.h"
#include "text/stop_text.h"

namespace ckv {
namespace {

void CheckAtLeastOne(int64_t value, const char* option) {
  if (value < 1) throw ConfigError(option, Str(value, ", but must be >= 1"));
}

void RunGenerate(const GenerateArguments& arguments) {
  arguments.Check();
  LoadedModel model = LoadModel(arguments.model);
  const PromptBuilder builder(model, arguments.bos);
  if (!arguments.stops.empty()) model.NeedTokenizer();
  if (arguments.jsonl.empty()) {
    GenerateText(arguments, model, builder);
  } else {
    GenerateJsonl(arguments, model, builder);
  }
}

void AddPromptOptions(CLI::App& command, GenerateArguments& arguments) {
  CLI::Option* prompt = command
                            .add_option("--prompt", arguments.prompts,
                                        "Text to continue, or - for stdin; may be repeated "
                                        "(without: a new document)")
                            ->type_name("TEXT")
                            ->allow_extra_args(false);
  CLI::Option* file =
      command
          .add_option("--prompt-file", arguments.prompt_files,
                      "File with a text to continue, or - for stdin; may be repeated")
          ->type_name("FILE")
          ->allow_extra_args(false);
  CLI::Option* ids = command
                         .add_option("--prompt-ids", arguments.prompt_ids,
                                     "Token ids to continue, e.g. 1,17,4; may be repeated")
                         ->type_name("IDS")
                         ->allow_extra_args(false);
  CLI::Option* jsonl = command
                           .add_option("--jsonl", arguments.jsonl,
                                       "File of JSON lines with a prompt each, or - for stdin; "
                                       "gives JSON lines")
                           ->type_name("FILE")
                           ->excludes(prompt)
                           ->excludes(file)
                           ->excludes(ids);
  command
      .add_option("--prompt-field", arguments.fields.prompt,
                  "Field of a JSON line with the prompt: text or token ids")
      ->type_name("NAME")
      ->capture_default_str()
      ->needs(jsonl);
  command
      .add_option("--result-field", arguments.fields.results,
                  "Field that the continuations are put into")
      ->type_name("NAME")
      ->capture_default_str()
      ->needs(jsonl);
  command
      .add_option("--bos", arguments.bos,
                  "Texts begin with <s> (auto: if tokenizer_config.json says so)")
      ->check(CLI::IsMember({"auto", "yes", "no"}))
      ->capture_default_str();
}

void AddEndOptions(CLI::App& command, GenerateArguments& arguments) {
  command.add_option("--max-tokens", arguments.max_tokens, "New tokens at most")
      ->type_name("N")
      ->capture_default_str();
  command
      .add_option("--stop", arguments.stops,
                  "End before this text, however it is cut into tokens; may be repeated")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  command.add_option("--stop-ids", arguments.stop_ids, "End at these token ids too, e.g. 13,2")
      ->type_name("IDS");
  command.add_flag("--ignore-eos", arguments.ignore_eos, "Go on after the end of sentence");
}

void AddSearchOptions(CLI::App& command, GenerateArguments& arguments) {
  CLI::Option* beams =
      command
          .add_option("--beams", arguments.beams,
                      "Beam search of this width instead of sampling; -n of the best are given")
          ->type_name("N");
  command
      .add_option("--length-penalty", arguments.length_penalty,
                  "Beam search: the score is the log-probability over length to this power")
      ->type_name("X")
      ->capture_default_str()
      ->needs(beams);
  std::vector<CLI::Option*> draws = AddSamplingOptions(command, arguments.sampling);
  draws.push_back(command.add_option("--seed", arguments.seed, "Of the draws")
                      ->type_name("N")
                      ->capture_default_str());
  draws.push_back(command
                      .add_option("--logprobs", arguments.log_probs,
                                  "Give the N likeliest tokens and their log-probabilities at "
                                  "every step (in JSON)")
                      ->type_name("N")
                      ->capture_default_str());
  draws.push_back(AddStepsOption(command, arguments.steps));
  draws.push_back(
      command.add_option("--batch-size", arguments.batch_size, "Continuations made at once")
          ->type_name("N")
          ->capture_default_str());
  for (CLI::Option* option : draws) option->excludes(beams);
}

}  // namespace

void GenerateArguments::Check() const {
  sampling.Check();
  CheckAtLeastOne(max_tokens, "--max-tokens");
  CheckAtLeastOne(samples, "--samples");
  CheckAtLeastOne(batch_size, "--batch-size");
  if (beams < 0) throw ConfigError("--beams", Str(beams, ", but must be >= 1"));
  if (beams > 0 && samples > beams) {
    throw ConfigError("--samples", Str(samples, ", but must be from 1 to the ", beams, " beams"));
  }
  if (log_probs < 0) throw ConfigError("--logprobs", Str(log_probs, ", but must be >= 0"));
  if (log_probs > 0 && jsonl.empty() && !output.json()) {
    throw ConfigError("--logprobs", "are given in JSON only; add --json or --jsonl");
  }
  const auto from_stdin = [](const std::vector<std::string>& names) {
    return std::count(names.begin(), names.end(), "-");
  };
  if (from_stdin(prompts) + from_stdin(prompt_files) > 1) {
    throw ConfigError("--prompt", "- is given more than once, but stdin can be read only once");
  }
  CheckStopStrings(stops);
  ParseIds(stop_ids, "--stop-ids");
}

ContinueSettings SettingsOf(const GenerateArguments& arguments, const LoadedModel& model,
                            const PromptBuilder& builder) {
  ContinueSettings settings;
  settings.samples = arguments.samples;
  settings.num_beams = arguments.beams;
  settings.length_penalty = arguments.length_penalty;
  GenerateOptions& options = settings.options;
  options.max_new_tokens = arguments.max_tokens;
  options.sampling = arguments.sampling;
  options.prefill = arguments.prefill.Run(model.decoder->config());
  options.steps = arguments.steps;
  options.top_log_probs = arguments.log_probs;
  options.max_rows = arguments.batch_size;
  options.stop_ids = ParseIds(arguments.stop_ids, "--stop-ids");
  if (!arguments.ignore_eos) {
    for (const int32_t id : builder.EndIds()) options.stop_ids.push_back(id);
  }
  if (model.tokenizer != nullptr) options.num_ids = model.tokenizer->vocab_size();
  return settings;
}

void AddGenerateCommand(CLI::App& program) {
  const auto arguments = std::make_shared<GenerateArguments>();
  CLI::App* command = program.add_subcommand("generate", "Let a model continue texts");
  arguments->model.AddOptions(*command);
  AddPromptOptions(*command, *arguments);
  AddEndOptions(*command, *arguments);
  AddSearchOptions(*command, *arguments);
  command->add_option("-n,--samples", arguments->samples, "Continuations of each prompt")
      ->type_name("N")
      ->capture_default_str();
  arguments->prefill.AddOptions(*command);
  arguments->output.AddOptions(*command);
  command->footer(
      "Text comes on stdout as it is made. --json gives tokens and their log-probabilities (at\n"
      "temperature 1, among all tokens) as well. With --jsonl each line comes back with its\n"
      "continuations; its fields max_tokens, seed and stop replace the options. A job with --out\n"
      "that was stopped goes on when it is called again.\n\n"
      "Examples:\n"
      "  ckv generate experiments/demo/runs/first --prompt \"Once upon a time\" --temperature 0.8\n"
      "  ckv generate experiments/demo/runs/first --jsonl prompts.jsonl --out results.jsonl");
  command->callback([arguments] { RunGenerate(*arguments); });
}

}  // namespace ckv
