#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "app/command.h"
#include "app/encoder_files.h"
#include "app/encoder_run.h"
#include "app/inspect_encoder.h"
#include "app/inspect_gpus.h"
#include "app/inspect_report.h"
#include "app/load_model.h"
#include "app/output.h"
#include "app/train_run.h"
#include "base/error.h"
#include "base/file.h"
#include "ckpt/adapter.h"
#include "config/yaml_reader.h"
#include "model/hf_config.h"
#include "sharing/parse_config.h"
#include "sharing/picture.h"

namespace ckv {
namespace {

struct InspectOptions {
  std::string model;
  std::vector<std::string> sets;
  std::string sharing;
  std::optional<int64_t> layers;
  ModelShape shape;  // with --sharing; 0: not given
  std::optional<int64_t> window;
  std::optional<int64_t> forward_passes;
  std::optional<int64_t> backward_passes;
  std::optional<int64_t> seq_len;
  InspectedUse use;
  std::optional<int64_t> gpus;
  InspectedCluster cluster;
  double peak_tflops = 989.0;
  double node_gbs = 200.0;
  double network_gbs = 40.0;
  bool ascii = false;
  std::string svg;
  std::string title;
  CommandOutput output;
};

// What is to be looked at, and the length of sequences that its config trains on.
struct FoundModel {
  KvSharingSpec spec;
  ModelShape shape;
  int64_t forward_passes = DecoderConfig().forward_passes;
  int64_t backward_passes = DecoderConfig().backward_passes;
  bool sequential = false;
  std::optional<int64_t> seq_len;
  std::vector<std::string> notes;
};

FoundModel FromDecoderConfig(const DecoderConfig& config) {
  FoundModel found;
  found.spec = config.sharing();
  found.shape = config.Shape();
  found.forward_passes = config.forward_passes;
  found.backward_passes = config.backward_passes;
  found.sequential = config.sequential;
  return found;
}

// The size of the vocabulary that training would find, if the tokenizer is there.
void FindVocabulary(TrainRun& run) {
  if (run.model.vocab_size > 0) return;
  std::string path = run.tokenizer;
  if (path.empty() && !run.data.train.is_null()) path = run.data.TrainDatasets().front().path;
  if (path == "byte" || (!path.empty() && FileExists(path))) ResolveTokenizer(run);
}

FoundModel FromTrainConfig(const std::string& path, const std::vector<std::string>& sets) {
  const ConfigValue tree = LoadConfig(path, sets);
  TrainRun run;
  ReadConfig(tree, run);
  if (!IsExplicit(tree, "model")) {
    throw ConfigError(path, "has no section 'model', so there is nothing to inspect");
  }
  run.model.Resolve();
  FindVocabulary(run);
  FoundModel found = FromDecoderConfig(run.model);
  if (IsExplicit(tree, "data.seq_len")) found.seq_len = run.data.seq_len;
  if (run.model.vocab_size == 0) {
    found.notes.push_back(
        "the size of the vocabulary is not known, for the tokenizer is not there; --set "
        "model.vocab_size=N counts what depends on it");
  }
  return found;
}

FoundModel FromHfFile(const std::string& path, const std::vector<std::string>& sets) {
  if (!sets.empty()) {
    throw ConfigError("--set", Str("changes a YAML file, but ", path, " is a checkpoint's"));
  }
  return FromDecoderConfig(FromHfConfig(ReadJsonFile(path), path));
}

// A YAML file, a run's folder (config.yaml), a checkpoint's (config.json) or its config.json.
FoundModel FromPath(const std::string& path, const std::vector<std::string>& sets) {
  if (!IsDirectory(path)) {
    const bool json = path.size() > 5 && path.substr(path.size() - 5) == ".json";
    return json ? FromHfFile(path, sets) : FromTrainConfig(path, sets);
  }
  const std::string json = JoinPath(ConfigFolder(path), "config.json");
  if (FileExists(json)) return FromHfFile(json, sets);
  const std::string yaml = JoinPath(path, "config.yaml");
  if (FileExists(yaml)) return FromTrainConfig(yaml, sets);
  throw FormatError(path, "", "has neither config.json, as checkpoints have, nor config.yaml");
}

// Fills in what follows from other sizes.
void DeriveShape(ModelShape& shape) {
  if (shape.kv_heads == 0) shape.kv_heads = shape.heads;
  if (shape.head_dim > 0 || shape.hidden == 0 || shape.heads == 0) return;
  if (shape.heads < 0 || shape.hidden % shape.heads != 0) {
    throw ConfigError("--head-dim", Str("is needed, for a width of ", shape.hidden,
                                        " is no multiple of ", shape.heads, " heads"));
  }
  shape.head_dim = shape.hidden / shape.heads;
}

FoundModel FromSharing(const InspectOptions& options) {
  const ConfigValue value = ReadYamlText(options.sharing, "--sharing");
  if (value.is_null()) throw ConfigError("--sharing", "is empty; see 'ckv inspect --help'");
  if (value.kind() == ConfigValue::Kind::kMap && !options.layers.has_value()) {
    throw ConfigError("--sharing", "a pattern or preset also needs --layers");
  }
  const ResolvedSharing resolved = ResolveSharing(value, options.layers);
  FoundModel found;
  found.spec = resolved.spec;
  found.shape = options.shape;
  DeriveShape(found.shape);
  found.shape.window = resolved.window.has_value() ? resolved.window : options.window;
  if (resolved.window.has_value() &&
      options.window.value_or(*resolved.window) != *resolved.window) {
    throw ConfigError("--window", Str(*options.window, ", but --sharing says ", *resolved.window));
  }
  bool any_windowed = false;
  for (int i = 0; i < found.spec.num_layers(); ++i) any_windowed |= found.spec.windowed(i);
  if (any_windowed && !found.shape.window.has_value()) {
    found.notes.push_back(
        "the size of the sliding window is not known, so that windowed layers count as if they "
        "saw everything; --window N gives it");
  }
  return found;
}

// The YAML file that says that a path is an encoder's; empty: it is none. A checkpoint of an
// encoder holds its run's.
std::string EncoderConfigOf(const std::string& path, const std::vector<std::string>& sets) {
  std::string yaml = path;
  if (std::filesystem::path(path).extension() == ".safetensors") {
    throw FormatError(path, "", "is a file of weights; name the folder of a run or a checkpoint");
  }
  if (IsDirectory(path)) {
    const std::string own = JoinPath(path, "config.yaml");
    if (!FileExists(own)) return "";
    yaml = own;
  } else if (path.size() > 5 && path.substr(path.size() - 5) == ".json") {
    return "";
  }
  return IsEncoderRun(yaml, sets) ? yaml : "";
}

void InspectEncoder(const std::string& yaml, const InspectOptions& options) {
  const auto refuse = [](bool given, const char* name) {
    if (given) throw ConfigError(name, "is for decoders, and this is an encoder");
  };
  refuse(options.forward_passes.has_value(), "--forward-passes");
  refuse(options.backward_passes.has_value(), "--backward-passes");
  refuse(options.gpus.has_value(), "--gpus");
  const EncoderRun run = LoadEncoderRun(yaml, options.sets);
  int64_t vocabulary = 0;
  const bool trained = FileExists(JoinPath(options.model, "config.json")) ||
                       FileExists(JoinPath(options.model, "checkpoints"));
  if (trained && IsEncoderFolder(options.model)) {
    const Json config = ReadJsonFile(JoinPath(FindModelFolder(options.model), "config.json"));
    vocabulary = config.value("vocab_size", int64_t{0});
  }
  constexpr int64_t kUsualWords = 20;
  const OrderedJson json =
      InspectEncoderJson(run, vocabulary, options.seq_len.value_or(kUsualWords));
  if (!options.svg.empty()) WriteFileAtomically(options.svg, FactorGraphSvg(run, options.title));
  options.output.Print(json, InspectEncoderText(run, json, options.ascii));
}

void InspectByOptions(InspectOptions& options) {
  if (options.model.empty() == options.sharing.empty()) {
    throw ConfigError("", options.model.empty()
                              ? "MODEL or --sharing is required; see 'ckv inspect --help'"
                              : "MODEL and --sharing exclude each other");
  }
  if (options.model.empty() && !options.sets.empty()) {
    throw ConfigError("--set", "changes a YAML file, but none is named");
  }
  if (!options.model.empty()) {
    const std::string yaml = EncoderConfigOf(options.model, options.sets);
    if (!yaml.empty()) return InspectEncoder(yaml, options);
  }
  FoundModel found =
      options.sharing.empty() ? FromPath(options.model, options.sets) : FromSharing(options);
  found.forward_passes = options.forward_passes.value_or(found.forward_passes);
  found.backward_passes = options.backward_passes.value_or(found.backward_passes);
  if (options.seq_len.has_value() || found.seq_len.has_value()) {
    options.use.seq_len = options.seq_len.has_value() ? *options.seq_len : *found.seq_len;
  }
  const InspectedModel model = {
      IterationPlan(found.spec, found.forward_passes, found.backward_passes),
      found.forward_passes,
      found.backward_passes,
      found.sequential,
      found.shape,
      found.notes};
  OrderedJson json = InspectJson(model, options.use);
  std::string text = InspectText(model, json, options.ascii);
  if (options.gpus.has_value()) {
    InspectedCluster cluster = options.cluster;
    cluster.cluster.gpus = *options.gpus;
    cluster.cluster.peak_flops = options.peak_tflops * 1e12;
    cluster.cluster.node_bandwidth = options.node_gbs * 1e9;
    cluster.cluster.network_bandwidth = options.network_gbs * 1e9;
    cluster.cluster.memory_bytes = options.use.memory_gb * 1e9;
    cluster.step.seq_len = options.use.seq_len;
    json["ranks"] = GpusJson(model, cluster);
    text += GpusText(json["ranks"]);
  }
  if (!options.svg.empty()) WriteFileAtomically(options.svg, SharingSvg(model.plan, options.title));
  options.output.Print(json, text);
}

void AddShapeOptions(CLI::App& command, InspectOptions& options, CLI::Option* sharing) {
  ModelShape& shape = options.shape;
  const CLI::Validator positive(
      [](std::string& text) {
        const bool good = text[0] != '-' && text.find_first_not_of('0') != std::string::npos;
        return good ? "" : "'" + text + "' must be >= 1";
      },
      "");
  const auto add = [&](const char* name, auto& value, const char* help) {
    command.add_option(name, value, help)->needs(sharing)->check(positive);
  };
  add("--layers", options.layers, "Layers; a spec that lists them says it itself");
  add("--hidden-size", shape.hidden, "Width of the model");
  add("--heads", shape.heads, "Query heads");
  add("--kv-heads", shape.kv_heads, "Key/value heads (default: as many as query heads)");
  add("--head-dim", shape.head_dim, "Width of a head (default: hidden size over heads)");
  add("--ffn", shape.ffn, "Width of the feed-forward block");
  add("--vocab", shape.vocab, "Entries of the vocabulary");
  add("--window", options.window, "Keys that a windowed layer sees");
  command.add_flag("--tied", shape.tied, "The output projection is the input embedding")
      ->needs(sharing);
}

// What --gpus needs to know of the machines and of the step.
void AddClusterOptions(CLI::App& command, InspectOptions& options) {
  CLI::Option* gpus = command.add_option("--gpus", options.gpus,
                                         "Estimate training on so many GPUs, by ZeRO stage");
  const auto add = [&](const char* name, auto& value, const char* help) {
    command.add_option(name, value, help)->needs(gpus)->capture_default_str();
  };
  add("--gpus-per-node", options.cluster.cluster.gpus_per_node, "GPUs of a host");
  add("--train-batch", options.cluster.step.batch, "Sequences a step, over all GPUs");
  add("--micro-batch", options.cluster.step.micro_rows, "Sequences that a GPU runs at once");
  add("--efficiency", options.cluster.cluster.efficiency,
      "Share of the peak that one GPU reaches (ckv bench train measures it)");
  add("--peak-tflops", options.peak_tflops, "Peak of a GPU, 1e12 FLOP/s");
  add("--node-gbs", options.node_gbs, "GB/s of collectives within a host, of each GPU");
  add("--network-gbs", options.network_gbs, "GB/s between hosts, of each GPU");
  command
      .add_flag("--recompute", options.cluster.step.recompute,
                "Activations are computed again (train.checkpoint_layers: 1)")
      ->needs(gpus);
}

}  // namespace

void AddInspectCommand(CLI::App& program) {
  const auto options = std::make_shared<InspectOptions>();
  CLI::App* command = program.add_subcommand(
      "inspect",
      "Show who reads whose keys and values, or an encoder's random field, and what it costs");
  command
      ->add_option("MODEL", options->model,
                   "YAML file of a run, folder of a run, or checkpoint (ours or Hugging Face's)")
      ->type_name("PATH");
  command->add_option("--set", options->sets, "Change a key of the file, e.g. model.num_layers=12")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  CLI::Option* sharing = command->add_option(
      "--sharing", options->sharing,
      "A spec instead of a model: 0_5*4_6, '{preset: cla, factor: 2}', '[0, 0, 2, 2]', ...");
  AddShapeOptions(*command, *options, sharing);
  command->add_option("--forward-passes", options->forward_passes,
                      "Passes without gradient (default: the model's, else 7)");
  command->add_option("--backward-passes", options->backward_passes,
                      "Passes with gradient (default: the model's, else 2)");
  command->add_option("--seq-len", options->seq_len,
                      "Tokens of a sequence (default: the config's data.seq_len, else 1024); an "
                      "encoder's words of a sentence (default 20)");
  command->add_option("--batch", options->use.batch, "Sequences that are decoded together")
      ->capture_default_str();
  command->add_option("--memory-gb", options->use.memory_gb, "Memory of the device, 1e9 bytes each")
      ->capture_default_str();
  AddClusterOptions(*command, *options);
  command->add_flag("--ascii", options->ascii, "No box-drawing characters");
  CLI::Option* svg =
      command->add_option("--svg", options->svg, "Also draw the picture into this file")
          ->type_name("FILE");
  command->add_option("--title", options->title, "Title of that drawing")->needs(svg);
  options->output.AddOptions(*command);
  command->footer(
      "Examples:\n"
      "  ckv inspect configs/train/quickstart.yaml --svg sharing.svg\n"
      "  ckv inspect --sharing '{pattern: sandwich, target: middle, kv_layers: 3}' --layers 12 \\\n"
      "      --hidden-size 768 --heads 12 --kv-heads 6 --ffn 2048 --vocab 32000");
  command->callback([options] { InspectByOptions(*options); });
}

}  // namespace ckv
