// What a decoder with shared keys and values costs, from its shape alone: parameters, KV memory,
// and floating-point operations (FLOPs) of training, prefill and decoding.
//
// Counted are the products with weights (2 FLOPs a weight and token) and of attention (4 FLOPs a
// visible key and channel); norms, rotary embedding, softmax and biases are not. A backward pass
// costs twice the forward pass. The work of the passes is that of IterationPlan, savings included.
//
// Letters: T tokens of a sequence, P tokens in the cache, L layers, H query heads, G key/value
// heads, D head width, C model width, F feed-forward width, V vocabulary.
#pragma once

#include <cstdint>
#include <optional>

#include "sharing/plan.h"
#include "sharing/spec.h"

namespace ckv {

struct ModelShape {
  int64_t hidden = 0;    // C
  int64_t heads = 0;     // H
  int64_t kv_heads = 0;  // G
  int64_t head_dim = 0;  // D
  int64_t ffn = 0;       // F, of a gated feed-forward block: three products
  int64_t vocab = 0;     // V
  bool tied = false;     // the output projection is the input embedding
  bool attention_bias = false;
  bool mlp_bias = false;
  bool hides_own_position = false;  // in every layer (`force_nodiag`)
  std::optional<int64_t> window;    // of the windowed layers; unset: they see everything

  int64_t query_width() const { return heads * head_dim; }  // H * D
  int64_t kv_width() const { return kv_heads * head_dim; }  // G * D
};

// Throws ConfigError(origin, ...) unless all sizes are positive and small enough that nothing here
// overflows, and H is a multiple of G.
void CheckShape(const ModelShape& shape, std::string_view origin = {});

struct ParamCount {
  int64_t embedding = 0;  // input embedding, V * C
  int64_t head = 0;       // output projection; 0 if tied
  int64_t layers = 0;     // and the final norm

  int64_t total() const { return embedding + head + layers; }
  int64_t without_embedding() const { return head + layers; }
};

// Layers that own no keys have no k_proj, layers that own no values no v_proj.
ParamCount CountParams(const KvSharingSpec& spec, const ModelShape& shape);

// Key and value stores, counted apart: 2 L in the plain model.
int64_t NumKvStores(const KvSharingSpec& spec);

// What a cache that holds all positions grows by with each token, summed over layers.
int64_t KvBytesPerToken(const KvSharingSpec& spec, const ModelShape& shape, int64_t bytes_each);

// The cache of one sequence of `tokens`. A store that may forget (sharing/stores.h) holds at most
// `shape.window` of them.
int64_t KvBytesPerSequence(const KvSharingSpec& spec, const ModelShape& shape, int64_t tokens,
                           int64_t bytes_each);

// How many sequences of `tokens` fit with their KVs beside the weights; 0 if not one does. Weights
// and KVs take `bytes_each` a number; activations are not counted.
int64_t LargestBatch(const KvSharingSpec& spec, const ModelShape& shape, int64_t tokens,
                     double memory_bytes, int64_t weight_bytes_each, int64_t kv_bytes_each);

// The longest sequence of which `batch` fit likewise; at most `max_tokens`.
int64_t LargestLength(const KvSharingSpec& spec, const ModelShape& shape, int64_t batch,
                      double memory_bytes, int64_t weight_bytes_each, int64_t kv_bytes_each,
                      int64_t max_tokens);

// The keys that a layer sees, averaged over `tokens` positions after `past` cached ones.
// `hides_own`: the own position is not seen.
double MeanVisibleKeys(int64_t tokens, int64_t past, bool hides_own, std::optional<int64_t> window);

struct TrainFlops {
  double passes = 0;          // a token, with all passes and the exact savings
  double passes_unsaved = 0;  // the same if every pass computed everything
  double plain_visible = 0;   // the plain model of this shape, counted in the same way
  double plain = 0;           // 6 N + 12 L H D T: what model FLOPs utilisation (MFU) counts
};

// FLOPs a token of training on sequences of `tokens`. N in `plain` leaves the input embedding out
// (but has the output projection, tied or not) and is that of the model without sharing.
TrainFlops CountTrainFlops(const IterationPlan& plan, const ModelShape& shape, int64_t tokens,
                           KvStart start = KvStart::kZeros);

// Layers run forward and backward, passes counted, relative to a plain model: 1 without iteration.
// No savings, no attention over keys, no output projection: the measure the papers use.
double LayerPassRatio(const IterationPlan& plan);

// FLOPs of a prompt of `tokens` into an empty cache, for one sequence: with the plan's passes, or
// token by token if that is no more passes. Only layers that feed a store, or the last position,
// are counted; logits for the last position.
double CountPrefillFlops(const IterationPlan& plan, const ModelShape& shape, int64_t tokens);

struct DecodeCost {
  double flops = 0;
  double weight_bytes = 0;   // read once a step, whatever the batch
  double kv_read_bytes = 0;  // every reader reads its stores: sharing does not make this less
  double kv_write_bytes = 0;
};

// One decoding step of `batch` sequences with `past` cached tokens each.
DecodeCost CountDecode(const KvSharingSpec& spec, const ModelShape& shape, int64_t past,
                       int64_t batch, int64_t weight_bytes_each, int64_t kv_bytes_each);

}  // namespace ckv
