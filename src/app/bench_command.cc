#include <memory>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/bench_generate.h"
#include "app/bench_prefill.h"
#include "app/bench_train.h"
#include "app/command.h"
#include "app/conic_commands.h"
#include "app/output.h"
#include "base/error.h"
#include "base/progress.h"

namespace ckv {
namespace {

struct BenchTrainCommand {
  std::string config;
  std::vector<std::string> sets;
  std::vector<std::string> sharings;
  TrainBenchOptions bench;
  CommandOutput output;
};

void BenchTrainByOptions(const BenchTrainCommand& options) {
  std::vector<std::string> sharings = options.sharings;
  if (sharings.empty()) sharings.emplace_back();  // the file's own
  OrderedJson json = OrderedJson::array();
  std::string text =
      "kv_sharing                            params  tokens/s  spread  time  FLOPs    MFU   "
      "memory\n";
  double first_rate = 0.0;
  double first_flops = 0.0;
  for (const std::string& sharing : sharings) {
    std::vector<std::string> sets = options.sets;
    if (!sharing.empty()) {
      sets.emplace_back("model.kv_sharing=null");  // a map would merge with the file's
      sets.push_back("model.kv_sharing=" + sharing);
    }
    ShowLiveLine(Str("running ", sharing));
    const TrainBenchResult result =
        BenchTraining(LoadTrainRun(options.config, sets), options.bench);
    ShowLiveLine("");
    if (first_rate == 0.0) {
      first_rate = result.tokens_per_second;
      first_flops = result.flops_per_token;
    }
    const OrderedJson row = result.ToJson();
    json.push_back(row);
    const auto pad = [](std::string word, size_t width, bool left = false) {
      const std::string blanks(word.size() < width ? width - word.size() : 0, ' ');
      return left ? blanks + word : word + blanks;
    };
    text += Str(
        pad(result.kv_sharing, 36),
        pad(HumanCount(static_cast<double>(result.parameters)), 8, true),
        pad(HumanCount(result.tokens_per_second), 10, true),
        pad(Fixed(100.0 * result.spread, 1) + "%", 8, true),
        pad(Fixed(first_rate / result.tokens_per_second, 2), 6, true),
        pad(Fixed(result.flops_per_token / first_flops, 2), 7, true),
        pad(row.contains("mfu") ? Fixed(100.0 * row["mfu"].get<double>(), 1) + "%" : "-", 7, true),
        pad(HumanBytes(static_cast<double>(result.memory_bytes)), 11, true), "\n");
  }
  text +=
      "time and FLOPs: relative to the first row; FLOPs count all passes, MFU the plain model\n";
  options.output.Print(json, text);
}

}  // namespace

void AddBenchCommand(CLI::App& program) {
  CLI::App* bench = program.add_subcommand("bench", "Measure speed");
  bench->require_subcommand(1);
  AddBenchPrefillCommand(*bench);

  const auto options = std::make_shared<BenchTrainCommand>();
  CLI::App* train = bench->add_subcommand(
      "train", "Tokens a second of training steps on random tokens, sharing schemes side by side");
  train->add_option("CONFIG", options->config, "YAML file of a run")->type_name("FILE")->required();
  train->add_option("--set", options->sets, "Change a key of the file")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  train
      ->add_option("--sharing", options->sharings,
                   "Sharing scheme to run instead of the file's; give it once for each")
      ->type_name("SPEC")
      ->allow_extra_args(false);
  train->add_option("--rows", options->bench.rows, "Measurements of each scheme")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  train->add_option("--row-steps", options->bench.row_steps, "Steps of a measurement")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  options->output.AddOptions(*train);
  train->callback([options] { BenchTrainByOptions(*options); });
  AddBenchGenerate(*bench);
  AddBenchConic(*bench);
}

}  // namespace ckv
