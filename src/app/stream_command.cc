#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/load_model.h"
#include "app/output.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/progress.h"
#include "data/dataset.h"
#include "eval/streaming.h"
#include "nn/device.h"

namespace ckv {
namespace {

struct StreamCommand {
  ModelArguments model;
  std::string data;
  StreamOptions options;
  std::string bos = "auto";
  CommandOutput output;
};

// The tokens of a text file or data set.
NextTokens OpenStream(const StreamCommand& command, const LoadedModel& model) {
  if (!FileExists(command.data)) throw IoError(command.data, "there is no such file or folder");
  if (!IsDirectory(command.data)) {
    const bool bos = command.bos == "yes" || (command.bos == "auto" && model.begins_with_bos);
    const auto text = std::make_shared<TextTokens>(command.data, model.NeedTokenizer(), bos);
    return [text](int64_t most) { return text->Next(most); };
  }
  if (command.bos != "auto") {
    throw ConfigError("--bos", "is for text files; a data set holds the tokens it was made with");
  }
  VocabularyInfo vocabulary{0, model.decoder->config().vocab_size};
  if (model.tokenizer != nullptr) {
    vocabulary = {model.tokenizer->Fingerprint(), model.tokenizer->vocab_size()};
  }
  const auto data = std::make_shared<TokenDataset>(command.data, &vocabulary, /*verify=*/false);
  return [data, position = int64_t{0}](int64_t most) mutable {
    const int64_t count = std::min(most, data->num_tokens() - position);
    std::vector<int64_t> tokens(static_cast<size_t>(count));
    data->Read(position, count, tokens.data());
    position += count;
    return std::vector<int32_t>(tokens.begin(), tokens.end());
  };
}

// The figures of a stream so far.
struct StreamFigures {
  StreamFigures(const StreamSums& stream_sums, std::chrono::steady_clock::time_point start)
      : sums(stream_sums),
        seconds(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()),
        nats_per_token(sums.nats / static_cast<double>(sums.tokens)),
        perplexity(std::exp(nats_per_token)),
        tokens_per_second(static_cast<double>(sums.tokens) / seconds) {
    if (sums.bytes > 0) bits_per_byte = sums.nats / std::log(2.0) / static_cast<double>(sums.bytes);
  }

  StreamSums sums;
  double seconds;
  double nats_per_token;
  double perplexity;
  double tokens_per_second;
  std::optional<double> bits_per_byte;
};

OrderedJson StreamJson(const StreamCommand& command, const LoadedModel& model,
                       const StreamFigures& figures) {
  OrderedJson json;
  json["model"] = model.folder;
  json["weights"] = model.weights;
  json["precision"] = command.model.precision;
  json["data"] = command.data;
  json["sinks"] = command.options.cache.num_sinks;
  json["window"] = command.options.cache.window_length;
  json["block"] = command.options.block_tokens;
  json["tokens"] = figures.sums.tokens;
  json["nats_per_token"] = figures.nats_per_token;
  json["token_perplexity"] = figures.perplexity;
  if (figures.bits_per_byte.has_value()) {
    json["bytes"] = figures.sums.bytes;
    json["bits_per_byte"] = *figures.bits_per_byte;
  }
  json["cached_tokens"] = figures.sums.cached_tokens;
  json["kv_bytes"] = figures.sums.kv_bytes;
  json["seconds"] = figures.seconds;
  json["tokens_per_second"] = figures.tokens_per_second;
  return json;
}

std::string StreamReport(const StreamCommand& command, const LoadedModel& model,
                         const StreamFigures& figures) {
  const SinkWindow& cache = command.options.cache;
  std::string text =
      Str(model.folder, " on ", command.data, "\n", figures.sums.tokens, " tokens in ",
          HumanSeconds(figures.seconds), ", ", HumanCount(figures.tokens_per_second),
          " tokens/s\ncache of ", figures.sums.cached_tokens, " tokens (the first ",
          cache.num_sinks, " and the last ", cache.window_length - cache.num_sinks, "), ",
          HumanBytes(static_cast<double>(figures.sums.kv_bytes)), "\n\nperplexity ",
          Fixed(figures.perplexity, 4), "   ", Fixed(figures.nats_per_token, 4), " nats a token");
  if (figures.bits_per_byte.has_value()) {
    text += Str("   ", Fixed(*figures.bits_per_byte, 4), " bits a byte");
  }
  return text + "\n";
}

void RunStream(StreamCommand& command) {
  LoadedModel model = LoadModel(command.model);
  const NextTokens next = OpenStream(command, model);
  command.options.tokenizer = model.tokenizer.get();
  LogInfo("stream", Str(model.folder, " (", model.weights, " weights, ", command.model.precision,
                        ") on ", DeviceName(model.device)));
  ProgressBar bar("stream", static_cast<uint64_t>(std::max<int64_t>(0, command.options.max_tokens)),
                  "tokens");
  const auto start = std::chrono::steady_clock::now();
  StreamHooks hooks;
  hooks.on_progress = [&](const StreamSums& sums) {
    bar.Update(static_cast<uint64_t>(sums.tokens),
               Str("perplexity ", Fixed(StreamFigures(sums, start).perplexity, 2), ", ",
                   sums.cached_tokens, " cached"));
  };
  const StreamSums sums =
      StreamPerplexity(model.decoder, next, command.data, command.options, hooks);
  bar.Update(static_cast<uint64_t>(sums.tokens));
  bar.Finish();
  const StreamFigures figures(sums, start);
  command.output.Print(StreamJson(command, model, figures), StreamReport(command, model, figures));
}

}  // namespace

void AddStreamCommand(CLI::App& program) {
  const auto options = std::make_shared<StreamCommand>();
  CLI::App* command = program.add_subcommand(
      "stream", "Perplexity of a text of any length, in a cache that does not grow");
  options->model.AddOptions(*command);
  command
      ->add_option("--data", options->data,
                   "Text file (.txt, .jsonl; also .gz, .zst) or data set of 'ckv data prepare'")
      ->type_name("PATH")
      ->required();
  command
      ->add_option("--sinks", options->options.cache.num_sinks,
                   "First tokens of the text, which stay in the cache")
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option("--window", options->options.cache.window_length,
                   "Tokens that the cache holds, sinks included")
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option("--block", options->options.block_tokens,
                   "Tokens fed at once; they see each other besides the cache")
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option("--max-tokens", options->options.max_tokens, "Score the first N tokens; 0 = all")
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option("--bos", options->bos,
                   "Text files: documents begin with <s> (auto: if tokenizer_config.json says so)")
      ->check(CLI::IsMember({"auto", "yes", "no"}))
      ->capture_default_str();
  options->output.AddOptions(*command);
  command->footer(
      "Each token is scored from the first tokens of the text and the last ones before it, whose\n"
      "positions count within the cache (StreamingLLM). Memory does not grow with the text.\n\n"
      "Example:\n"
      "  ckv stream experiments/demo/runs/first --data valid.txt --sinks 4 --window 256");
  command->callback([options] { RunStream(*options); });
}

}  // namespace ckv
