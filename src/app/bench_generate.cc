#include "app/bench_generate.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <utility>

#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "app/load_model.h"
#include "base/error.h"
#include "base/progress.h"
#include "gen/decode_engine.h"
#include "nn/device.h"

namespace ckv {
namespace {

// Rows of a prompt that is measured; more rows take so many times longer.
constexpr int64_t kPrefillRows = 64;
// Steps that are measured in a row, and in how many places if not all steps are.
constexpr int64_t kWindowSteps = 24;
constexpr int64_t kWindows = 8;
// Left free on a device: its context, libraries' workspaces.
constexpr int64_t kReservedBytes = int64_t{3} << 29;

double SecondsOf(const std::function<void()>& work, const at::Device& device) {
  Synchronize(device);
  const auto start = std::chrono::steady_clock::now();
  work();
  Synchronize(device);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Bytes a second of a large copy, read and written.
double MeasureCopyBandwidth(const at::Device& device) {
  const int64_t bytes = device.is_cuda() ? int64_t{1} << 30 : int64_t{1} << 27;
  const auto options = at::TensorOptions().device(device).dtype(at::kByte);
  const Tensor from = at::empty({bytes}, options).random_(0, 256);
  Tensor to = at::empty({bytes}, options);
  std::vector<double> seconds;
  for (int i = 0; i < 12; ++i) {
    seconds.push_back(SecondsOf([&] { to.copy_(from); }, device));
  }
  return 2.0 * static_cast<double>(bytes) / Median(seconds);
}

// Bytes of a row of the engine beside its stores; a little more than it takes.
int64_t EngineBytesPerRow(const DecoderConfig& config, int64_t max_tokens, int64_t element) {
  const int64_t heads = config.num_attention_heads;
  const int64_t splits = max_tokens / BestSplit(kPrefillRows, config.kv_heads(), max_tokens) + 1;
  const int64_t numbers = 2 * config.hidden_size + 3 * config.intermediate_size +
                          (3 * heads + 2 * config.kv_heads()) * config.head_width() +
                          config.vocab_size;
  return numbers * element + splits * heads * (config.head_width() + 2) * 4;
}

struct Memory {
  int64_t most = 0;     // bytes that may be in use
  int64_t weights = 0;  // of them
};

int64_t LargestBatch(const DecoderConfig& config, const Memory& memory, int64_t max_tokens,
                     int64_t element) {
  const int64_t row = DecodeStoreBytesPerRow(config, max_tokens, element) +
                      EngineBytesPerRow(config, max_tokens, element);
  const int64_t batch = (memory.most - memory.weights) / row;
  if (batch < 1) {
    throw ConfigError(
        "--batch auto",
        Str("a row of ", max_tokens, " tokens takes ", HumanBytes(static_cast<double>(row)),
            ", but beside the weights there are only ",
            HumanBytes(static_cast<double>(std::max<int64_t>(memory.most - memory.weights, 0)))));
  }
  return batch;
}

// Mean number of keys that a layer sees in a step at `length`.
double VisibleKeys(const DecoderConfig& config, int layer, double length) {
  double visible = length + (config.HidesOwnPosition(layer) ? 0.0 : 1.0);
  if (const std::optional<int64_t> window = config.WindowOf(layer)) {
    const auto most = static_cast<double>(*window - (config.HidesOwnPosition(layer) ? 1 : 0));
    visible = std::min(visible, most);
  }
  return visible;
}

void CountBytes(const DecoderConfig& config, int64_t element, double context,
                GenerateBenchResult& result) {
  const KvSharingSpec& spec = config.sharing();
  const auto token =
      static_cast<double>(config.kv_heads() * config.head_width() * element * result.batch);
  for (int layer = 0; layer < spec.num_layers(); ++layer) {
    result.kv_read_bytes += 2.0 * token * VisibleKeys(config, layer, context);
    result.kv_written_bytes +=
        token * ((spec.computes_k(layer) ? 1.0 : 0.0) + (spec.computes_v(layer) ? 1.0 : 0.0));
  }
  // All matrices but the embedding, of which a step reads a row for each row.
  const int64_t unread = config.tie_word_embeddings ? 0 : config.vocab_size * config.hidden_size;
  result.weight_bytes = static_cast<double>((result.parameters - unread) * element);
  const double bytes = result.kv_read_bytes + result.kv_written_bytes + result.weight_bytes;
  result.roofline = bytes / result.copy_bandwidth / (result.step_ms / 1e3);
}

// Seconds until each row of a batch has its first token.
double MeasurePrefill(Decoder& decoder, int64_t batch, int64_t prompt) {
  const at::Device device = decoder->head_weight().device();
  const int64_t rows = std::min(batch, kPrefillRows);
  const Tensor tokens = at::randint(decoder->config().vocab_size, {rows, prompt},
                                    at::TensorOptions().device(device).dtype(at::kLong));
  std::vector<double> seconds;
  for (int i = 0; i < 4; ++i) {
    seconds.push_back(SecondsOf(
        [&] {
          KvCache cache = decoder->NewCache(rows, prompt);
          DecoderRun run;
          run.cache = &cache;
          run.last_only = true;
          const Tensor hidden = decoder->Hidden({tokens, {}, {}}, run).squeeze(1);
          decoder->Logits(hidden).argmax(-1).cpu();
        },
        device));
  }
  seconds.erase(seconds.begin());  // the first sets libraries up
  return Median(seconds) * static_cast<double>(batch) / static_cast<double>(rows);
}

// The lengths at which steps are measured.
std::vector<int64_t> Windows(const GenerateBenchOptions& options) {
  if (options.context > 0) {
    return {std::max<int64_t>(options.context - kWindowSteps / 2, 0)};
  }
  const int64_t last = options.prompt + std::max<int64_t>(options.new_tokens - kWindowSteps, 0);
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < kWindows; ++i) {
    lengths.push_back(options.prompt + (last - options.prompt) * i / (kWindows - 1));
  }
  return lengths;
}

// Seconds of each step: the time between the arrivals of their tokens, with one step queued ahead.
std::vector<double> MeasureSteps(DecodeEngine& engine, DecodeStores& stores, const Tensor& tokens,
                                 int64_t length, int64_t steps) {
  stores.lengths.fill_(length);
  engine.Start(tokens, length);
  std::vector<double> seconds;
  engine.Step();
  engine.Step();
  engine.Collect();
  auto last = std::chrono::steady_clock::now();
  for (int64_t i = 2; i < steps; ++i) {
    engine.Step();
    engine.Collect();
    const auto arrival = std::chrono::steady_clock::now();
    seconds.push_back(std::chrono::duration<double>(arrival - last).count());
    last = arrival;
  }
  engine.Collect();
  return seconds;
}

void MeasureDecoding(Decoder& decoder, const GenerateBenchOptions& options,
                     GenerateBenchResult& result) {
  const at::TensorOptions numbers = decoder->head_weight().options().requires_grad(false);
  const std::vector<int64_t> windows = Windows(options);
  const int64_t max_tokens =
      std::max(options.prompt + options.new_tokens, windows.back() + kWindowSteps);
  DecodeStores stores = NewDecodeStores(decoder->config(), result.batch, max_tokens, numbers);
  for (std::vector<Tensor>* of : {&stores.keys, &stores.values}) {
    for (Tensor& store : *of) {
      if (store.defined()) store.normal_();
    }
  }
  result.kv_resident_bytes = stores.bytes();
  DecodeEngineOptions engine_options;
  engine_options.sampling.temperature = 0.0;
  DecodeEngine engine(decoder, stores, engine_options);
  const Tensor tokens = at::randint(decoder->config().vocab_size, {result.batch}, at::kLong);
  // What packing the weights has left over would miss where a batch fills the device.
  ReleaseCachedMemory(decoder->head_weight().device());
  MeasureSteps(engine, stores, tokens, windows.front(), 4);  // sets up, records
  std::vector<double> seconds;
  double lengths = 0.0;
  for (const int64_t length : windows) {
    const std::vector<double> steps = MeasureSteps(engine, stores, tokens, length, kWindowSteps);
    seconds.insert(seconds.end(), steps.begin(), steps.end());
    lengths += static_cast<double>(length + kWindowSteps / 2);
  }
  std::sort(seconds.begin(), seconds.end());
  result.context = static_cast<int64_t>(lengths / static_cast<double>(windows.size()));
  result.step_ms = 1e3 * seconds[seconds.size() / 2];
  result.step_spread =
      1e3 * (seconds[seconds.size() * 9 / 10] - seconds[seconds.size() / 10]) / result.step_ms;
  result.tokens_per_second = 1e3 * static_cast<double>(result.batch) / result.step_ms;
}

at::ScalarType BenchType(const std::string& precision) {
  return precision == "fp16" ? at::kHalf : WorkingType(precision);
}

}  // namespace

Decoder MakeBenchModel(const DecoderConfig& config, const std::string& folder,
                       const at::Device& device, at::ScalarType type) {
  const auto usual = at::get_default_dtype();
  at::set_default_dtype(c10::scalarTypeToTypeMeta(type));  // no detour over fp32
  Decoder decoder(config);
  at::set_default_dtype(usual);
  at::NoGradGuard no_grad;
  // Memory on the device instead of copies of what has no values yet.
  for (Tensor& parameter : decoder->parameters()) {
    parameter.set_data(at::empty_like(parameter, device));
  }
  decoder->to(device);
  decoder->eval();
  decoder->PackProjections();
  if (!folder.empty()) {
    LoadModelWeights(folder, "model", *decoder);
    return decoder;
  }
  torch::manual_seed(0);
  for (Tensor& parameter : decoder->parameters()) {
    if (parameter.dim() == 2) {
      parameter.normal_(0.0, config.initializer_range);
    } else {
      parameter.fill_(1.0);
    }
  }
  return decoder;
}

OrderedJson GenerateBenchResult::ToJson() const {
  OrderedJson json;
  json["kv_sharing"] = kv_sharing;
  json["parameters"] = parameters;
  json["batch"] = batch;
  json["context"] = context;
  json["step_ms"] = step_ms;
  json["step_spread"] = step_spread;
  json["tokens_per_second"] = tokens_per_second;
  if (first_token_ms.has_value()) json["first_token_ms"] = *first_token_ms;
  if (whole_tokens_per_second.has_value()) {
    json["whole_tokens_per_second"] = *whole_tokens_per_second;
  }
  json["kv_resident_bytes"] = kv_resident_bytes;
  json["kv_read_bytes"] = kv_read_bytes;
  json["kv_written_bytes"] = kv_written_bytes;
  json["weight_bytes"] = weight_bytes;
  json["copy_bandwidth"] = copy_bandwidth;
  json["roofline"] = roofline;
  return json;
}

GenerateBenchResult BenchGeneration(const DecoderConfig& config, const std::string& folder,
                                    const GenerateBenchOptions& options) {
  at::NoGradGuard no_grad;
  const at::Device device = ChooseDevice(options.device, "--device");
  const at::ScalarType type = BenchType(options.precision);
  GenerateBenchResult result;
  result.kv_sharing = config.sharing().ToString();
  result.copy_bandwidth = MeasureCopyBandwidth(device);
  ReleaseCachedMemory(device);
  Memory memory;
  const int64_t free = FreeMemoryBytes(device);
  memory.most = options.memory_gb > 0.0 ? static_cast<int64_t>(options.memory_gb * 1e9) : free;
  memory.most = std::min(memory.most, free - kReservedBytes);

  Decoder decoder = MakeBenchModel(config, folder, device, type);
  result.parameters = decoder->NumParameters();
  const auto element = static_cast<int64_t>(c10::elementSize(type));
  memory.weights = result.parameters * element;
  const int64_t max_tokens =
      std::max(options.prompt + options.new_tokens, options.context + kWindowSteps);
  result.batch =
      options.batch > 0 ? options.batch : LargestBatch(config, memory, max_tokens, element);
  double prefill = 0.0;
  if (!options.no_prefill) {
    prefill = MeasurePrefill(decoder, result.batch, options.prompt);
    result.first_token_ms = 1e3 * prefill;
    ReleaseCachedMemory(device);
  }
  MeasureDecoding(decoder, options, result);
  if (!options.no_prefill) {
    const double decode = result.step_ms / 1e3 * static_cast<double>(options.new_tokens - 1);
    result.whole_tokens_per_second =
        static_cast<double>(result.batch * options.new_tokens) / (prefill + decode);
  }
  CountBytes(config, element, static_cast<double>(result.context), result);
  return result;
}

}  // namespace ckv
