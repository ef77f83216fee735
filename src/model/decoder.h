// A Llama-family decoder in which every layer reads the keys and values its sharing spec names.
//
// KVs are values that flow between layers, with gradients, whether or not there is a cache. A
// sequence runs in parallel by the IterationPlan (sharing/plan.h); token by token, each token in a
// single pass that reads the KVs of the tokens before it; or in chunks, each iterated with the
// chunks before it final. With as many passes as tokens all of them give the same.
//
// Sources: Touvron et al. 2023 (Llama); Wu and Tu 2024 (LCKV); Wu, Wu and Tu 2024 (Systematic
// Study).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include "kv/cache.h"
#include "kv/tape.h"
#include "model/decoder_config.h"
#include "model/decoder_layers.h"
#include "model/layer_hooks.h"
#include "model/lora.h"
#include "model/packed_rows.h"
#include "model/program.h"
#include "nn/modules.h"
#include "nn/rope.h"
#include "sharing/plan.h"

namespace ckv {

struct DecoderInput {
  Tensor tokens;    // [B, T] int64
  Tensor key_mask;  // [B, T] bool, true = real token; undefined = no padding
  Tensor segments;  // [B, T] document numbers; undefined = one document a row
};

// How to run a call. The defaults are those of the config.
struct DecoderRun {
  enum class Order {
    kConfig,      // what the model config says
    kParallel,    // by the plan
    kSequential,  // token by token
    kChunked,     // `chunk_tokens` at a time by the plan; without gradient
  };

  Order order = Order::kConfig;
  std::optional<int64_t> forward_passes;
  std::optional<int64_t> backward_passes;
  bool exact_savings = true;

  // Of kChunked, >= 1. A chunk runs no more passes than it has tokens: those make it exact.
  int64_t chunk_tokens = 0;

  // Passes of a group end early, with a last one, once the KVs that it iterates on have changed by
  // no more than this from one pass to the next, relative to their norm; 0 = never. With gradient
  // the passes without it end early. Asks the device once a pass.
  std::optional<double> tolerance;

  // Gives the last real token of each row alone, [B, 1, C], and leaves out what only other outputs
  // would need. The KVs in a cache are complete.
  bool last_only = false;

  // The past, which the call continues; nullptr = none. Rows take their real tokens only, wherever
  // padding is. A call of a cyclic model with a cache and no more tokens than passes goes token by
  // token unless `order` says otherwise, which is exact and no dearer.
  KvCache* cache = nullptr;

  // Recompute activations in the backward step, in segments of so many layer applications (counted
  // through groups and passes); 0 = keep them. Needs the parallel order without a cache.
  int64_t checkpoint_layers = 0;

  // Receives the output of each layer in its last pass, [B, T, C]; nullptr = not wanted. Not with
  // checkpoint_layers, last_only, or padding in a cache.
  std::vector<Tensor>* layer_outputs = nullptr;

  // Whether layers run in few operations: in training (model/decoder_fused.cc) where they have no
  // biases; without gradient (model/decoder_inference.cc) unless layer_outputs are wanted.
  enum class Fusing {
    kAuto,  // where there are kernels for it: on a GPU, in 16 bits
    kNever,
    kAlways,
  };
  Fusing fusing = Fusing::kAuto;

  // Receives the passes of each iterative group, chunk by chunk; nullptr = not wanted.
  std::vector<int64_t>* passes_run = nullptr;
};

// Draws a decoder's weights, one parameter after another in the order of named_parameters():
// N(0, initializer_range) for matrices, 0 for biases, 1 for norms, equal on every device.
class DecoderInitializer {
 public:
  DecoderInitializer(const DecoderConfig& config, uint64_t seed);
  void Fill(const std::string& name, Tensor parameter);

 private:
  at::Generator generator_;
  double range_;
};

class DecoderImpl : public torch::nn::Module {
 public:
  // `config` must be resolved. Parameters are uninitialised, and their memory untouched.
  explicit DecoderImpl(const DecoderConfig& config);

  // All of them by a DecoderInitializer.
  void InitializeWeights(uint64_t seed);

  // Output of the last norm, [B, T, C], or [B, 1, C] with last_only. Throws InternalError for
  // shapes that do not fit.
  Tensor Hidden(const DecoderInput& input, const DecoderRun& run = {});

  // [..., C] -> [..., V]
  Tensor Logits(const Tensor& hidden) const { return at::linear(hidden, head_weight()); }
  const Tensor& head_weight() const;  // [V, C]; the embedding if tied

  // An empty cache on the device and in the type of the weights. With `sinks` a row never ends.
  // Throws ConfigError for sinks that make no sense, or beside windows or "dynamic" RoPE scaling.
  KvCache NewCache(int64_t rows, int64_t max_tokens,
                   std::optional<SinkWindow> sinks = std::nullopt) const;

  // Moves the projections that read the same input side by side in memory, where inference then
  // takes them as one matrix. Changes nothing else; does nothing the second time.
  void PackProjections();

  // Gives every target of every layer an adapter that changes nothing yet, drawn from `seed`, and
  // freezes all other weights. Layers then run one operation at a time, and the decode engine
  // (gen/decode_engine.h) refuses: merge adapters to be fast (ckpt/adapter.h). Once.
  void AddLora(const LoraConfig& lora, uint64_t seed);
  bool has_lora() const { return lora_.enabled(); }
  // What is trained: the adapters under PEFT's names, or without any all parameters.
  std::vector<std::pair<std::string, Tensor>> TrainedParameters() const;

  const DecoderConfig& config() const { return config_; }
  int64_t NumParameters() const;

  // Told of every layer that runs; nullptr = nobody. Must outlive all calls and backward steps.
  void SetLayerHooks(LayerHooks* hooks) { hooks_ = hooks; }

 private:
  struct Call;
  struct Work;
  using Slots = std::vector<Tensor>;

  DecoderRun::Order ResolveOrder(const DecoderRun& run, int64_t num_tokens) const;
  std::shared_ptr<Call> Open(const Work& work) const;
  Tensor RunPlan(const Work& work, const DecoderRun& run);
  void RunProgram(const Program& program, const IterationPlan& plan,
                  const std::shared_ptr<Call>& call, Slots& slots, const DecoderRun& run) const;
  size_t RunRecorded(const Program& program, size_t begin, const std::shared_ptr<Call>& call,
                     Slots& slots, const DecoderRun& run) const;
  Tensor RunSinglePass(const Work& work, const DecoderRun& run);
  Tensor RunBlocks(Work work, const DecoderRun& run, int64_t block_tokens);
  static Work Block(const Work& work, int64_t start, int64_t length);
  DecoderRun PassesFor(int64_t num_tokens, const DecoderRun& run) const;
  void RunOps(const Program& program, size_t begin, size_t end, const Call& call,
              Slots& slots) const;
  void RunSegment(const Program& program, size_t begin, size_t end,
                  const std::shared_ptr<Call>& call, Slots& slots) const;
  void RunGuess(const LayerWork& work, const Call& call, Slots& slots) const;
  bool Fuses(const DecoderRun& run) const;
  class FusedStream;
  void RunFusedLayer(const LayerWork& work, bool grad, bool last_pass, const Call& call,
                     Slots& slots) const;
  void FusedAttention(const LayerWork& work, bool last_pass, const Call& call, Slots& slots,
                      FusedStream& stream) const;
  static void SettleHidden(Slots& slots);
  Tensor OutputNorm(const Tensor& hidden, const DecoderRun& run);
  // `grad`: the plan's pass has a gradient, whether or not the caller wants it.
  void RunLayer(const LayerWork& work, bool grad, bool last_pass, const Call& call,
                Slots& slots) const;
  // Tells the hooks of a tensor that a layer gives.
  void GivenOut(int layer, const Tensor& output) const;
  bool RunsInPlace(const DecoderRun& run) const;
  void RunInPlaceLayer(const LayerWork& work, bool last_pass, const Call& call, Slots& slots) const;
  Tensor Attend(const LayerWork& work, const Tensor& normed, const Call& call,
                const Slots& slots) const;
  bool Converged(const LayerGroup& group, const Slots& before, const Call& call, const Slots& slots,
                 double tolerance) const;
  DecoderLayerImpl& Layer(int layer) const;

  DecoderConfig config_;
  Rope rope_;
  LoraConfig lora_;
  LayerHooks* hooks_ = nullptr;
  DecoderStack model_{nullptr};
  Projection lm_head_{nullptr};
};
TORCH_MODULE(Decoder);

}  // namespace ckv
