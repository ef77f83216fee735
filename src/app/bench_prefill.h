// `ckv bench prefill`: time and error of the orders in which a prompt can be run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "app/prefill_options.h"
#include "base/json.h"
#include "model/decoder.h"

namespace CLI {
class App;
}

namespace ckv {

struct PrefillBenchOptions {
  int64_t tokens = 512;  // of each prompt
  int64_t rows = 1;
  int64_t repeats = 3;  // measurements of each order; the first of them warms up
  uint64_t seed = 0;    // of the random prompt
};

struct PrefillBenchRow {
  PrefillArguments prefill;
  std::vector<int64_t> passes;     // of every iterative group and chunk
  double seconds = 0.0;            // median
  double tokens_per_second = 0.0;  // of all rows together
  double logit_error = 0.0;        // largest, at the last position, against token by token
  double kv_error = 0.0;           // largest of a store, relative to its norm

  OrderedJson ToJson() const;
};

// Runs a random prompt in each order and compares it with the exact one, token by token, which is
// the first row of the result. `decoder` is in evaluation mode.
std::vector<PrefillBenchRow> BenchPrefill(Decoder& decoder,
                                          const std::vector<PrefillArguments>& orders,
                                          const PrefillBenchOptions& options);

// Adds the command to `bench`.
void AddBenchPrefillCommand(CLI::App& bench);

}  // namespace ckv
