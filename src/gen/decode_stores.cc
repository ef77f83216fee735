#include "gen/decode_stores.h"

#include <algorithm>

#include <ATen/ATen.h>

namespace ckv {

int64_t DecodeStores::bytes() const {
  int64_t total = 0;
  for (const std::vector<Tensor>* stores : {&keys, &values}) {
    for (const Tensor& store : *stores) {
      if (store.defined()) total += static_cast<int64_t>(store.nbytes());
    }
  }
  return total;
}

DecodeStores DecodeStores::FirstRows(int64_t count) const {
  DecodeStores first = *this;
  for (std::vector<Tensor>* stores : {&first.keys, &first.values}) {
    for (Tensor& store : *stores) {
      if (store.defined()) store = store.narrow(0, 0, count);
    }
  }
  first.lengths = lengths.narrow(0, 0, count);
  if (starts.defined()) first.starts = starts.narrow(0, 0, count);
  return first;
}

int64_t DecodeSlots(const DecoderConfig& config, bool windowed, int64_t max_tokens) {
  return windowed && config.sliding_window.has_value()
             ? std::min(*config.sliding_window, max_tokens)
             : max_tokens;
}

int64_t DecodeStoreBytesPerRow(const DecoderConfig& config, int64_t max_tokens,
                               int64_t element_bytes) {
  const KvSharingSpec& spec = config.sharing();
  int64_t slots = 0;
  for (const int layer : spec.kv_layers()) {
    if (spec.computes_k(layer)) {
      slots += DecodeSlots(config, spec.k_readers_windowed(layer), max_tokens);
    }
    if (spec.computes_v(layer)) {
      slots += DecodeSlots(config, spec.v_readers_windowed(layer), max_tokens);
    }
  }
  return slots * config.kv_heads() * config.head_width() * element_bytes;
}

DecodeStores NewDecodeStores(const DecoderConfig& config, int64_t rows, int64_t max_tokens,
                             const at::TensorOptions& options) {
  const KvSharingSpec& spec = config.sharing();
  const auto store = [&](bool windowed) {
    return at::empty(
        {rows, config.kv_heads(), DecodeSlots(config, windowed, max_tokens), config.head_width()},
        options);
  };
  DecodeStores stores;
  stores.max_tokens = max_tokens;
  stores.keys.resize(static_cast<size_t>(spec.num_layers()));
  stores.values.resize(stores.keys.size());
  for (const int layer : spec.kv_layers()) {
    const auto index = static_cast<size_t>(layer);
    if (spec.computes_k(layer)) stores.keys[index] = store(spec.k_readers_windowed(layer));
    if (spec.computes_v(layer)) stores.values[index] = store(spec.v_readers_windowed(layer));
  }
  stores.lengths = at::zeros({rows}, options.dtype(at::kInt));
  return stores;
}

}  // namespace ckv
