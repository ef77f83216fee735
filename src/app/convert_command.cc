#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "app/command.h"
#include "app/load_model.h"
#include "app/output.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/signals.h"
#include "ckpt/tensor_file.h"
#include "config/yaml_reader.h"
#include "convert/convert.h"
#include "convert/owner_projections.h"
#include "eval/eval_text.h"

namespace ckv {
namespace {

struct ConvertCommand {
  ModelArguments model;
  ConvertOptions options;
  std::string sharing;
  std::string to = "crosskv";
  std::string dtype = "keep";
  std::string data;
  std::optional<int64_t> tokens;
  std::optional<int64_t> seq_len;
  std::optional<int64_t> batch_size;
  std::optional<std::string> device;
  double max_shard_gb = 5.0;
  CommandOutput output;
};

constexpr int64_t kDefaultTokens = 131072;
constexpr int64_t kDefaultBatch = 8;

const std::map<std::string, HfFormat> kFolderFormats = {
    {"crosskv", HfFormat::kNative}, {"hf", HfFormat::kTransformers}, {"lckv", HfFormat::kLckv}};
const std::map<std::string, std::optional<SafetensorsDtype>> kStoredTypes = {
    {"keep", std::nullopt},
    {"fp64", SafetensorsDtype::kF64},
    {"fp32", SafetensorsDtype::kF32},
    {"bf16", SafetensorsDtype::kBF16},
    {"fp16", SafetensorsDtype::kF16}};

template <typename Value>
std::vector<std::string> KeysOf(const std::map<std::string, Value>& map) {
  std::vector<std::string> keys;
  for (const auto& item : map) keys.push_back(item.first);
  return keys;
}

void CheckRanges(const ConvertCommand& command) {
  const std::pair<const char*, std::optional<int64_t>> counts[] = {
      {"--tokens", command.tokens},
      {"--seq-len", command.seq_len},
      {"--batch-size", command.batch_size},
      {"--window", command.options.window}};
  for (const auto& [name, value] : counts) {
    if (value.has_value() && *value < 1) {
      throw ConfigError(name, Str(*value, ", but must be >= 1"));
    }
  }
  if (command.options.ridge < 0.0) {
    throw ConfigError("--ridge", Str(command.options.ridge, ", but must be >= 0"));
  }
  if (command.max_shard_gb <= 0.0 || command.max_shard_gb > 1e6) {
    throw ConfigError("--max-shard-gb", Str(command.max_shard_gb, ", but must be > 0 and <= 1e6"));
  }
}

// Options that only `calibrated` reads must not be given in vain, nor one of them be missing.
void CheckCalibrationOptions(const ConvertCommand& command, bool ridge_given) {
  const bool calibrated = command.options.method == "calibrated";
  if (calibrated && command.data.empty()) {
    throw ConfigError("--method calibrated", "needs --data, a text file or data set");
  }
  if (calibrated) return;
  const std::pair<bool, const char*> options[] = {
      {!command.data.empty(), "--data"},          {command.tokens.has_value(), "--tokens"},
      {command.seq_len.has_value(), "--seq-len"}, {command.batch_size.has_value(), "--batch-size"},
      {command.device.has_value(), "--device"},   {ridge_given, "--ridge"}};
  for (const auto& [given, name] : options) {
    if (given) throw ConfigError(name, "is for --method calibrated");
  }
}

EvalText OpenSampleText(const ConvertCommand& command, const LoadedModel& model) {
  if (!FileExists(command.data)) throw IoError(command.data, "there is no such file or folder");
  if (!IsDirectory(command.data)) {
    return ReadEvalText(command.data, model.NeedTokenizer(), model.begins_with_bos);
  }
  VocabularyInfo vocabulary{0, model.decoder->config().vocab_size};
  if (model.tokenizer != nullptr) {
    vocabulary = {model.tokenizer->Fingerprint(), model.tokenizer->vocab_size()};
  }
  return EvalText(std::make_shared<TokenDataset>(command.data, &vocabulary, /*verify=*/false));
}

int64_t WindowLength(const ConvertCommand& command, const LoadedModel& model) {
  const int64_t positions = model.decoder->config().max_position_embeddings;
  const int64_t length =
      command.seq_len.value_or(std::min(model.training_window.value_or(1024), positions));
  if (length < 1 || length > positions) {
    throw ConfigError("--seq-len",
                      Str(length, ", but must be 1 to ", positions, " (max_position_embeddings)"));
  }
  return length;
}

// Runs the source over windows spread evenly over the text.
Calibration Calibrate(const ConvertCommand& command) {
  ModelArguments arguments = command.model;
  arguments.device = command.device.value_or(arguments.device);
  const LoadedModel model = LoadModel(arguments);
  const EvalText text = OpenSampleText(command, model);
  const int64_t length = std::min(WindowLength(command, model), text.num_tokens());
  const int64_t available = text.num_tokens() / length;
  const int64_t wanted = (command.tokens.value_or(kDefaultTokens) + length - 1) / length;
  const int64_t windows = std::min(wanted, available);
  Calibration calibration(model.decoder, TargetConfig(command.options).sharing());
  ProgressBar progress("calibrating", static_cast<uint64_t>(windows * length), "tokens");
  const int64_t batch = command.batch_size.value_or(kDefaultBatch);
  for (int64_t first = 0; first < windows; first += batch) {
    if (PendingSignal() != 0) throw Interrupted(PendingSignal(), "nothing was written");
    const int64_t rows = std::min(batch, windows - first);
    const at::Tensor tokens = at::empty({rows, length}, at::kLong);
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t window = (first + row) * available / windows;
      text.Read(window * length, length, tokens.data_ptr<int64_t>() + row * length);
    }
    calibration.Add(tokens.to(model.device));
    progress.Update(static_cast<uint64_t>(calibration.num_tokens()));
  }
  progress.Finish();
  return calibration;
}

void PrintReport(const ConvertCommand& command, const ConvertReport& report,
                 int64_t calibration_tokens) {
  for (const std::string& warning : report.warnings) LogWarn("convert", warning);
  OrderedJson json;
  json["folder"] = command.options.out;
  json["model_type"] = report.model_type;
  json["kv_sharing"] = report.config.sharing().ToString();
  json["tensors"] = report.num_tensors;
  json["projections_made"] = report.num_changed;
  json["files"] = report.weights.num_files;
  json["bytes"] = report.weights.num_bytes;
  json["side_files"] = report.side_files;
  if (calibration_tokens > 0) json["calibration_tokens"] = calibration_tokens;
  json["warnings"] = report.warnings;
  const std::string made =
      report.num_changed > 0
          ? Str(", ", report.num_changed, " projections made by '", command.options.method, "'")
          : "";
  command.output.Print(
      json,
      Str(command.options.out, ": ", report.model_type, " ", report.config.sharing().ToString(),
          ", ", report.num_tensors, " tensors, ",
          HumanBytes(static_cast<double>(report.weights.num_bytes)), " in ",
          report.weights.num_files, report.weights.num_files == 1 ? " file" : " files", made));
}

void RunConvert(ConvertCommand& command, bool method_given, bool ridge_given) {
  ConvertOptions& options = command.options;
  if (method_given && command.sharing.empty()) {
    throw ConfigError("--method", "needs --sharing: without it nothing is changed");
  }
  CheckRanges(command);
  CheckCalibrationOptions(command, ridge_given);
  options.max_shard_bytes = static_cast<int64_t>(command.max_shard_gb * 1e9);
  if (!command.sharing.empty()) {
    options.sharing = ReadYamlText(command.sharing, Str("--sharing ", command.sharing));
  }
  options.format = kFolderFormats.at(command.to);
  options.dtype = kStoredTypes.at(command.dtype);
  options.source = FindModelFolder(command.model.path, command.model.checkpoint);
  const bool mean = TensorFiles::HasPart(options.source, "ema");
  options.ema = command.model.weights == "ema" || (command.model.weights == "auto" && mean);
  CheckConversion(options);
  WatchSignals();
  std::optional<Calibration> calibration;
  if (options.method == "calibrated") calibration = Calibrate(command);
  const ConvertReport report =
      ConvertModel(options, calibration.has_value() ? &*calibration : nullptr);
  PrintReport(command, report, calibration.has_value() ? calibration->num_tokens() : 0);
}

void AddOutputOptions(CLI::App& command, ConvertCommand& values) {
  command.add_option("--out", values.options.out, "Folder to make")
      ->required()
      ->type_name("FOLDER");
  command
      .add_option("--to", values.to,
                  "Who will load it: this program; Transformers (hf, with modeling code beside "
                  "it unless the model is plain); the published implementation (lckv)")
      ->check(CLI::IsMember(KeysOf(kFolderFormats)))
      ->capture_default_str();
  command.add_option("--dtype", values.dtype, "Type of the stored weights")
      ->check(CLI::IsMember(KeysOf(kStoredTypes)))
      ->capture_default_str();
  command
      .add_option("--max-shard-gb", values.max_shard_gb,
                  "Larger models become several files; 1e9 bytes each")
      ->capture_default_str();
  values.output.AddJson(command);
}

void AddCalibrationOptions(CLI::App& command, ConvertCommand& values) {
  command
      .add_option("--data", values.data,
                  "calibrated: sample text, a text file or a data set of `ckv data prepare`")
      ->type_name("PATH");
  command.add_option(
      "--tokens", values.tokens,
      Str("calibrated: how many tokens of it, at most (default: ", kDefaultTokens, ")"));
  command.add_option("--seq-len", values.seq_len,
                     "calibrated: tokens of a sequence (default: as in training, else 1024)");
  command.add_option("--batch-size", values.batch_size,
                     Str("calibrated: sequences at once (default: ", kDefaultBatch, ")"));
  command.add_option("--device", values.device, "calibrated: auto, cpu, cuda or cuda:N")
      ->type_name("NAME");
}

void AddSourceOptions(CLI::App& command, ModelArguments& model) {
  command.add_option("SOURCE", model.path, "Run folder, checkpoint, or Hugging Face folder")
      ->type_name("FOLDER")
      ->required();
  command
      .add_option("--checkpoint", model.checkpoint,
                  "Which one of a run: best, latest or a step (default: best, else latest)")
      ->type_name("WHICH");
  command
      .add_option(
          "--weights", model.weights,
          "model: the weights themselves; ema: their running mean; auto: ema if it is there")
      ->check(CLI::IsMember({"auto", "model", "ema"}))
      ->capture_default_str();
}

void AddSharingOptions(CLI::App& command, ConvertCommand& values) {
  command.add_option("--sharing", values.sharing,
                     "Make a model of this sharing: 0_5*4_6, '{preset: cla, factor: 2}', ...");
  command.add_option("--window", values.options.window, "Keys that layers marked s see");
}

}  // namespace

void AddConvertCommand(CLI::App& program) {
  const auto values = std::make_shared<ConvertCommand>();
  CLI::App* command = program.add_subcommand(
      "convert", "Import, export and re-shard models; make a shared-KV model from a full one");
  AddSourceOptions(*command, values->model);
  AddOutputOptions(*command, *values);
  AddSharingOptions(*command, *values);
  CLI::Option* method =
      command
          ->add_option("--method", values->options.method,
                       "How an owner's key and value projections are made from its readers'")
          ->check(CLI::IsMember(ConvertMethods()))
          ->capture_default_str();
  AddCalibrationOptions(*command, *values);
  CLI::Option* ridge =
      command
          ->add_option("--ridge", values->options.ridge,
                       "calibrated: pull towards the readers' mean, relative to the mean square "
                       "of the inputs")
          ->capture_default_str();
  command->footer(
      "Examples:\n"
      "  ckv convert Llama-160M --sharing '{preset: cla, factor: 2}' --out shared\n"
      "  ckv convert experiments/demo/runs/first --to hf --out exported\n\n"
      "An adapter (a run with train.lora, or a folder of PEFT's) becomes the plain model in which\n"
      "it is merged.");
  command->callback(
      [values, method, ridge] { RunConvert(*values, method->count() > 0, ridge->count() > 0); });
}

}  // namespace ckv
