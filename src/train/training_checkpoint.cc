#include "train/training_checkpoint.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "ckpt/adapter.h"
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

int RankOf(const TrainingParts& parts) {
  return parts.parallel == nullptr ? 0 : parts.parallel->group().rank();
}

int WorldOf(const TrainingParts& parts) {
  return parts.parallel == nullptr ? 1 : parts.parallel->group().world();
}

// A run on another kind of device, or with another number of ranks, keeps its own random state.
std::string GeneratorName(const TrainingParts& parts) {
  const std::string name = parts.device.is_cuda() ? "random.cuda" : "random.cpu";
  const int world = WorldOf(parts);
  return world == 1 ? name : Str(name, ".", RankOf(parts), "-of-", world);
}

// "model.safetensors", or "model-00002-of-00004.safetensors" for rank 1 of 4.
std::string FileOf(const std::string& stem, const char* suffix, int rank, int world) {
  if (world == 1) return stem + suffix;
  char text[64];
  std::snprintf(text, sizeof(text), "-%05d-of-%05d", rank + 1, world);
  return stem + text + suffix;
}

// Which rank writes each parameter: neighbours together, about as many bytes for each.
std::vector<int> WritersOf(const TrainingParts& parts) {
  std::vector<int> writers;
  const auto& parameters = parts.parallel->parameters();
  int64_t total = 0;
  for (const auto& item : parameters) total += item.second.numel();
  int64_t before = 0;
  for (const auto& item : parameters) {
    writers.push_back(static_cast<int>(before * WorldOf(parts) / total));
    before += item.second.numel();
  }
  return writers;
}

NamedTensors OnCpu(const AdamW::Named& tensors) {
  NamedTensors copies;
  for (const auto& [name, tensor] : tensors) {
    copies.emplace_back(name, tensor.detach().to(at::kCPU, tensor.scalar_type(), false, true));
  }
  return copies;
}

// State tensors of one kind ("exp_avg."), parallel to DataParallel::owned(); an empty kind holds
// those that belong to no parameter.
struct StateOfKind {
  std::string kind;
  std::vector<Tensor> slices;
  AdamW::Named others;
};

std::vector<StateOfKind> ByKind(const AdamW::Named& state, const DataParallel& parallel) {
  std::map<std::string, size_t> owned;
  for (size_t i = 0; i < parallel.owned().size(); ++i) owned[parallel.owned()[i].first] = i;
  std::vector<StateOfKind> kinds(1);
  for (const auto& [name, tensor] : state) {
    const size_t dot = name.find('.');
    const auto found = dot == std::string::npos ? owned.end() : owned.find(name.substr(dot + 1));
    if (found == owned.end()) {
      kinds[0].others.emplace_back(name, tensor);
      continue;
    }
    const std::string kind = name.substr(0, dot + 1);
    auto place = std::find_if(kinds.begin() + 1, kinds.end(),
                              [&](const StateOfKind& one) { return one.kind == kind; });
    if (place == kinds.end()) {
      kinds.push_back({kind, std::vector<Tensor>(owned.size()), {}});
      place = kinds.end() - 1;
    }
    place->slices[found->second] = tensor;
  }
  return kinds;
}

// A snapshot's tensors as all ranks share them.
class SharedParts {
 public:
  SharedParts(const TrainingParts& parts, CheckpointSnapshot* snapshot)
      : parts_(parts), snapshot_(snapshot), writers_(WritersOf(parts)) {}

  // Adds a file of this rank's share of all kinds, and the index of all ranks' files.
  void Add(const std::string& stem, const std::vector<StateOfKind>& kinds,
           const std::vector<std::pair<int, NamedTensors>>& extra,
           const std::map<std::string, std::string>& metadata = {}) {
    DataParallel& parallel = *parts_.parallel;
    const int rank = RankOf(parts_);
    const int world = WorldOf(parts_);
    OrderedJson weight_map = OrderedJson::object();
    CheckpointSnapshot::TensorPart mine;
    mine.file = FileOf(stem, ".safetensors", rank, world);
    mine.metadata = metadata;
    for (const StateOfKind& kind : kinds) {
      std::map<size_t, Tensor> whole;
      parallel.ForWhole(
          kind.slices, [&](size_t p) { return writers_[p] == rank; },
          [&](size_t p, const Tensor& tensor) {
            whole[p] = tensor.detach().to(at::kCPU, tensor.scalar_type(), false, true);
          });
      for (const auto& [p, tensor] : whole) {
        mine.tensors.emplace_back(kind.kind + parallel.parameters()[p].first, tensor);
      }
      for (size_t p = 0; p < writers_.size(); ++p) {
        weight_map[kind.kind + parallel.parameters()[p].first] =
            FileOf(stem, ".safetensors", writers_[p], world);
      }
    }
    for (const auto& [writer, tensors] : extra) {
      for (const auto& [name, tensor] : tensors) {
        weight_map[name] = FileOf(stem, ".safetensors", writer, world);
        if (writer == rank) mine.tensors.emplace_back(name, tensor);
      }
    }
    if (!mine.tensors.empty()) snapshot_->tensors.push_back(std::move(mine));
    if (rank != 0) return;
    OrderedJson index;
    index["metadata"] = OrderedJson::object();
    index["weight_map"] = weight_map;
    snapshot_->texts.emplace_back(stem + ".safetensors.index.json", index.dump(2) + "\n");
  }

 private:
  const TrainingParts& parts_;
  CheckpointSnapshot* snapshot_;
  std::vector<int> writers_;
};

StateOfKind PlainKind(const AdamW::Named& tensors) {
  StateOfKind kind;
  for (const auto& item : tensors) kind.slices.push_back(item.second);
  return kind;
}

std::map<std::string, std::string> WeightsMetadata(const TrainingParts& parts) {
  std::map<std::string, std::string> metadata = {{"format", "pt"}};
  if (!parts.base_hash.empty()) metadata[kBaseHashKey] = parts.base_hash;
  return metadata;
}

// On several ranks.
void SnapshotShared(const TrainingParts& parts, CheckpointSnapshot* snapshot) {
  SharedParts shared(parts, snapshot);
  const std::map<std::string, std::string> metadata = WeightsMetadata(parts);
  shared.Add(parts.weights_stem, {PlainKind(parts.optimizer->Weights())}, {}, metadata);
  if (parts.ema != nullptr) shared.Add("ema", {PlainKind(parts.ema->weights())}, {}, metadata);
  std::vector<StateOfKind> kinds = ByKind(parts.optimizer->State(), *parts.parallel);
  std::vector<std::pair<int, NamedTensors>> extra = {{0, OnCpu(kinds.front().others)}};
  kinds.erase(kinds.begin());
  // Every rank's generator; only its own one has the content.
  const std::string own = GeneratorName(parts);
  for (int rank = 0; rank < WorldOf(parts); ++rank) {
    const std::string name = own.substr(0, own.rfind('.') + 1) + Str(rank, "-of-", WorldOf(parts));
    extra.emplace_back(rank, NamedTensors{{name, GeneratorState(parts.device)}});
  }
  shared.Add("optimizer", kinds, extra);
}

void WriteSynced(const std::string& path, const std::string& content) {
  FileWriter writer(path);
  writer.Write(content);
  writer.Close();
}

// Tensors to be filled from files, all checked before the first is.
class Copies {
 public:
  explicit Copies(const DataParallel* parallel) : parallel_(parallel) {
    if (parallel == nullptr) return;
    for (size_t i = 0; i < parallel->owned().size(); ++i) owned_[parallel->owned()[i].first] = i;
  }

  void Add(const TensorFiles& files, const AdamW::Named& targets) {
    for (const auto& [name, target] : targets) {
      if (!files.Has(name)) {
        throw FormatError(files.PathOf(files.Names().front()), Str("tensor '", name, "'"),
                          "is not there");
      }
      const std::optional<size_t> slice = SliceOf(name);
      const std::vector<int64_t> needed = slice.has_value()
                                              ? parallel_->shape(parallel_->ParameterOf(*slice))
                                              : target.sizes().vec();
      if (files.Shape(name) != needed) {
        throw FormatError(files.PathOf(name), Str("tensor '", name, "'"),
                          Str("has the shape ", at::IntArrayRef(files.Shape(name)),
                              ", but the run needs ", at::IntArrayRef(needed)));
      }
      items_.push_back({&files, name, target, slice});
    }
  }
  void Run() {
    for (const Item& item : items_) {
      const Tensor stored = item.files->Read(item.name);
      Tensor target = item.target;
      target.copy_(item.slice.has_value() ? parallel_->SliceOfWhole(*item.slice, stored) : stored);
    }
  }

 private:
  struct Item {
    const TensorFiles* files;
    std::string name;
    Tensor target;
    std::optional<size_t> slice;  // of DataParallel::owned()
  };

  // What a tensor is a slice of: a parameter, or its state "exp_avg.<name>".
  std::optional<size_t> SliceOf(const std::string& name) const {
    auto found = owned_.find(name);
    if (found == owned_.end() && name.find('.') != std::string::npos) {
      found = owned_.find(name.substr(name.find('.') + 1));
    }
    return found == owned_.end() ? std::nullopt : std::optional<size_t>(found->second);
  }

  const DataParallel* parallel_;
  std::map<std::string, size_t> owned_;
  std::vector<Item> items_;
};

std::pair<uint64_t, uint64_t> SizeAndHash(const std::string& path) {
  const MappedFile file(path);
  return {file.size(), Fnv1a64({reinterpret_cast<const char*>(file.data()), file.size()})};
}

}  // namespace

CheckpointSnapshot TakeSnapshot(const TrainingParts& parts, const TrainState& state) {
  at::NoGradGuard no_grad;
  CheckpointSnapshot snapshot;
  const int world = WorldOf(parts);
  snapshot.checksum_file = FileOf("checksums", ".json", RankOf(parts), world);
  const AdamW::Named weights = parts.optimizer->Weights();
  if (world > 1) {
    SnapshotShared(parts, &snapshot);
  } else {
    const std::map<std::string, std::string> metadata = WeightsMetadata(parts);
    // Slices of one rank are whole, but vectors.
    const auto whole = [&](const AdamW::Named& tensors) {
      if (parts.parallel == nullptr) return OnCpu(tensors);
      NamedTensors result = OnCpu(tensors);
      for (auto& [name, tensor] : result) {
        for (size_t i = 0; i < parts.parallel->owned().size(); ++i) {
          const std::string& owned = parts.parallel->owned()[i].first;
          if (name == owned || name.substr(name.find('.') + 1) == owned) {
            tensor = tensor.view(parts.parallel->shape(parts.parallel->ParameterOf(i)));
          }
        }
      }
      return result;
    };
    snapshot.tensors.push_back({parts.weights_stem + ".safetensors", whole(weights), metadata});
    if (parts.ema != nullptr) {
      snapshot.tensors.push_back({"ema.safetensors", whole(parts.ema->weights()), metadata});
    }
    NamedTensors optimizer = whole(parts.optimizer->State());
    optimizer.emplace_back(GeneratorName(parts), GeneratorState(parts.device));
    snapshot.tensors.push_back({"optimizer.safetensors", std::move(optimizer), {}});
  }
  if (RankOf(parts) != 0) return snapshot;

  const bool wide = weights.front().second.scalar_type() == at::kDouble;
  if (parts.model != nullptr) {
    snapshot.texts.emplace_back(
        "config.json", ToHfConfig(*parts.model, wide ? "float64" : "float32").dump(2) + "\n");
  }
  for (const auto& file : parts.files) snapshot.texts.push_back(file);
  snapshot.texts.emplace_back("config.yaml", parts.config_yaml);
  if (parts.tokenizer != nullptr) {
    snapshot.texts.emplace_back(parts.tokenizer->FileName(), parts.tokenizer->FileContent());
  }
  OrderedJson json;
  json["format"] = kFormat;
  json["version"] = kVersion;
  json["ranks"] = world;
  json["train"] = state.ToJson();
  json["data"] = OrderedJson::parse(parts.data->State().dump());
  snapshot.texts.emplace_back("state.json", json.dump(2) + "\n");
  return snapshot;
}

void WriteSnapshot(const std::string& folder, const CheckpointSnapshot& snapshot) {
  OrderedJson sums = OrderedJson::object();
  const auto note = [&](const std::string& file) {
    const auto [size, hash] = SizeAndHash(JoinPath(folder, file));
    sums[file] = {{"bytes", size}, {"fnv1a64", HashHex(hash)}};
  };
  for (const CheckpointSnapshot::TensorPart& part : snapshot.tensors) {
    WriteTensors(JoinPath(folder, part.file), part.tensors, part.metadata);
    note(part.file);
  }
  for (const auto& [file, content] : snapshot.texts) {
    WriteSynced(JoinPath(folder, file), content);
    note(file);
  }
  WriteSynced(JoinPath(folder, snapshot.checksum_file), sums.dump(2) + "\n");
  SyncDir(folder);
}

void SaveTrainingCheckpoint(const std::string& folder, const TrainingParts& parts,
                            const TrainState& state) {
  CKV_CHECK(WorldOf(parts) == 1, "several ranks save by train/checkpoint_saver.h");
  RemoveAll(folder);
  MakeDirs(folder);
  try {
    WriteSnapshot(folder, TakeSnapshot(parts, state));
  } catch (...) {
    RemoveAll(folder);
    throw;
  }
}

void VerifyCheckpoint(const std::string& folder, int rank, int world) {
  const std::string state_path = JoinPath(folder, "state.json");
  if (!FileExists(state_path)) {
    throw FormatError(folder, "state.json", "part of the checkpoint is missing");
  }
  const Json state = ReadJsonFile(state_path);
  const bool good = state.is_object() && state.value("ranks", Json()).is_number_integer();
  if (!good || state["ranks"] < 1 || state["ranks"] > 1 << 20) {
    throw FormatError(state_path, "ranks", "must be a whole number from 1 to 2^20");
  }
  const int writers = state["ranks"].get<int>();
  for (int writer = rank; writer < writers; writer += world) {
    const std::string name = FileOf("checksums", ".json", writer, writers);
    const std::string path = JoinPath(folder, name);
    if (!FileExists(path)) throw FormatError(folder, name, "part of the checkpoint is missing");
    const Json sums = ReadJsonFile(path);
    if (!sums.is_object()) throw FormatError(path, "", "must be a JSON object");
    for (const auto& [file, expected] : sums.items()) {
      const std::string file_path = JoinPath(folder, file);
      if (!FileExists(file_path)) {
        throw FormatError(folder, file, "part of the checkpoint is missing");
      }
      const auto [size, hash] = SizeAndHash(file_path);
      if (!expected.is_object() || !expected.value("bytes", Json()).is_number_unsigned() ||
          !expected.value("fnv1a64", Json()).is_string()) {
        throw FormatError(path, file, "must have bytes and fnv1a64");
      }
      if (size != expected["bytes"].get<uint64_t>()) {
        throw FormatError(
            file_path, "",
            Str("has ", size, " bytes, but was written with ", expected["bytes"].get<uint64_t>()));
      }
      if (HashHex(hash) != expected["fnv1a64"].get<std::string>()) {
        throw FormatError(file_path, "",
                          "its content is not what was written: the checksum differs");
      }
    }
  }
}

TrainState LoadTrainingCheckpoint(const std::string& folder, const TrainingParts& parts) {
  at::NoGradGuard no_grad;
  const std::string state_path = JoinPath(folder, "state.json");
  if (!FileExists(state_path)) {
    throw FormatError(folder, "state.json", "part of the checkpoint is missing");
  }
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
  const TensorFiles weights = TensorFiles::OpenPart(folder, parts.weights_stem);
  if (weights.Metadata(kBaseHashKey) != parts.base_hash) {
    throw FormatError(folder, parts.weights_stem,
                      "was trained on a base model with other weights than those of this run");
  }
  const TensorFiles optimizer = TensorFiles::OpenPart(folder, "optimizer");
  std::optional<TensorFiles> mean;
  Copies copies(parts.parallel);
  copies.Add(weights, parts.optimizer->Weights());
  copies.Add(optimizer, parts.optimizer->State());
  if (parts.ema != nullptr) {
    mean.emplace(TensorFiles::OpenPart(folder, "ema"));
    copies.Add(*mean, parts.ema->weights());
  }
  const TrainState state = TrainState::FromJson(json.at("train"), state_path);
  parts.data->Restore(json.at("data"));

  copies.Run();
  parts.optimizer->RefreshWorkingWeights();
  if (parts.parallel != nullptr) parts.parallel->SpreadWeights();
  const std::string generator = GeneratorName(parts);
  if (optimizer.Has(generator)) SetGeneratorState(parts.device, optimizer.Read(generator));
  return state;
}

}  // namespace ckv
