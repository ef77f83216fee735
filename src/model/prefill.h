// How a prompt is run, as users say it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/decoder.h"

namespace ckv {

struct PrefillOptions {
  std::string order = "auto";  // one of PrefillOrders()
  std::string passes;          // "M,B": without and with gradient in training; "" = the config's
  double tolerance = 0.0;      // DecoderRun::tolerance
  int64_t chunk_tokens = 64;   // of order chunked

  // A run with the prompt's order, without a cache. Throws ConfigError that names the option:
  // --prefill, --passes, --tolerance or --chunk.
  DecoderRun Run() const;
};

// auto: the model config's way (short prompts of cyclic models go token by token); iterative: by
// the plan; sequential: token by token, exact; chunked: blocks, each iterated with those before it
// final.
std::vector<std::string> PrefillOrders();

}  // namespace ckv
