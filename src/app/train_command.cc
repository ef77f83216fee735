#include <memory>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/encoder_training.h"
#include "app/output.h"
#include "app/training.h"
#include "base/error.h"

namespace ckv {
namespace {

struct TrainOptions {
  std::string config;
  std::vector<std::string> sets;
  bool keys = false;
  std::string family = "decoder";
  CommandOutput output;
};

// The command line as it is recorded.
std::vector<std::string> TrainArguments(const TrainOptions& options) {
  std::vector<std::string> arguments = {"ckv", "train", options.config};
  for (const std::string& item : options.sets) {
    arguments.push_back("--set");
    arguments.push_back(item);
  }
  return arguments;
}

// The table of configs/README.md.
void PrintKeys(const std::vector<HelpRow>& rows, const CommandOutput& output) {
  OrderedJson json = OrderedJson::array();
  std::string text = "| key | value | default | meaning |\n|---|---|---|---|\n";
  for (const HelpRow& row : rows) {
    json.push_back(
        {{"key", row.key}, {"type", row.type}, {"default", row.default_value}, {"help", row.help}});
    std::string type = row.type;
    for (size_t i = 0; (i = type.find('|', i)) != std::string::npos; i += 2) type.insert(i, "\\");
    text += Str("| `", row.key, "` | ", type, " | ",
                row.default_value.empty() ? "" : Str("`", row.default_value, "`"), " | ", row.help,
                " |\n");
  }
  output.Print(json, text);
}

void TrainByOptions(const TrainOptions& options) {
  if (options.keys) {
    EncoderRun encoder;
    encoder.model.family = options.family;
    PrintKeys(options.family == "decoder" ? HelpTable(TrainRun()) : HelpTable(encoder),
              options.output);
    return;
  }
  if (options.config.empty()) {
    throw ConfigError("", "CONFIG is required; see 'ckv train --help'");
  }
  if (IsEncoderRun(options.config, options.sets)) {
    const OrderedJson encoded =
        RunEncoderTraining(LoadEncoderRun(options.config, options.sets), TrainArguments(options));
    options.output.Print(encoded, DescribeTraining(encoded));
    return;
  }
  const OrderedJson result =
      RunTraining(LoadTrainRun(options.config, options.sets), TrainArguments(options));
  if (!result.is_null()) options.output.Print(result, DescribeTraining(result));
}

}  // namespace

void AddTrainCommand(CLI::App& program) {
  const auto options = std::make_shared<TrainOptions>();
  CLI::App* command =
      program.add_subcommand("train", "Train a model, or go on with a run that was interrupted");
  command->add_option("CONFIG", options->config, "YAML file of the run")->type_name("FILE");
  command->add_option("--set", options->sets, "Change a key of the file, e.g. train.optim.lr=1e-3")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  command->add_flag("--keys", options->keys, "Print all keys of the file as a table and leave");
  command->add_option("--family", options->family, "--keys: of which family of models")
      ->check(CLI::IsMember({"decoder", "probtrans", "transformer"}))
      ->capture_default_str();
  options->output.AddOptions(*command);
  command->footer(
      "Example:\n"
      "  ckv train configs/train/quickstart.yaml --set run.name=second --set run.seed=1\n\n"
      "The same command goes on with a run that was stopped. SIGINT, SIGTERM and SIGUSR1 save and\n"
      "leave with 130, 143 and 138.\n\n"
      "Several processes (ranks) work together when torchrun, srun or the variables RANK,\n"
      "WORLD_SIZE, MASTER_ADDR and MASTER_PORT say so:\n"
      "  torchrun --no-python --nproc-per-node 8 ckv train configs/train/110m/cla2.yaml");
  command->callback([options] { TrainByOptions(*options); });
}

}  // namespace ckv
