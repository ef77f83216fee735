// The keys and values that a decode step reads and extends, and how long its rows are.
//
// Position t of a row lies in slot t % slots of a store, for the keys and for the values of a layer
// apart. A store that some layer without a window reads has a slot for every position; where all
// readers have a window of W, the last W positions are enough.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/TensorOptions.h>

#include "model/decoder_config.h"

namespace ckv {

using at::Tensor;

struct DecodeStores {
  std::vector<Tensor> keys;    // of each layer [rows, G, slots, D]; undefined = it owns none
  std::vector<Tensor> values;  // likewise
  Tensor lengths;              // [rows] int32: positions in use
  Tensor starts;               // [rows] int32: padding in front of a row; undefined = none
  int64_t max_tokens = 0;      // positions that a row can have

  int64_t rows() const { return lengths.size(0); }
  // Memory of the stores.
  int64_t bytes() const;
  // The same memory, but for its first rows only.
  DecodeStores FirstRows(int64_t count) const;
};

// Slots that a store needs; `windowed`: all its readers have a window.
int64_t DecodeSlots(const DecoderConfig& config, bool windowed, int64_t max_tokens);

// Bytes of all stores for a row, with numbers of `element_bytes`.
int64_t DecodeStoreBytesPerRow(const DecoderConfig& config, int64_t max_tokens,
                               int64_t element_bytes);

// Empty stores (lengths 0, memory not written) for `rows` rows.
DecodeStores NewDecodeStores(const DecoderConfig& config, int64_t rows, int64_t max_tokens,
                             const at::TensorOptions& options);

}  // namespace ckv
