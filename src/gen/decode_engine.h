// One token a row and step, as fast as the device can: the fused operations of nn/decode_*.h over
// memory that never moves, tokens chosen on the device, and on a GPU the whole step recorded once
// for each of a few batch sizes and then queued with one call. The host never waits inside a step;
// it may collect the tokens of a step while the next one runs.
//
// The result is that of DecoderImpl::Hidden with a cache, one token at a time: layers run in order,
// each writes the keys and values it owns before it reads, and a layer that reads a layer above
// sees earlier tokens only.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>

#include "gen/decode_stores.h"
#include "gen/sampler.h"
#include "model/decoder.h"
#include "nn/decode_attention.h"
#include "nn/decode_linear.h"
#include "nn/device_graph.h"

namespace ckv {

struct DecodeEngineOptions {
  SamplingOptions sampling;
  int64_t num_ids = 0;  // only ids below are chosen; 0 = the model's vocabulary
  bool graphs = true;   // record steps, where the device can
  bool choose = true;   // false: steps give logits, and each needs a Start with the next tokens
  // For at least as many rows as the stores have: steps draw from it and go on with it. Undefined:
  // Step is given the draws, and there can be no repetition penalty.
  ChoiceState state;
};

// What the rows of a step chose, on the host.
struct DecodeChoice {
  Tensor ids;        // [B] int64
  Tensor log_probs;  // [B] fp32 (fp64 for doubles)
};

class DecodeEngine {
 public:
  // Steps that may be queued and not yet collected.
  static constexpr size_t kInFlight = 2;

  // Serves the rows of `stores`, which the engine extends and whose lengths it counts. Lays the
  // decoder's q, k, v and its gate, up projections side by side; the decoder goes on using them
  // there. Throws ConfigError for "dynamic" RoPE scaling, under which old keys would change.
  DecodeEngine(Decoder& decoder, DecodeStores stores, const DecodeEngineOptions& options);

  // The next step takes `tokens` [B] (int64, any device) as the tokens of rows 0 .. B - 1, whose
  // stores hold up to `longest` positions; the rows behind them are of no interest (and may get a
  // position, as the batch is rounded up to one that is recorded). Forgets uncollected steps.
  void Start(const Tensor& tokens, int64_t longest);

  // Queues a step: adds one position to each row and chooses its next token, which the next step
  // takes. Without a state `uniform` [B] fp64 on the CPU, numbers in [0, 1), decide unless the
  // choice is greedy. Throws InternalError if a row is full.
  void Step(const Tensor& uniform = {});
  // Nothing is in the way of a step.
  bool can_step() const { return longest_ < stores_.max_tokens && in_flight() < kInFlight; }
  // Steps that are not collected.
  size_t in_flight() const { return static_cast<size_t>(steps_ - collected_); }

  // Waits for the oldest step that is not collected, and for it alone. A row whose logits are not
  // numbers has a log-probability that is none either.
  DecodeChoice Collect();

  // Of the last step: [B, V], valid until the next one.
  Tensor logits() const { return logits_.narrow(0, 0, batch_); }
  // What the last step chose, [B] int64 on the device: the tokens of the next one.
  Tensor tokens() const { return tokens_.narrow(0, 0, batch_); }

  int64_t batch() const { return batch_; }
  // Positions in use, [rows] int32, which only the owner of the stores may change, between steps.
  Tensor& lengths() { return stores_.lengths; }
  // The batch that a step of `batch` rows runs with: a power of two, or all rows.
  int64_t Bucket(int64_t batch) const;

 private:
  struct Layer {
    DecodeLinear qkv;  // what the layer owns of k and v
    DecodeLinear out;
    DecodeLinear gate_up;
    DecodeLinear down;
    Tensor own_keys;  // stores that it extends; undefined = it owns none
    Tensor own_values;
    Tensor keys;  // stores that it reads
    Tensor values;
    int64_t window = 0;
    bool strict = false;
  };
  struct Bucketed {
    std::unique_ptr<DecodeAttentionScratch> scratch;  // nullptr: no step has run
    DeviceGraph graph;
  };
  struct Fetched {
    Tensor chosen;  // as chosen_; pinned memory on a GPU's host
    int64_t batch = 0;
    std::unique_ptr<c10::Event> done;  // nullptr: nothing to wait for
  };

  void PackWeights(Decoder& decoder);
  void MakeBuffers(const Decoder& decoder);
  void RunLayer(Layer& layer, Tensor& stream, const DecodeAttentionScratch& scratch);
  void RunStep(int64_t batch, const DecodeAttentionScratch& scratch);
  void Choose(int64_t batch);
  void Fetch();

  DecoderConfig config_;
  DecodeEngineOptions options_;
  DecodeStores stores_;
  at::Device device_;
  std::vector<Layer> layers_;
  Tensor embedding_;   // [V, C]
  DecodeLinear head_;  // with the last norm

  DecodeLinearScratch linear_scratch_;
  Tensor cos_, sin_;  // [max_tokens, D / 2]
  Tensor chosen_;     // [2, rows] int64: memory of tokens_ and log_probs_
  Tensor tokens_;     // [rows] int64: of the next step
  Tensor stream_;     // [rows, C]
  Tensor query_;      // [rows, H, D]
  Tensor mixed_;      // [rows, H, D]
  Tensor inner_;      // [rows, F]
  Tensor logits_;     // [rows, V]
  Tensor log_probs_;  // [rows]
  Tensor uniform_;    // [rows] fp64

  std::map<int64_t, Bucketed> buckets_;
  std::array<Fetched, kInFlight> fetched_;
  int64_t batch_ = 0;
  int64_t longest_ = 0;
  int64_t steps_ = 0;      // queued since Start
  int64_t collected_ = 0;  // of them
};

}  // namespace ckv
