#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/load_model.h"
#include "app/output.h"
#include "base/error.h"
#include "base/log.h"
#include "base/random.h"
#include "gen/generator.h"
#include "gen/text_stream.h"
#include "nn/device.h"
#include "text/utf8.h"

namespace ckv {
namespace {

struct GenerateCommand {
  ModelArguments model;
  std::vector<std::string> prompts;
  std::vector<std::string> prompt_ids;
  int64_t max_tokens = 128;
  SamplingOptions sampling;
  int64_t seed = 0;
  int64_t samples = 1;
  int64_t batch_size = 16;
  bool ignore_eos = false;
  std::string bos = "auto";
  CommandOutput output;
};

// One continuation that is asked for.
struct Continuation {
  size_t prompt = 0;  // which prompt, from 0
  int64_t sample = 0;
  GenerateRequest request;
};

std::vector<int32_t> ParseIds(const std::string& text) {
  std::vector<int32_t> ids;
  size_t at = 0;
  while ((at = text.find_first_not_of(", ", at)) != std::string::npos) {
    const size_t end = std::min(text.find_first_of(", ", at), text.size());
    const std::string word = text.substr(at, end - at);
    if (word.size() > 9 || word.find_first_not_of("0123456789") != std::string::npos) {
      throw ConfigError("--prompt-ids", Str("'", word, "' is not a token id"));
    }
    ids.push_back(std::stoi(word));
    at = end;
  }
  return ids;
}

// What prompts become, and what the model's output is in characters. Without a tokenizer tokens
// are written as numbers.
class PromptBuilder {
 public:
  PromptBuilder(const GenerateCommand& command, const LoadedModel& model)
      : config_(model.decoder->config()), tokenizer_(model.tokenizer.get()) {
    bos_ = config_.bos_token_id.value_or(-1);
    eos_ = config_.eos_token_id.value_or(-1);
    if (tokenizer_ != nullptr) {
      if (tokenizer_->bos_id() >= 0) bos_ = tokenizer_->bos_id();
      if (tokenizer_->eos_id() >= 0) eos_ = tokenizer_->eos_id();
    }
    begins_with_bos_ = command.bos == "yes" || (command.bos == "auto" && model.begins_with_bos);
    if (begins_with_bos_ && bos_ < 0) throw ConfigError("--bos", "the model has no <s>");
  }

  // An empty text is the start of a document: what follows <s>, or the </s> of the document before.
  std::vector<int32_t> OfText(const std::string& text) const {
    std::vector<int32_t> ids = tokenizer_->Encode(text);
    if (begins_with_bos_) ids.insert(ids.begin(), static_cast<int32_t>(bos_));
    if (!ids.empty()) return ids;
    const int64_t start = eos_ >= 0 ? eos_ : bos_;
    if (start < 0) {
      throw ConfigError("--prompt", "is needed: the model has neither <s> nor </s> to start from");
    }
    return {static_cast<int32_t>(start)};
  }

  std::vector<int32_t> StopIds() const {
    std::vector<int32_t> ids;
    if (eos_ >= 0) ids.push_back(static_cast<int32_t>(eos_));
    if (config_.eos_token_id.has_value() && *config_.eos_token_id != eos_) {
      ids.push_back(static_cast<int32_t>(*config_.eos_token_id));
    }
    return ids;
  }

 private:
  const DecoderConfig& config_;
  const Tokenizer* tokenizer_;
  int64_t bos_ = -1;
  int64_t eos_ = -1;
  bool begins_with_bos_ = false;
};

// The text of a continuation as its tokens come. The prompt goes through the same decoder, for its
// last bytes and the space behind it decide how the continuation reads.
class TextOfTokens {
 public:
  TextOfTokens(const Tokenizer* tokenizer, const std::vector<int32_t>& prompt) {
    if (tokenizer == nullptr) {
      prompt_text_ = IdsText(prompt);
      return;
    }
    decoder_ = std::make_unique<StreamingDecoder>(*tokenizer);
    for (const int32_t id : prompt) prompt_text_ += decoder_->Push(id);
  }

  const std::string& prompt_text() const { return prompt_text_; }
  std::string Push(int32_t id) { return decoder_ != nullptr ? decoder_->Push(id) : Str(" ", id); }
  std::string Finish() { return decoder_ != nullptr ? decoder_->Finish() : ""; }

 private:
  std::unique_ptr<StreamingDecoder> decoder_;
  std::string prompt_text_;
};

// Writes continuations in their order while several grow at once: the first unfinished one as it
// comes, those behind it when their turn comes.
class OrderedText {
 public:
  using Sink = std::function<void(const std::string&)>;
  OrderedText(size_t count, Sink sink) : waiting_(count), done_(count), sink_(std::move(sink)) {}

  void Add(size_t index, const std::string& text) {
    if (index == current_) {
      if (!text.empty()) sink_(text);
    } else {
      waiting_[index] += text;
    }
  }

  void Finish(size_t index) {
    Add(index, "\n");
    done_[index] = true;
    while (current_ < done_.size() && done_[current_]) {
      ++current_;
      if (current_ < waiting_.size() && !waiting_[current_].empty()) sink_(waiting_[current_]);
    }
  }

 private:
  std::vector<std::string> waiting_;
  std::vector<bool> done_;
  Sink sink_;
  size_t current_ = 0;
};

void WriteToStdout(const std::string& text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (!written || std::fflush(stdout) != 0) throw IoError("stdout", "cannot write", errno);
}

std::vector<Continuation> Continuations(const GenerateCommand& command,
                                        const std::vector<std::vector<int32_t>>& prompts) {
  std::vector<Continuation> list;
  for (size_t prompt = 0; prompt < prompts.size(); ++prompt) {
    for (int64_t sample = 0; sample < command.samples; ++sample) {
      const uint64_t seed = MixBits(MixBits(static_cast<uint64_t>(command.seed)) + list.size());
      list.push_back({prompt, sample, {prompts[prompt], seed}});
    }
  }
  return list;
}

// How many of `list`, from `first` on, make one batch.
size_t TakeBatch(const std::vector<Continuation>& list, size_t first, size_t most,
                 bool equal_lengths) {
  size_t count = 1;
  while (count < most && first + count < list.size()) {
    const bool equal =
        list[first + count].request.prompt.size() == list[first].request.prompt.size();
    if (equal_lengths && !equal) break;
    ++count;
  }
  return count;
}

void CheckGenerateCommand(const GenerateCommand& command) {
  command.sampling.Check();
  if (command.max_tokens < 1) {
    throw ConfigError("--max-tokens", Str(command.max_tokens, ", but must be >= 1"));
  }
  if (command.samples < 1)
    throw ConfigError("--samples", Str(command.samples, ", but must be >= 1"));
  if (command.batch_size < 1) {
    throw ConfigError("--batch-size", Str(command.batch_size, ", but must be >= 1"));
  }
}

// The prompts of a command, those given as text first.
struct Prompts {
  std::vector<std::string> texts;
  std::vector<std::vector<int32_t>> ids;
};

Prompts ReadPrompts(const GenerateCommand& command, const LoadedModel& model,
                    const PromptBuilder& builder) {
  Prompts prompts;
  prompts.texts = command.prompts;
  if (command.prompts.empty() && command.prompt_ids.empty()) prompts.texts.emplace_back();
  if (!prompts.texts.empty()) model.NeedTokenizer();
  for (const std::string& text : prompts.texts) prompts.ids.push_back(builder.OfText(text));
  for (const std::string& ids : command.prompt_ids) prompts.ids.push_back(ParseIds(ids));
  for (const auto& ids : prompts.ids) CheckPrompt(ids, model.decoder->config());
  return prompts;
}

// All continuations of a command: makes them, batch after batch, and writes them as they come.
class GenerationRun {
 public:
  GenerationRun(const GenerateCommand& command, LoadedModel& model, const Prompts& prompts,
                OrderedText::Sink sink)
      : command_(command),
        model_(model),
        prompts_(prompts),
        list_(Continuations(command, prompts.ids)),
        new_texts_(list_.size()),
        written_(list_.size(), std::move(sink)) {}

  void Run(const GenerateOptions& options) {
    WritePrompts();
    // Rows of a batch would share the longest one's frequencies.
    const bool equal_lengths = model_.decoder->config().rope.scaling == "dynamic";
    size_t count = 0;
    for (size_t first = 0; first < list_.size(); first += count) {
      count = TakeBatch(list_, first, static_cast<size_t>(command_.batch_size), equal_lengths);
      RunBatch(first, count, options);
    }
  }

  int64_t NumTokens() const {
    int64_t count = 0;
    for (const Generation& result : results_) count += static_cast<int64_t>(result.tokens.size());
    return count;
  }

  OrderedJson Result() const {
    OrderedJson json;
    json["model"] = model_.folder;
    json["weights"] = model_.weights;
    json["temperature"] = command_.sampling.temperature;
    json["top_k"] = command_.sampling.top_k;
    json["top_p"] = command_.sampling.top_p;
    json["seed"] = command_.seed;
    json["generations"] = OrderedJson::array();
    for (size_t i = 0; i < list_.size(); ++i) json["generations"].push_back(ResultOf(i));
    return json;
  }

 private:
  void WritePrompts() {
    for (size_t i = 0; i < list_.size(); ++i) {
      decoders_.emplace_back(model_.tokenizer.get(), list_[i].request.prompt);
      if (list_.size() > 1) {
        written_.Add(i, Str(i == 0 ? "" : "\n", "[prompt ", list_[i].prompt + 1, ", sample ",
                            list_[i].sample + 1, "]\n"));
      }
      written_.Add(i, decoders_[i].prompt_text());
    }
  }

  void RunBatch(size_t first, size_t count, const GenerateOptions& options) {
    std::vector<GenerateRequest> requests;
    for (size_t i = first; i < first + count; ++i) requests.push_back(list_[i].request);
    GenerateHooks hooks;
    hooks.on_token = [&](size_t row, int32_t id) {
      Write(first + row, decoders_[first + row].Push(id));
      return true;
    };
    hooks.on_finish = [&](size_t row, const Generation&) {
      Write(first + row, decoders_[first + row].Finish());
      written_.Finish(first + row);
    };
    for (Generation& result : Generate(model_.decoder, requests, options, hooks)) {
      results_.push_back(std::move(result));
    }
  }

  void Write(size_t index, const std::string& piece) {
    new_texts_[index] += piece;
    written_.Add(index, piece);
  }

  OrderedJson ResultOf(size_t index) const {
    const Continuation& asked = list_[index];
    const bool as_text = asked.prompt < prompts_.texts.size();
    OrderedJson json;
    json["prompt"] =
        as_text ? ReplaceInvalidUtf8(prompts_.texts[asked.prompt]) : decoders_[index].prompt_text();
    json["prompt_tokens"] = asked.request.prompt;
    json["sample"] = asked.sample;
    json["text"] = new_texts_[index];
    json["tokens"] = results_[index].tokens;
    json["log_probs"] = results_[index].log_probs;
    json["finish"] = FinishName(results_[index].finish);
    return json;
  }

  const GenerateCommand& command_;
  LoadedModel& model_;
  const Prompts& prompts_;
  std::vector<Continuation> list_;
  std::vector<TextOfTokens> decoders_;
  std::vector<std::string> new_texts_;  // without the prompts
  std::vector<Generation> results_;
  OrderedText written_;
};

void RunGenerate(const GenerateCommand& command) {
  CheckGenerateCommand(command);
  LoadedModel model = LoadModel(command.model);
  const PromptBuilder builder(command, model);
  const Prompts prompts = ReadPrompts(command, model, builder);
  GenerateOptions options;
  options.max_new_tokens = command.max_tokens;
  options.sampling = command.sampling;
  if (!command.ignore_eos) options.stop_ids = builder.StopIds();
  if (model.tokenizer != nullptr) options.num_ids = model.tokenizer->vocab_size();

  const bool live = !command.output.json() && !command.output.to_file();
  std::string collected;
  GenerationRun run(command, model, prompts, [&](const std::string& piece) {
    if (live) {
      WriteToStdout(piece);
    } else {
      collected += piece;
    }
  });
  const auto start = std::chrono::steady_clock::now();
  run.Run(options);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  LogInfo("generate", Str(run.NumTokens(), " tokens in ", HumanSeconds(seconds), " on ",
                          DeviceName(model.device)));
  if (!live) command.output.Print(run.Result(), collected);
}

}  // namespace

void AddGenerateCommand(CLI::App& program) {
  const auto options = std::make_shared<GenerateCommand>();
  CLI::App* command = program.add_subcommand("generate", "Let a model continue texts");
  options->model.AddOptions(*command);
  command
      ->add_option("--prompt", options->prompts,
                   "Text to continue; may be repeated (without: a new document)")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  command
      ->add_option("--prompt-ids", options->prompt_ids,
                   "Token ids to continue, e.g. 1,17,4; may be repeated")
      ->type_name("IDS")
      ->allow_extra_args(false);
  command->add_option("--max-tokens", options->max_tokens, "New tokens at most")
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option("--temperature", options->sampling.temperature,
                   "Divides the logits; 0 = always the likeliest token")
      ->type_name("X")
      ->capture_default_str();
  command
      ->add_option("--top-k", options->sampling.top_k,
                   "Draw from the N likeliest tokens; 0 = from all")
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option("--top-p", options->sampling.top_p,
                   "Draw from the likeliest tokens that together hold this share")
      ->type_name("X")
      ->capture_default_str();
  command->add_option("--seed", options->seed, "Of the draws")
      ->type_name("N")
      ->capture_default_str();
  command->add_option("-n,--samples", options->samples, "Continuations of each prompt")
      ->type_name("N")
      ->capture_default_str();
  command->add_option("--batch-size", options->batch_size, "Continuations made at once")
      ->type_name("N")
      ->capture_default_str();
  command->add_flag("--ignore-eos", options->ignore_eos, "Go on after the end of sentence");
  command
      ->add_option("--bos", options->bos,
                   "Texts begin with <s> (auto: if tokenizer_config.json says so)")
      ->check(CLI::IsMember({"auto", "yes", "no"}))
      ->capture_default_str();
  options->output.AddOptions(*command);
  command->footer(
      "Text comes on stdout as it is made. --json gives tokens and their log-probabilities (at\n"
      "temperature 1, among all tokens) as well.\n\n"
      "Example:\n"
      "  ckv generate experiments/demo/runs/first --prompt \"Once upon a time\" --temperature 0.8");
  command->callback([options] { RunGenerate(*options); });
}

}  // namespace ckv
