#include <memory>
#include <numeric>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "app/bench_generate.h"
#include "app/bench_prefill.h"
#include "app/load_model.h"
#include "app/output.h"
#include "app/train_run.h"
#include "base/error.h"
#include "base/file.h"
#include "nn/device.h"

namespace ckv {
namespace {

struct BenchPrefillCommand {
  ModelArguments model;
  std::vector<std::string> sets;
  std::vector<std::string> passes;
  std::vector<double> tolerances;
  std::vector<int64_t> chunks;
  PrefillBenchOptions bench;
  CommandOutput output;
};

// A checkpoint, or the model of a run's YAML file with random weights.
Decoder OpenBenchModel(const BenchPrefillCommand& command) {
  const std::string& path = command.model.path;
  if (IsDirectory(path) || !FileExists(path)) {
    if (!command.sets.empty()) throw ConfigError("--set", "needs a YAML file, not a checkpoint");
    return LoadModel(command.model).decoder;
  }
  const TrainRun run = LoadTrainRun(path, command.sets);
  if (run.model.vocab_size == 0) throw ConfigError(path, "'model.vocab_size' must be given");
  AllowTf32(command.model.precision == "tf32");
  return MakeBenchModel(run.model, "", ChooseDevice(command.model.device, "--device"),
                        WorkingType(command.model.precision));
}

// Every order that was asked for. Models whose layers look at most at their own level are exact in
// one pass, and passes and tolerances mean nothing to them.
std::vector<PrefillArguments> OrdersToRun(const BenchPrefillCommand& command,
                                          const DecoderConfig& config) {
  const bool cyclic = config.sharing().cyclic();
  std::vector<PrefillArguments> orders;
  PrefillArguments iterative;
  iterative.order = "iterative";
  std::vector<std::string> passes = command.passes;
  if (passes.empty() || !cyclic) passes = {""};
  for (const std::string& some : passes) {
    iterative.passes = some;
    orders.push_back(iterative);
  }
  iterative.passes = Str(IterationPlan::kMaxPasses);  // as many as the tolerance asks for
  for (const double tolerance : command.tolerances) {
    if (!cyclic) break;
    iterative.tolerance = tolerance;
    orders.push_back(iterative);
  }
  for (const int64_t chunk : command.chunks) {
    for (const std::string& some : passes) {
      PrefillArguments chunked;
      chunked.order = "chunked";
      chunked.chunk = chunk;
      chunked.passes = some;
      orders.push_back(chunked);
    }
  }
  for (const PrefillArguments& order : orders)
    order.Run(config);  // complains before the work starts
  return orders;
}

std::string Column(const std::string& text, size_t width) {
  return std::string(text.size() < width ? width - text.size() : 0, ' ') + text;
}

std::string Short(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1e", value);
  return text;
}

std::string TableRow(const PrefillBenchRow& row) {
  const PrefillArguments& prefill = row.prefill;
  std::string name = prefill.order;
  if (prefill.order == "chunked") name += Str(" ", *prefill.chunk);
  if (prefill.tolerance.value_or(0.0) > 0.0) {
    name += " to " + Short(*prefill.tolerance);
  } else if (!prefill.passes.empty()) {
    name += " " + prefill.passes;
  }
  const auto total =
      static_cast<double>(std::accumulate(row.passes.begin(), row.passes.end(), int64_t{0}));
  const std::string passes =
      row.passes.empty() ? "-" : Fixed(total / static_cast<double>(row.passes.size()), 1);
  name.resize(std::max<size_t>(name.size(), 24), ' ');
  return Str(name, Column(passes, 7), Column(Fixed(1e3 * row.seconds, 2), 12),
             Column(HumanCount(row.tokens_per_second), 10), Column(Short(row.logit_error), 13),
             Column(Short(row.kv_error), 10), "\n");
}

void BenchPrefillByOptions(const BenchPrefillCommand& command) {
  Decoder decoder = OpenBenchModel(command);
  const DecoderConfig& config = decoder->config();
  if (command.bench.tokens > config.max_position_embeddings) {
    throw ConfigError("--tokens",
                      Str(command.bench.tokens, ", but the model takes at most ",
                          config.max_position_embeddings, " (max_position_embeddings)"));
  }
  const std::vector<PrefillBenchRow> rows =
      BenchPrefill(decoder, OrdersToRun(command, config), command.bench);
  OrderedJson json;
  json["kv_sharing"] = config.sharing().ToString();
  json["rows"] = command.bench.rows;
  json["tokens"] = command.bench.tokens;
  json["device"] = DeviceName(decoder->head_weight().device());
  json["precision"] = command.model.precision;
  json["orders"] = OrderedJson::array();
  std::string text =
      Str(config.sharing().ToString(), ", ", command.bench.rows, " x ", command.bench.tokens,
          " tokens, ", command.model.precision, "\n",
          "order                    passes          ms  tokens/s  logit error  KV error\n");
  for (const PrefillBenchRow& row : rows) {
    json["orders"].push_back(row.ToJson());
    text += TableRow(row);
  }
  text +=
      "passes: mean over groups and chunks; errors against sequential: the largest logit's at the\n"
      "last position, and that of the worst store relative to its norm\n";
  command.output.Print(json, text);
}

}  // namespace

void AddBenchPrefillCommand(CLI::App& bench) {
  const auto options = std::make_shared<BenchPrefillCommand>();
  options->tolerances = {1e-2, 1e-4};
  options->chunks = {16, 64, 256};
  CLI::App* command = bench.add_subcommand(
      "prefill", "Time and error of the orders in which a random prompt can be run");
  options->model.AddOptions(*command);
  command->add_option("--set", options->sets, "Change a key of the YAML file")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  command->add_option("--tokens", options->bench.tokens, "Tokens of each prompt")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--batch-size", options->bench.rows, "Prompts run at once")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  command
      ->add_option("--passes", options->passes,
                   "Passes to try, N in all or M,B; give it once for each (default: the "
                   "model's)")
      ->type_name("N")
      ->allow_extra_args(false);
  command
      ->add_option("--tolerance", options->tolerances,
                   "Relative change of KVs to stop at; give it once for each")
      ->type_name("X")
      ->allow_extra_args(false)
      ->capture_default_str();
  command->add_option("--chunk", options->chunks, "Tokens of a chunk to try; give it once for each")
      ->type_name("N")
      ->allow_extra_args(false)
      ->capture_default_str();
  command->add_option("--repeats", options->bench.repeats, "Measurements of each order but exact")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  options->output.AddOptions(*command);
  command->footer(
      "CHECKPOINT may be the YAML file of a run: its model is made with random weights.\n\n"
      "Example:\n"
      "  ckv bench prefill experiments/demo/runs/first --tokens 1024 --passes 7,2 --chunk 32");
  command->callback([options] { BenchPrefillByOptions(*options); });
}

}  // namespace ckv
