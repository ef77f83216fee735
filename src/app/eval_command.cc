#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/conic_commands.h"
#include "app/eval_commands.h"
#include "app/load_model.h"
#include "app/output.h"
#include "app/passes.h"
#include "app/train_ranks.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/progress.h"
#include "eval/perplexity.h"

namespace ckv {
namespace {

struct PerplexityCommand {
  ModelArguments model;
  std::string data;
  std::string mode;
  std::string passes;
  std::optional<int64_t> seq_len;
  std::optional<int64_t> stride;
  int64_t batch_size = 8;
  int64_t max_tokens = 0;
  bool reset_attention = false;
  bool count_line_ends = false;
  std::string bos = "auto";
  CommandOutput output;
};

// One order of running the model over the text.
struct OrderResult {
  std::string name;  // "parallel", "sequential"
  Passes passes;     // parallel
  PerplexitySums sums;
  PerplexityFigures figures;
  double seconds = 0.0;
};

// The data set or text file, and a tokenizer for counting, if there is any.
struct OpenedText {
  std::unique_ptr<EvalText> text;
  std::unique_ptr<Tokenizer> own_tokenizer;
  const Tokenizer* tokenizer = nullptr;
};

OpenedText OpenText(const PerplexityCommand& command, const LoadedModel& model) {
  OpenedText opened;
  opened.tokenizer = model.tokenizer.get();
  if (!FileExists(command.data)) throw IoError(command.data, "there is no such file or folder");
  if (!IsDirectory(command.data)) {
    const bool bos = command.bos == "yes" || (command.bos == "auto" && model.begins_with_bos);
    opened.text =
        std::make_unique<EvalText>(ReadEvalText(command.data, model.NeedTokenizer(), bos));
    return opened;
  }
  if (command.bos != "auto") {
    throw ConfigError("--bos", "is for text files; a data set holds the tokens it was made with");
  }
  if (opened.tokenizer == nullptr && HasTokenizerFile(command.data)) {
    opened.own_tokenizer = LoadTokenizer(command.data);
    opened.tokenizer = opened.own_tokenizer.get();
  }
  VocabularyInfo vocabulary{0, model.decoder->config().vocab_size};
  if (model.tokenizer != nullptr) {
    vocabulary = {model.tokenizer->Fingerprint(), model.tokenizer->vocab_size()};
  }
  opened.text = std::make_unique<EvalText>(
      std::make_shared<TokenDataset>(command.data, &vocabulary, /*verify=*/false));
  return opened;
}

PerplexityOptions WindowOptions(const PerplexityCommand& command, const LoadedModel& model) {
  const int64_t positions = model.decoder->config().max_position_embeddings;
  PerplexityOptions options;
  options.seq_len =
      command.seq_len.value_or(std::min(model.training_window.value_or(positions), positions));
  if (options.seq_len > positions) {
    throw ConfigError("--seq-len", Str(options.seq_len, ", but the model takes at most ", positions,
                                       " tokens (max_position_embeddings)"));
  }
  if (command.stride.has_value() && *command.stride < 1) {
    throw ConfigError("--stride", Str(*command.stride, ", but must be >= 1"));
  }
  options.stride = command.stride.value_or(0);
  options.batch_size = command.batch_size;
  options.max_tokens = command.max_tokens;
  options.reset_attention = command.reset_attention;
  return options;
}

// Adds up what the ranks have counted.
void SumOverRanks(CommGroup& group, PerplexitySums* sums) {
  const std::vector<double> mine = {sums->nats, static_cast<double>(sums->tokens),
                                    static_cast<double>(sums->correct)};
  std::vector<double> all(mine.size(), 0.0);
  for (const std::string& text : group.Gather(Json(mine).dump())) {
    const Json numbers = Json::parse(text);
    for (size_t i = 0; i < all.size(); ++i) {
      all[i] += numbers[i].is_null() ? std::nan("") : numbers[i].get<double>();
    }
  }
  sums->nats = all[0];
  sums->tokens = static_cast<int64_t>(all[1]);
  sums->correct = static_cast<int64_t>(all[2]);
  if (sums->tokens == 0) {
    throw ConfigError("--reset-attention", "every token starts a document: none can be predicted");
  }
}

OrderResult RunOrder(const std::string& name, const PerplexityCommand& command, LoadedModel& model,
                     const EvalText& text, PerplexityOptions options, CommGroup* group) {
  OrderResult result;
  result.name = name;
  if (name == "parallel") {
    const DecoderConfig& config = model.decoder->config();
    result.passes = command.passes.empty() ? Passes{config.forward_passes, config.backward_passes}
                                           : ParsePasses(command.passes);
    options.run.order = DecoderRun::Order::kParallel;
    options.run.forward_passes = result.passes.forward;
    options.run.backward_passes = result.passes.backward;
  } else {
    options.run.order = DecoderRun::Order::kSequential;
  }
  ProgressBar progress(name, static_cast<uint64_t>(std::max<int64_t>(NumTargets(text, options), 0)),
                       "tokens");
  const auto start = std::chrono::steady_clock::now();
  DoTogether(group, [&] {
    result.sums = SumPerplexity(model.decoder, text, options, [&](int64_t done) {
      progress.Update(static_cast<uint64_t>(done));
    });
  });
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  progress.Finish();
  if (group != nullptr) SumOverRanks(*group, &result.sums);
  if (!std::isfinite(result.sums.nats)) {
    throw FormatError(model.folder, "", "the model gives probabilities that are not finite");
  }
  return result;
}

void SetOptional(OrderedJson& json, const char* key, const std::optional<double>& value) {
  if (value.has_value()) json[key] = *value;
}

OrderedJson OrderJson(const OrderResult& result, bool iterative) {
  OrderedJson json;
  if (iterative && result.name == "parallel") {
    json["passes"] = {{"forward", result.passes.forward}, {"backward", result.passes.backward}};
  }
  const PerplexityFigures& figures = result.figures;
  json["nats_per_token"] = figures.nats_per_token;
  json["token_perplexity"] = figures.token_perplexity;
  SetOptional(json, "word_perplexity", figures.word_perplexity);
  SetOptional(json, "byte_perplexity", figures.byte_perplexity);
  SetOptional(json, "bits_per_byte", figures.bits_per_byte);
  json["accuracy"] = figures.accuracy;
  json["seconds"] = result.seconds;
  json["tokens_per_second"] =
      static_cast<double>(result.sums.tokens) / std::max(result.seconds, 1e-9);
  return json;
}

std::string AlignedLeft(const std::string& text, size_t width) {
  return text + std::string(text.size() < width ? width - text.size() : 1, ' ');
}

std::string FigureLine(const std::string& name, const std::vector<OrderResult>& results,
                       const std::function<std::optional<double>(const OrderResult&)>& pick,
                       int digits) {
  std::string line = AlignedLeft(name, 18);
  for (const OrderResult& result : results) {
    const std::optional<double> value = pick(result);
    if (!value.has_value()) return "";
    line += AlignedLeft(Fixed(*value, digits), 14);
  }
  return line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
}

std::string FigureTable(const std::vector<OrderResult>& results, bool iterative) {
  std::string text = AlignedLeft("", 18);
  for (const OrderResult& result : results) {
    const bool passes = iterative && result.name == "parallel";
    text += AlignedLeft(
        passes ? Str(result.name, " ", result.passes.forward, "+", result.passes.backward)
               : result.name,
        14);
  }
  text = text.substr(0, text.find_last_not_of(' ') + 1) + "\n";
  using Row = const OrderResult&;
  text += FigureLine(
      "token perplexity", results, [](Row r) { return r.figures.token_perplexity; }, 4);
  text += FigureLine(
      "word perplexity", results, [](Row r) { return r.figures.word_perplexity; }, 4);
  text += FigureLine(
      "byte perplexity", results, [](Row r) { return r.figures.byte_perplexity; }, 5);
  text += FigureLine(
      "bits per byte", results, [](Row r) { return r.figures.bits_per_byte; }, 5);
  text += FigureLine(
      "nats per token", results, [](Row r) { return r.figures.nats_per_token; }, 5);
  text += FigureLine(
      "accuracy %", results, [](Row r) { return 100.0 * r.figures.accuracy; }, 2);
  text += FigureLine(
      "seconds", results, [](Row r) { return r.seconds; }, 1);
  return text;
}

void CheckPerplexityCommand(const PerplexityCommand& command, const std::string& mode,
                            bool iterative) {
  if (command.passes.empty()) return;
  ParsePasses(command.passes);
  if (mode == "sequential") {
    throw ConfigError("--passes", "belongs to the parallel order, not to --mode sequential");
  }
  if (!iterative) {
    throw ConfigError("--passes",
                      "no layer of this model reads a layer above it, so one pass is exact");
  }
}

// What the command found, for both forms of output.
struct PerplexityReport {
  std::string data;
  PerplexityOptions windows;
  std::optional<TextCounts> counts;
  bool line_ends_are_words = false;
  std::vector<OrderResult> results;

  bool both() const { return results.size() == 2; }
  // Parallel less sequential.
  double Difference() const {
    return results[0].figures.nats_per_token - results[1].figures.nats_per_token;
  }
};

OrderedJson ReportJson(const PerplexityReport& report, const LoadedModel& model,
                       const std::string& precision) {
  const KvSharingSpec& sharing = model.decoder->config().sharing();
  OrderedJson json;
  json["model"] = model.folder;
  json["weights"] = model.weights;
  json["kv_sharing"] = sharing.ToString();
  json["iterative"] = sharing.cyclic();
  json["precision"] = precision;
  json["data"] = report.data;
  json["seq_len"] = report.windows.seq_len;
  json["stride"] = report.windows.Stride();
  json["reset_attention"] = report.windows.reset_attention;
  json["windows"] = report.results.front().sums.windows;
  json["tokens"] = report.results.front().sums.tokens;
  if (report.counts.has_value()) {
    json["words"] = report.counts->words;
    json["bytes"] = report.counts->bytes;
    if (report.counts->line_ends.has_value()) json["line_ends"] = *report.counts->line_ends;
  }
  json["line_ends_are_words"] = report.line_ends_are_words;
  for (const OrderResult& result : report.results) {
    json[result.name] = OrderJson(result, sharing.cyclic());
  }
  if (report.both()) {
    json["difference"] = {{"nats_per_token", report.Difference()},
                          {"perplexity_ratio", std::exp(report.Difference())}};
  }
  return json;
}

std::string ReportText(const PerplexityReport& report, const LoadedModel& model) {
  const bool iterative = model.decoder->config().sharing().cyclic();
  const PerplexitySums& sums = report.results.front().sums;
  std::string text = Str(model.folder, " on ", report.data, "\n", sums.tokens, " tokens");
  if (report.counts.has_value()) {
    text += Str(", ", report.counts->words, " words");
    if (report.line_ends_are_words) text += Str(" and ", *report.counts->line_ends, " line ends");
    text += Str(", ", report.counts->bytes, " bytes");
  }
  text += Str("; ", sums.windows, " windows of ", report.windows.seq_len, " tokens, ",
              report.windows.Stride(), " apart\n\n", FigureTable(report.results, iterative));
  if (report.both()) {
    char line[128];
    std::snprintf(line, sizeof(line),
                  "\nparallel - sequential: %+.3e nats per token, perplexities as %.6f : 1\n",
                  report.Difference(), std::exp(report.Difference()));
    text += line;
  }
  if (!iterative) {
    text += "\nNo layer reads a layer above it: the parallel order is exact in one pass.\n";
  }
  return text;
}

void RunPerplexity(PerplexityCommand& command) {
  const std::unique_ptr<CommGroup> group = JoinRanksForEvaluation(&command.model.device);
  LoadedModel model;
  DoTogether(group.get(), [&] { model = LoadModel(command.model); });
  const DecoderConfig& config = model.decoder->config();
  const std::string mode = !command.mode.empty() ? command.mode
                           : config.sequential   ? "sequential"
                                                 : "parallel";
  CheckPerplexityCommand(command, mode, config.sharing().cyclic());
  PerplexityReport report;
  report.data = command.data;
  report.windows = WindowOptions(command, model);
  if (group != nullptr) {
    report.windows.rank = group->rank();
    report.windows.world = group->world();
  }
  report.line_ends_are_words = command.count_line_ends;
  const OpenedText opened = OpenText(command, model);
  if (command.count_line_ends && opened.tokenizer == nullptr) model.NeedTokenizer();
  LogInfo("eval", Str(model.folder, " (", model.weights, " weights, ", command.model.precision,
                      ") on ", DescribeDevices(model.device, group.get())));

  for (const std::string name : {"parallel", "sequential"}) {
    if (mode != "both" && mode != name) continue;
    report.results.push_back(
        RunOrder(name, command, model, *opened.text, report.windows, group.get()));
  }
  report.counts =
      opened.text->CountsOfTargets(NumTargets(*opened.text, report.windows), opened.tokenizer);
  for (OrderResult& result : report.results) {
    result.figures = Figures(result.sums, report.counts, command.count_line_ends);
  }
  if (group != nullptr && !group->root()) return;
  command.output.Print(ReportJson(report, model, command.model.precision),
                       ReportText(report, model));
}

void AddPerplexityCommand(CLI::App& eval) {
  const auto options = std::make_shared<PerplexityCommand>();
  CLI::App* command = eval.add_subcommand(
      "perplexity", "Perplexity a token, word and byte, and bits a byte, of a model on a text");
  options->model.AddOptions(*command);
  command
      ->add_option("--data", options->data,
                   "Data set of 'ckv data prepare', or a text file (.txt, .jsonl; also .gz, .zst)")
      ->type_name("PATH")
      ->required();
  command
      ->add_option("--mode", options->mode,
                   "parallel: all tokens of a window at once, in passes; sequential: token by "
                   "token, exact; both: and their difference (default: as the model's config says)")
      ->check(CLI::IsMember({"parallel", "sequential", "both"}));
  command
      ->add_option("--passes", options->passes,
                   "Passes of the parallel order: N in all, or M,B (default: the model's)")
      ->type_name("N");
  command
      ->add_option("--seq-len", options->seq_len,
                   "Tokens of a window (default: as trained, else max_position_embeddings)")
      ->type_name("N");
  command
      ->add_option("--stride", options->stride,
                   "Windows start so many tokens apart; only the new ones are scored (default: the "
                   "window's length)")
      ->type_name("N");
  command->add_option("--batch-size", options->batch_size, "Windows run at once")
      ->type_name("N")
      ->capture_default_str();
  command->add_option("--max-tokens", options->max_tokens, "Score the first N tokens; 0 = all")
      ->type_name("N")
      ->capture_default_str();
  command->add_flag("--reset-attention", options->reset_attention,
                    "Documents do not see each other, and their first tokens are not scored");
  command->add_flag("--count-line-ends", options->count_line_ends,
                    "Count each line end as one more word, as word-level WikiText figures do");
  command
      ->add_option("--bos", options->bos,
                   "Text files: documents begin with <s> (auto: if tokenizer_config.json says so)")
      ->check(CLI::IsMember({"auto", "yes", "no"}))
      ->capture_default_str();
  options->output.AddOptions(*command);
  command->footer(
      "Words are runs of anything but white space. Every token but the first is scored once; "
      "figures\n"
      "a word and byte divide by all words and bytes of the text, however it was cut into "
      "tokens.\n\n"
      "Example:\n"
      "  ckv eval perplexity experiments/demo/runs/first --data valid.txt --mode both "
      "--max-tokens 2000");
  command->callback([options] { RunPerplexity(*options); });
}

}  // namespace

void AddEvalCommand(CLI::App& program) {
  CLI::App* command = program.add_subcommand("eval", "Measure how good a model is");
  command->require_subcommand(1);
  AddPerplexityCommand(*command);
  AddEvalTasksCommand(*command);
  AddEvalCompareCommand(*command);
  AddEvalSentencesCommand(*command);
  AddEvalConic(*command);
}

}  // namespace ckv
