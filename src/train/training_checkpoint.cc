#include "train/training_checkpoint.h"

#include <mutex>
#include <optional>
#include <tuple>
#include <vector>

#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "base/error.h"
#include "base/file.h"
#include "model/hf_config.h"

namespace ckv {
namespace {

constexpr char kFormat[] = "crosskv-training-state";
constexpr int kVersion = 1;

Tensor GeneratorState(const at::Device& device) {
  at::Generator generator = at::globalContext().defaultGenerator(device);
  std::lock_guard<std::mutex> lock(generator.mutex());
  return generator.get_state();
}

void SetGeneratorState(const at::Device& device, const Tensor& state) {
  at::Generator generator = at::globalContext().defaultGenerator(device);
  std::lock_guard<std::mutex> lock(generator.mutex());
  generator.set_state(state);
}

// A run on another kind of device keeps its own random state.
std::string GeneratorName(const at::Device& device) {
  return device.is_cuda() ? "random.cuda" : "random.cpu";
}

void WriteSynced(const std::string& path, const std::string& content) {
  FileWriter writer(path);
  writer.Write(content);
  writer.Close();
}

std::string Part(const std::string& folder, const char* name) {
  const std::string path = JoinPath(folder, name);
  if (!FileExists(path)) throw FormatError(folder, name, "part of the checkpoint is missing");
  return path;
}

// Tensors to be filled from a file, all checked before the first is.
struct Copies {
  std::vector<std::tuple<const TensorFile*, std::string, Tensor>> items;

  void Add(const TensorFile& file, const AdamW::Named& targets) {
    for (const auto& [name, target] : targets) {
      const SafetensorsEntry* stored = file.header().Find(name);
      if (stored == nullptr) {
        throw FormatError(file.path(), Str("tensor '", name, "'"), "is not there");
      }
      if (at::IntArrayRef(stored->shape) != target.sizes()) {
        throw FormatError(file.path(), Str("tensor '", name, "'"),
                          Str("has the shape ", at::IntArrayRef(stored->shape),
                              ", but the run needs ", target.sizes()));
      }
      items.emplace_back(&file, name, target);
    }
  }
  void Run() {
    for (auto& [file, name, target] : items) target.copy_(file->Read(name));
  }
};

}  // namespace

void SaveTrainingCheckpoint(const std::string& folder, const TrainingParts& parts,
                            const TrainState& state) {
  RemoveAll(folder);
  MakeDirs(folder);
  try {
    const std::map<std::string, std::string> metadata = {{"format", "pt"}};
    const AdamW::Named weights = parts.optimizer->Weights();
    WriteTensors(JoinPath(folder, "model.safetensors"), weights, metadata);
    if (parts.ema != nullptr) {
      WriteTensors(JoinPath(folder, "ema.safetensors"), parts.ema->weights(), metadata);
    }
    AdamW::Named optimizer = parts.optimizer->State();
    optimizer.emplace_back(GeneratorName(parts.device), GeneratorState(parts.device));
    WriteTensors(JoinPath(folder, "optimizer.safetensors"), optimizer);

    const bool wide = weights.front().second.scalar_type() == at::kDouble;
    if (parts.model != nullptr) {
      WriteSynced(JoinPath(folder, "config.json"),
                  ToHfConfig(*parts.model, wide ? "float64" : "float32").dump(2) + "\n");
    }
    for (const auto& [name, content] : parts.files) WriteSynced(JoinPath(folder, name), content);
    WriteSynced(JoinPath(folder, "config.yaml"), parts.config_yaml);
    if (parts.tokenizer != nullptr) {
      WriteSynced(JoinPath(folder, parts.tokenizer->FileName()), parts.tokenizer->FileContent());
    }
    OrderedJson json;
    json["format"] = kFormat;
    json["version"] = kVersion;
    json["train"] = state.ToJson();
    json["data"] = OrderedJson::parse(parts.data->State().dump());
    WriteSynced(JoinPath(folder, "state.json"), json.dump(2) + "\n");
    SyncDir(folder);
  } catch (...) {
    RemoveAll(folder);
    throw;
  }
}

TrainState LoadTrainingCheckpoint(const std::string& folder, const TrainingParts& parts) {
  at::NoGradGuard no_grad;
  const std::string state_path = Part(folder, "state.json");
  const Json json = ReadJsonFile(state_path);
  if (!json.is_object() || json.value("format", "") != kFormat || !json.contains("train") ||
      !json.contains("data")) {
    throw FormatError(state_path, "", Str("is not a ", kFormat, " file"));
  }
  if (json.value("version", 0) != kVersion) {
    throw FormatError(state_path, "version",
                      Str("is ", json.value("version", 0), ", but this program reads ", kVersion));
  }
  // Everything is opened and checked before anything changes.
  const TensorFile weights(Part(folder, "model.safetensors"));
  const TensorFile optimizer(Part(folder, "optimizer.safetensors"));
  std::optional<TensorFile> mean;
  Copies copies;
  copies.Add(weights, parts.optimizer->Weights());
  copies.Add(optimizer, parts.optimizer->State());
  if (parts.ema != nullptr) {
    mean.emplace(Part(folder, "ema.safetensors"));
    copies.Add(*mean, parts.ema->weights());
  }
  const TrainState state = TrainState::FromJson(json.at("train"), state_path);
  parts.data->Restore(json.at("data"));

  copies.Run();
  parts.optimizer->RefreshWorkingWeights();
  const std::string generator = GeneratorName(parts.device);
  if (optimizer.Has(generator)) SetGeneratorState(parts.device, optimizer.Read(generator));
  return state;
}

}  // namespace ckv
