// A Llama-family decoder in which every layer reads the keys and values its sharing spec names.
//
// KVs are values that flow between layers, with gradients, whether or not there is a cache. A
// sequence runs in parallel by the IterationPlan (sharing/plan.h), or token by token, each token in
// a single pass that reads the KVs of the tokens before it; with as many passes as tokens both give
// the same.
//
// Sources: Touvron et al. 2023 (Llama); Wu and Tu 2024 (LCKV); Wu, Wu and Tu 2024 (Systematic
// Study).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <torch/nn/module.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/pimpl.h>

#include "kv/cache.h"
#include "model/decoder_config.h"
#include "model/program.h"
#include "nn/attention.h"
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
  };

  Order order = Order::kConfig;
  std::optional<int64_t> forward_passes;
  std::optional<int64_t> backward_passes;
  bool exact_savings = true;

  // The past, which the call continues; nullptr = none. A call of a cyclic model with a cache and
  // no more tokens than passes goes token by token, which is exact and no dearer.
  KvCache* cache = nullptr;

  // Recompute activations in the backward step, in segments of so many layer applications (counted
  // through groups and passes); 0 = keep them. Needs the parallel order without a cache.
  int64_t checkpoint_layers = 0;

  // Receives the output of each layer in its last pass, [B, T, C]; nullptr = not wanted. Not with
  // checkpoint_layers.
  std::vector<Tensor>* layer_outputs = nullptr;
};

class SharedAttentionImpl : public torch::nn::Module {
 public:
  SharedAttentionImpl(const DecoderConfig& config, int layer);

  // From the normalised input [B, T, C]. Keys are rotated. Only for layers that own them.
  Tensor Keys(const Tensor& x, const RopeTable& rope);  // [B, G, T, D]
  Tensor Values(const Tensor& x);                       // [B, G, T, D]
  // Attention of the layer's queries over given keys and values [B, G, S, D]; [B, T, C].
  Tensor Attend(const Tensor& x, const Tensor& keys, const Tensor& values, const RopeTable& rope,
                const Visibility& visibility);
  // What Attend gives when all values are zeros, up to broadcasting; undefined = zeros.
  Tensor OutputBias() const { return o_proj_->bias(); }

 private:
  Tensor SplitHeads(const Tensor& x, int64_t heads) const;  // [B, T, heads D] -> [B, heads, T, D]

  int64_t heads_;
  int64_t kv_heads_;
  int64_t head_dim_;
  double dropout_;
  AttentionFn attention_;
  Projection q_proj_{nullptr};
  Projection k_proj_{nullptr};  // empty where nobody reads the layer's keys
  Projection v_proj_{nullptr};
  Projection o_proj_{nullptr};
};
TORCH_MODULE(SharedAttention);

class DecoderLayerImpl : public torch::nn::Module {
 public:
  DecoderLayerImpl(const DecoderConfig& config, int layer);

  RmsNorm input_norm{nullptr};
  SharedAttention attention{nullptr};
  RmsNorm post_norm{nullptr};
  GatedMlp mlp{nullptr};
};
TORCH_MODULE(DecoderLayer);

// `model.` of a checkpoint: embedding, layers, last norm.
class DecoderStackImpl : public torch::nn::Module {
 public:
  explicit DecoderStackImpl(const DecoderConfig& config);

  torch::nn::Embedding embed{nullptr};
  torch::nn::ModuleList layers{nullptr};
  RmsNorm norm{nullptr};
};
TORCH_MODULE(DecoderStack);

class DecoderImpl : public torch::nn::Module {
 public:
  // `config` must be resolved. Parameters are uninitialised.
  explicit DecoderImpl(const DecoderConfig& config);

  // N(0, initializer_range) for matrices, 0 for biases, 1 for norms, from `seed`, equal on every
  // device.
  void InitializeWeights(uint64_t seed);

  // Output of the last norm, [B, T, C]. Throws InternalError for shapes that do not fit.
  Tensor Hidden(const DecoderInput& input, const DecoderRun& run = {});

  // [..., C] -> [..., V]
  Tensor Logits(const Tensor& hidden) const { return at::linear(hidden, head_weight()); }
  const Tensor& head_weight() const;  // [V, C]; the embedding if tied

  KvCache NewCache(int64_t batch, int64_t max_tokens, bool differentiable = false) const;

  const DecoderConfig& config() const { return config_; }
  int64_t NumParameters() const;

 private:
  struct Call;
  using Slots = std::vector<Tensor>;

  std::shared_ptr<Call> Open(const DecoderInput& input, const Tensor& key_segments,
                             KvCache* cache) const;
  Tensor RunPlan(const DecoderInput& input, const DecoderRun& run);
  Tensor RunTokenByToken(const DecoderInput& input, const DecoderRun& run);
  Slots RunSinglePass(const DecoderInput& input, const Tensor& key_segments, KvCache* cache);
  void RunOps(const Program& program, size_t begin, size_t end, const Call& call,
              Slots& slots) const;
  void RunSegment(const Program& program, size_t begin, size_t end,
                  const std::shared_ptr<Call>& call, Slots& slots) const;
  void RunLayer(const LayerWork& work, const Call& call, Slots& slots) const;
  DecoderLayerImpl& Layer(int layer) const;

  DecoderConfig config_;
  Rope rope_;
  DecoderStack model_{nullptr};
  Projection lm_head_{nullptr};
};
TORCH_MODULE(Decoder);

}  // namespace ckv
