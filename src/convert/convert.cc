#include "convert/convert.h"

#include <utility>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/signals.h"
#include "ckpt/adapter.h"
#include "convert/owner_projections.h"
#include "convert/side_files.h"
#include "convert/tensor_list.h"
#include "sharing/parse_config.h"

namespace ckv {
namespace {

struct NamedDtype {
  SafetensorsDtype dtype;
  const char* name;
};
constexpr NamedDtype kTorchNames[] = {{SafetensorsDtype::kF64, "float64"},
                                      {SafetensorsDtype::kF32, "float32"},
                                      {SafetensorsDtype::kF16, "float16"},
                                      {SafetensorsDtype::kBF16, "bfloat16"}};

std::string TorchName(SafetensorsDtype dtype) {
  for (const NamedDtype& row : kTorchNames) {
    if (row.dtype == dtype) return row.name;
  }
  throw InternalError("a dtype that no model is stored in");
}

// A folder that is removed unless it was renamed to its place.
class UnfinishedFolder {
 public:
  explicit UnfinishedFolder(const std::string& place)
      : place_(place), path_(JoinPath(DirName(place), Str(".", BaseName(place), ".unfinished"))) {
    RemoveAll(path_);  // of a run that was killed
    MakeDirs(path_);
  }
  ~UnfinishedFolder() {
    if (path_.empty()) return;
    try {
      RemoveAll(path_);
    } catch (const Error&) {
      // The reason why the work failed is on its way and says more.
    }
  }
  UnfinishedFolder(const UnfinishedFolder&) = delete;
  UnfinishedFolder& operator=(const UnfinishedFolder&) = delete;

  const std::string& path() const { return path_; }
  void Finish() {
    SyncDir(path_);
    RenameDurably(path_, place_);
    path_.clear();
  }

 private:
  std::string place_;
  std::string path_;
};

std::string WithoutEndSlash(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

std::string ConfigPath(const ConvertOptions& options) {
  return JoinPath(ConfigFolder(options.source), "config.json");
}

Json SourceJson(const ConvertOptions& options) { return ReadJsonFile(ConfigPath(options)); }

DecoderConfig SourceConfig(const ConvertOptions& options) {
  return FromHfConfig(SourceJson(options), ConfigPath(options));
}

TensorFiles OpenWeights(const ConvertOptions& options) {
  return OpenModelWeights(options.source, options.ema ? "ema" : "model");
}

void ThrowIfInterrupted() {
  const int signal = PendingSignal();
  if (signal != 0) throw Interrupted(signal, "the conversion was stopped; nothing was written");
}

// What is written for each tensor of the target.
std::vector<OutputTensor> PlanTensors(const ConvertOptions& options, const TensorFiles& files,
                                      const DecoderConfig& target, OwnerProjections& projections) {
  std::vector<OutputTensor> outputs;
  for (const ModelTensor& tensor : ModelTensors(target)) {
    OutputTensor output;
    const std::string& like =
        projections.IsMade(tensor) ? projections.AnySourceOf(tensor) : tensor.name;
    output.description = {tensor.name, options.dtype.value_or(files.Dtype(like)), tensor.shape};
    const at::ScalarType dtype = MemoryDtype(output.description.dtype);
    output.make = [&files, &projections, tensor, dtype] {
      const Tensor made =
          projections.IsMade(tensor) ? projections.Make(tensor) : files.Read(tensor.name);
      return made.to(dtype);
    };
    outputs.push_back(std::move(output));
  }
  return outputs;
}

void WriteSideFiles(const ConvertOptions& options, const std::string& folder,
                    ConvertReport& report) {
  report.side_files = CopySideFiles(ConfigFolder(options.source), folder);
  if (options.format == HfFormat::kNative) return;
  if (WriteTokenizerConfig(folder)) report.side_files.emplace_back("tokenizer_config.json");
  for (const char* name : {"tokenizer.byte", "tokenizer.char"}) {
    if (FileExists(JoinPath(folder, name))) {
      report.warnings.push_back(Str(name, " comes along, but Transformers has no such tokenizer"));
    }
  }
  if (report.model_type != "crosskv-llama") return;
  for (const auto& [name, content] : ModelingFiles()) {
    WriteFileAtomically(JoinPath(folder, name), content);
    report.side_files.push_back(name);
  }
}

}  // namespace

DecoderConfig TargetConfig(const ConvertOptions& options) {
  DecoderConfig config = SourceConfig(options);
  if (options.sharing.has_value()) {
    const ResolvedSharing resolved = ResolveSharing(*options.sharing, config.num_layers);
    config.kv_sharing = *options.sharing;
    if (resolved.window.has_value()) config.sliding_window.reset();
  }
  if (options.window.has_value()) config.sliding_window = options.window;
  config.Resolve();
  return config;
}

void CheckConversion(const ConvertOptions& options) {
  const std::string out = WithoutEndSlash(options.out);
  if (FileExists(out)) {
    throw ConfigError("--out", Str(out, " is there already; name a folder to be made"));
  }
  const DecoderConfig source = SourceConfig(options);
  CheckModelTensors(OpenWeights(options), source);
  const DecoderConfig target = TargetConfig(options);
  CheckSources(options.method, source, target, options.source);
  ToHfConfig(target, "float32", options.format);  // throws what the format cannot say
}

ConvertReport ConvertModel(const ConvertOptions& options, const Calibration* calibration) {
  CheckConversion(options);
  const DecoderConfig source = SourceConfig(options);
  const TensorFiles files = OpenWeights(options);
  ConvertReport report;
  report.config = TargetConfig(options);
  report.warnings = ExportWarnings(report.config, options.format);

  OwnerProjections projections(files, source, report.config, options.method, options.ridge,
                               calibration);
  const std::vector<OutputTensor> tensors = PlanTensors(options, files, report.config, projections);
  const OrderedJson config = WithKeysOf(
      SourceJson(options),
      ToHfConfig(report.config, TorchName(tensors.front().description.dtype), options.format));
  report.model_type = config.at("model_type").get<std::string>();
  report.num_tensors = static_cast<int64_t>(tensors.size());

  UnfinishedFolder folder(WithoutEndSlash(options.out));
  report.weights = WriteShards(folder.path(), tensors, options.max_shard_bytes, ThrowIfInterrupted);
  WriteFileAtomically(JoinPath(folder.path(), "config.json"), config.dump(2) + "\n");
  WriteSideFiles(options, folder.path(), report);
  report.num_changed = projections.num_changed();
  folder.Finish();
  return report;
}

}  // namespace ckv
