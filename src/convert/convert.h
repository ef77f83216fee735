// From one model folder to another: other sharing, other format, other dtype, other shards.
//
// Tensors are read, changed and written one after the other; no model is held. The result is
// written beside its place and renamed when it is complete, so that after a failure nothing of it
// is left. What is not asked to change is copied bit for bit.
//
// Source: the conversion script of LCKV (Wu and Tu 2024), whose `average` and `direct` these are.
// Unlike it, biases are converted like weights, and embeddings stay tied or untied.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ckpt/tensor_file.h"
#include "config/value.h"
#include "convert/calibration.h"
#include "convert/shard_writer.h"
#include "model/decoder_config.h"
#include "model/hf_config.h"

namespace ckv {

struct ConvertOptions {
  std::string source;                  // folder with config.json and weights, or an adapter's
  bool ema = false;                    // the running mean of the weights, ema.safetensors
  std::string out;                     // folder to make
  std::optional<ConfigValue> sharing;  // as model.kv_sharing; nullopt = the source's
  std::optional<int64_t> window;   // of layers marked s, where neither preset nor source has one
  std::string method = "average";  // average | direct | svd | calibrated
  double ridge = 1e-4;             // of `calibrated`
  HfFormat format = HfFormat::kNative;
  std::optional<SafetensorsDtype> dtype;  // nullopt = as stored
  int64_t max_shard_bytes = 5'000'000'000;
};

struct ConvertReport {
  DecoderConfig config;
  std::string model_type;
  int64_t num_tensors = 0;
  int64_t num_changed = 0;  // projections that are not copies of the owner's own
  WrittenWeights weights;
  std::vector<std::string> side_files;
  std::vector<std::string> warnings;
};

// The config that the result will have. Throws ConfigError and FormatError.
DecoderConfig TargetConfig(const ConvertOptions& options);

// What ConvertModel checks before it begins, for callers that have long work to do first: that
// `out` is free, the source complete, and that it has the projections that the method needs. Throws
// ConfigError and FormatError.
void CheckConversion(const ConvertOptions& options);

// Converts. `calibration` has seen its text; nullptr unless the method is `calibrated`. Throws
// ConfigError (options; `out` is there already), FormatError, IoError, and Interrupted if a signal
// that WatchSignals notes has come.
ConvertReport ConvertModel(const ConvertOptions& options, const Calibration* calibration = nullptr);

}  // namespace ckv
