#include <memory>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/bench_generate.h"
#include "app/bench_prefill.h"
#include "app/bench_train.h"
#include "app/command.h"
#include "app/conic_commands.h"
#include "app/output.h"
#include "app/train_ranks.h"
#include "base/error.h"
#include "base/progress.h"
#include "nn/device.h"

namespace ckv {
namespace {

struct BenchTrainCommand {
  std::string config;
  std::vector<std::string> sets;
  std::vector<std::string> sharings;
  TrainBenchOptions bench;
  CommandOutput output;
};

std::string Padded(std::string word, size_t width, bool left = false) {
  const std::string blanks(word.size() < width ? width - word.size() : 0, ' ');
  return left ? blanks + word : word + blanks;
}

std::string Percent(const OrderedJson& row, const char* key) {
  return row.contains(key) ? Fixed(100.0 * row[key].get<double>(), 1) + "%" : "-";
}

std::string SpeedRow(const TrainBenchResult& result, const TrainBenchResult& first) {
  const OrderedJson row = result.ToJson();
  return Str(Padded(result.kv_sharing, 36),
             Padded(HumanCount(static_cast<double>(result.parameters)), 8, true),
             Padded(HumanCount(result.tokens_per_second), 10, true),
             Padded(Fixed(100.0 * result.spread, 1) + "%", 8, true),
             Padded(Fixed(first.tokens_per_second / result.tokens_per_second, 2), 6, true),
             Padded(Fixed(result.flops_per_token / first.flops_per_token, 2), 7, true),
             Padded(Percent(row, "mfu"), 7, true), Padded(Percent(row, "mfu_of_matmul"), 7, true),
             Padded(HumanBytes(static_cast<double>(result.memory_bytes)), 11, true), "\n");
}

std::string PhaseRow(const TrainBenchResult& result) {
  std::string text = Padded(result.kv_sharing, 36);
  for (const double ms : result.phase_ms) text += Padded(Fixed(ms, 2), 18, true);
  return text + Padded(Fixed(result.step_ms, 2), 9, true) + "\n";
}

// Of the second scheme on, with their numbers.
std::string ProfileName(const std::string& path, size_t index) {
  if (path.empty() || index == 0) return path;
  const size_t dot = path.rfind('.');
  const size_t cut = dot == std::string::npos ? path.size() : dot;
  return Str(path.substr(0, cut), "-", index + 1, path.substr(cut));
}

// What ranks send and hold, by scheme.
std::string RanksTable(const std::vector<TrainBenchResult>& results) {
  std::string text = Str(
      "\n", results.front().ranks, " ranks, dist.zero ", results.front().zero,
      "; tokens/s of all, times of rank 0, bytes given to collectives in a step\n",
      Padded("kv_sharing", 36), "    summed   scattered    gathered", "  memory of each rank\n");
  for (const TrainBenchResult& result : results) {
    text += Padded(result.kv_sharing, 36);
    for (const int64_t bytes :
         {result.traffic.summed, result.traffic.scattered, result.traffic.gathered}) {
      text += Padded(HumanBytes(static_cast<double>(bytes)), 12, true);
    }
    for (const int64_t bytes : result.rank_memory_bytes) {
      text += Str("  ", HumanBytes(static_cast<double>(bytes)));
    }
    text += "\n";
  }
  return text;
}

std::vector<TrainRun> RunsOfSchemes(const BenchTrainCommand& options) {
  std::vector<std::string> sharings = options.sharings;
  if (sharings.empty()) sharings.emplace_back();  // the file's own
  std::vector<TrainRun> runs;
  for (const std::string& sharing : sharings) {
    std::vector<std::string> sets = options.sets;
    if (!sharing.empty()) {
      sets.emplace_back("model.kv_sharing=null");  // a map would merge with the file's
      sets.push_back("model.kv_sharing=" + sharing);
    }
    runs.push_back(LoadTrainRun(options.config, sets));
  }
  return runs;
}

void BenchTrainByOptions(const BenchTrainCommand& options) {
  const std::vector<TrainRun> runs = RunsOfSchemes(options);
  std::string device_name = runs.front().run.device;
  const std::unique_ptr<CommGroup> group =
      JoinRanks(runs.front().dist, runs.front().run.threads, "run.device", &device_name);
  const at::Device device = ChooseDevice(device_name, "run.device");
  const double matmul = MeasureMatmul(device, runs.front().train.precision);
  std::vector<TrainBenchResult> results;
  for (const TrainRun& run : runs) {
    ShowLiveLine(Str("running ", run.model.sharing().ToString()));
    TrainBenchOptions bench = options.bench;
    bench.profile = ProfileName(bench.profile, results.size());
    results.push_back(BenchTraining(run, bench, device, group.get()));
    results.back().matmul_flops = matmul;
    ShowLiveLine("");
  }
  if (group != nullptr && !group->root()) return;
  OrderedJson json = OrderedJson::array();
  std::string text = Str(Padded("kv_sharing", 36),
                         "  params  tokens/s  spread  time  FLOPs    MFU  of mm     memory\n");
  for (const TrainBenchResult& result : results) {
    json.push_back(result.ToJson());
    text += SpeedRow(result, results.front());
  }
  text +=
      Str("time and FLOPs: relative to the first row; FLOPs count all passes, MFU the plain "
          "model, against the data sheet and against a large product measured here",
          results.front().matmul_flops > 0.0
              ? Str(" (", Fixed(results.front().matmul_flops / 1e12, 0), " TFLOP/s)")
              : "",
          "\n\n", Padded("ms a step", 36));
  for (size_t i = 0; i < kNumPhases; ++i) {
    text += Padded(PhaseName(static_cast<Phase>(i)), 18, true);
  }
  text += "     step\n";
  for (const TrainBenchResult& result : results) text += PhaseRow(result);
  if (group != nullptr) text += RanksTable(results);
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
  train
      ->add_option(
          "--profile", options->bench.profile,
          "Write a Chrome trace of one more step; further schemes get -2, -3, ..., further "
          "ranks .rank1, .rank2, ...")
      ->type_name("FILE");
  options->output.AddOptions(*train);
  train->callback([options] { BenchTrainByOptions(*options); });
  AddBenchGenerate(*bench);
  AddBenchConic(*bench);
}

}  // namespace ckv
