// `ckv bench generate`: the speed of decoding, and what bounds it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "model/decoder.h"

namespace CLI {
class App;
}

namespace ckv {

struct GenerateBenchOptions {
  int64_t prompt = 512;
  int64_t new_tokens = 128;
  int64_t batch = 0;        // 0 = the largest that fits
  double memory_gb = 0.0;   // 10^9 bytes that may be used; 0 = all that the device has
  int64_t context = 0;      // measure at this length alone; 0 = over the new tokens
  bool no_prefill = false;  // measure steps alone, not the prompt
  std::string device = "auto";
  std::string precision = "bf16";  // bf16, fp16, fp32
};

struct GenerateBenchResult {
  std::string kv_sharing;
  int64_t parameters = 0;
  int64_t batch = 0;
  int64_t context = 0;             // mean length of the measured steps
  double step_ms = 0.0;            // median
  double step_spread = 0.0;        // (90th - 10th percentile) / median
  double tokens_per_second = 0.0;  // of the decode phase
  std::optional<double> first_token_ms;
  std::optional<double> whole_tokens_per_second;  // new tokens over prompt and decode phase
  int64_t kv_resident_bytes = 0;
  double kv_read_bytes = 0.0;     // a step
  double kv_written_bytes = 0.0;  // a step
  double weight_bytes = 0.0;      // a step
  double copy_bandwidth = 0.0;    // bytes a second, read and written
  double roofline = 0.0;          // time that the bytes need at that bandwidth / median

  OrderedJson ToJson() const;
};

// A model for measuring, in evaluation mode, its projections packed: the weights of `folder`, or if
// that is empty random ones, which are drawn on the device.
Decoder MakeBenchModel(const DecoderConfig& config, const std::string& folder,
                       const at::Device& device, at::ScalarType type);

// Decodes random tokens with a model of random weights, or of those in `folder` if it is not empty.
// Keys and values of the prompt are random numbers while steps are measured, which changes nothing
// about their speed. Throws ConfigError for what does not fit.
GenerateBenchResult BenchGeneration(const DecoderConfig& config, const std::string& folder,
                                    const GenerateBenchOptions& options);

// Adds `generate` to the parser of `ckv bench`.
void AddBenchGenerate(CLI::App& bench);

}  // namespace ckv
