#include "app/load_model.h"

#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "ckpt/adapter.h"
#include "ckpt/weights.h"
#include "config/yaml_reader.h"
#include "model/hf_config.h"
#include "nn/device.h"
#include "record/checkpoint_dir.h"
#include "text/chat_template.h"

namespace ckv {
namespace {

constexpr char kConfigFile[] = "config.json";

bool EndsWithText(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

std::string ListOfSteps(const std::vector<int64_t>& steps) {
  std::string text;
  for (const int64_t step : steps) text += Str(text.empty() ? "" : ", ", step);
  return text;
}

int64_t ChooseStep(const CheckpointDir& checkpoints, const std::string& run,
                   const std::string& which) {
  const std::vector<int64_t> steps = checkpoints.Steps();
  if (steps.empty()) throw FormatError(run, "", "the run has no complete checkpoint yet");
  const std::optional<int64_t> best = checkpoints.Best();
  if (which == "latest" || (which.empty() && !best.has_value())) return *checkpoints.Latest();
  if (which.empty()) return *best;
  if (which == "best") {
    if (best.has_value()) return *best;
    throw FormatError(run, "", "the run has no best checkpoint: it was never validated");
  }
  for (const int64_t step : steps) {
    if (which == std::to_string(step) || which == CheckpointName(step)) return step;
  }
  throw ConfigError("--checkpoint", Str("'", which, "' is not best, latest or one of the steps of ",
                                        run, ": ", ListOfSteps(steps)));
}

// Whether a model of `model` entries may belong to a tokenizer of `tokenizer`.
bool VocabulariesFit(int64_t tokenizer, int64_t model) {
  if (tokenizer == model) return true;
  for (int64_t unit = 8; unit <= 256; unit *= 2) {
    if ((tokenizer + unit - 1) / unit * unit == model) return true;
  }
  return false;
}

std::unique_ptr<Tokenizer> OpenTokenizer(const ModelArguments& arguments, const std::string& folder,
                                         int64_t vocab_size) {
  const bool given = !arguments.tokenizer.empty();
  if (!given && !HasTokenizerFile(folder)) return nullptr;
  std::unique_ptr<Tokenizer> tokenizer = LoadTokenizer(given ? arguments.tokenizer : folder);
  if (VocabulariesFit(tokenizer->vocab_size(), vocab_size)) {
    if (given && HasTokenizerFile(folder) &&
        LoadTokenizer(folder)->Fingerprint() != tokenizer->Fingerprint()) {
      LogWarn("model", Str("--tokenizer ", arguments.tokenizer, " is another one than that in ",
                           folder, ", with which the model was trained"));
    }
    return tokenizer;
  }
  const std::string what = Str("the tokenizer has ", tokenizer->vocab_size(),
                               " entries, but the model's vocabulary has ", vocab_size);
  if (given) throw ConfigError(Str("--tokenizer ", arguments.tokenizer), what);
  throw FormatError(folder, tokenizer->FileName(), what);
}

bool BeginsWithBos(const std::string& folder) {
  const std::string path = JoinPath(folder, "tokenizer_config.json");
  if (!FileExists(path)) return false;
  const Json json = ReadJsonFile(path);
  if (!json.is_object()) throw FormatError(path, "", "must be a JSON object");
  const auto found = json.find("add_bos_token");
  if (found == json.end() || found->is_null()) return true;
  if (!found->is_boolean()) throw FormatError(path, "add_bos_token", "must be true or false");
  return found->get<bool>();
}

std::optional<int64_t> TrainingWindow(const std::string& folder) {
  const std::string path = JoinPath(folder, "config.yaml");
  if (!FileExists(path)) return std::nullopt;
  const ConfigValue config = ReadYamlFile(path);
  const ConfigValue* data = config.Find("data");
  const ConfigValue* seq_len = data == nullptr ? nullptr : data->Find("seq_len");
  if (seq_len == nullptr) return std::nullopt;
  return AsInt(*seq_len, "data.seq_len");
}

}  // namespace

void ModelArguments::AddOptions(CLI::App& command) {
  command.add_option("CHECKPOINT", path, "Run folder, checkpoint, or Hugging Face folder")
      ->type_name("FOLDER")
      ->required();
  command
      .add_option("--checkpoint", checkpoint,
                  "Which one of a run: best, latest or a step (default: best, else latest)")
      ->type_name("WHICH");
  command
      .add_option(
          "--weights", weights,
          "model: the weights themselves; ema: their running mean; auto: ema if it is there")
      ->check(CLI::IsMember({"auto", "model", "ema"}))
      ->capture_default_str();
  command
      .add_option("--tokenizer", tokenizer,
                  "SentencePiece model, vocabulary file, folder with one, or byte (default: the "
                  "checkpoint's)")
      ->type_name("PATH");
  command.add_option("--device", device, "auto, cpu, cuda or cuda:N")
      ->type_name("NAME")
      ->capture_default_str();
  command.add_option("--precision", precision, "Number format of the work")
      ->check(CLI::IsMember({"fp32", "tf32", "bf16", "fp64"}))
      ->capture_default_str();
}

const Tokenizer& LoadedModel::NeedTokenizer() const {
  if (tokenizer == nullptr) {
    LoadTokenizer(ConfigFolder(folder));
    throw InternalError(Str("the tokenizer of ", folder, " was not there before"));
  }
  return *tokenizer;
}

bool HasTokenizerFile(const std::string& folder) {
  for (const char* name : {"tokenizer.model", "tokenizer.char", "tokenizer.byte"}) {
    if (FileExists(JoinPath(folder, name))) return true;
  }
  return false;
}

std::string FindModelFolder(const std::string& path, const std::string& which) {
  if (!FileExists(path)) throw IoError(path, "there is no such folder");
  if (!IsDirectory(path)) {
    throw FormatError(path, "", "is a file; name the folder of a run or a checkpoint");
  }
  const CheckpointDir checkpoints(path);
  if (IsDirectory(checkpoints.path())) {
    return checkpoints.PathOf(ChooseStep(checkpoints, path, which));
  }
  if (!FileExists(JoinPath(path, kConfigFile)) && !IsAdapterFolder(path)) {
    const bool run = FileExists(JoinPath(path, "config.yaml"));
    throw FormatError(path, "",
                      run ? "the run has no complete checkpoint yet"
                          : "has no config.json: not a run, a checkpoint or a Hugging Face folder");
  }
  if (!which.empty()) {
    throw ConfigError("--checkpoint",
                      Str(path, " is a single checkpoint, not the folder of a run"));
  }
  return path;
}

DecoderConfig ReadModelConfig(const std::string& folder) {
  const std::string path = JoinPath(ConfigFolder(folder), kConfigFile);
  return FromHfConfig(ReadJsonFile(path), path);
}

WeightLoader ModelWeightLoader(const std::string& folder, const std::string& weights,
                               const DecoderImpl& decoder, bool may_grow_rows) {
  const bool tied = decoder.config().tie_word_embeddings;
  const int num_layers = decoder.config().sharing().num_layers();
  LoadOptions options;
  options.may_grow_rows = [may_grow_rows](const std::string& name) {
    return may_grow_rows && (name == "model.embed_tokens.weight" || name == "lm_head.weight");
  };
  options.may_ignore = [tied, num_layers](const std::string& name) {
    if (EndsWithText(name, ".rotary_emb.inv_freq")) return true;
    if (tied && name == "lm_head.weight") return true;
    for (int layer = 0; layer < num_layers; ++layer) {
      const std::string prefix = Str("model.layers.", layer, ".self_attn.");
      if (name.compare(0, prefix.size(), prefix) != 0) continue;
      const std::string rest = name.substr(prefix.size());
      // A parameter that the model does have is never asked about.
      return rest == "k_proj.weight" || rest == "v_proj.weight" || rest == "k_proj.bias" ||
             rest == "v_proj.bias";
    }
    return false;
  };
  return {OpenModelWeights(folder, weights), decoder, options};
}

void LoadModelWeights(const std::string& folder, const std::string& weights, DecoderImpl& decoder,
                      bool may_grow_rows) {
  const WeightLoader loader = ModelWeightLoader(folder, weights, decoder, may_grow_rows);
  for (const auto& [name, parameter] : NamedParameters(decoder)) loader.Fill(name, parameter);
}

LoadedModel LoadModel(const ModelArguments& arguments) {
  LoadedModel model;
  model.device = ChooseDevice(arguments.device, "--device");
  AllowTf32(arguments.precision == "tf32");
  model.folder = FindModelFolder(arguments.path, arguments.checkpoint);
  const DecoderConfig config = ReadModelConfig(model.folder);
  const std::string described = ConfigFolder(model.folder);
  model.tokenizer = OpenTokenizer(arguments, described, config.vocab_size);
  model.begins_with_bos = BeginsWithBos(described);
  model.training_window = TrainingWindow(described);
  const std::string chat_template = JoinPath(described, kChatTemplateFile);
  if (FileExists(chat_template)) model.chat_template = chat_template;
  const bool mean = TensorFiles::HasPart(model.folder, "ema");
  model.weights = arguments.weights != "auto" ? arguments.weights : mean ? "ema" : "model";
  model.decoder = Decoder(config);
  model.decoder->to(model.device, WorkingType(arguments.precision));
  LoadModelWeights(model.folder, model.weights, *model.decoder);
  model.decoder->eval();
  return model;
}

}  // namespace ckv
