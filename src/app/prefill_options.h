// The options that say how a prompt is run where layers read a layer above them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "model/decoder.h"

namespace CLI {
class App;
}

namespace ckv {

struct PrefillArguments {
  std::string order = "auto";
  std::string passes;
  std::optional<double> tolerance;  // not given: the model's
  std::optional<int64_t> chunk;     // of chunked; 64 if not given

  // Adds --prefill, --passes, --tolerance and --chunk to a command. This object must outlive the
  // parser.
  void AddOptions(CLI::App& command);

  // The run of a prompt, without cache. Throws ConfigError for values that make no sense, or none
  // for this model.
  DecoderRun Run(const DecoderConfig& config) const;
};

}  // namespace ckv
