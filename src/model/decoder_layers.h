// The modules of a decoder with shared keys and values; their names are the keys of checkpoints.
#pragma once

#include <cstdint>
#include <vector>

#include <torch/nn/module.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/pimpl.h>

#include "model/decoder_config.h"
#include "nn/attention.h"
#include "nn/fused_linear.h"
#include "nn/modules.h"
#include "nn/rope.h"
#include "nn/step_attention.h"

namespace ckv {

class SharedAttentionImpl : public torch::nn::Module {
 public:
  SharedAttentionImpl(const DecoderConfig& config, int layer);

  // From the normalised input [B, T, C]. Keys are rotated. Only for layers that own them.
  Tensor Keys(const Tensor& x, const RopeTable& rope);  // [B, G, T, D]
  Tensor Values(const Tensor& x);                       // [B, G, T, D]
  // Attention of the layer's queries over given keys and values [B, G, S, D]; [B, T, C].
  Tensor Attend(const Tensor& x, const Tensor& keys, const Tensor& values, const RopeTable& rope,
                const Visibility& visibility);
  // The same for one token a row, over whole stores [B, G, slots, D].
  Tensor AttendStep(const Tensor& x, const Tensor& keys, const Tensor& values,
                    const RopeTable& rope, const SlotSpan& span);
  // The same without gradient in packed products, as nn/prefill_ops.h does it. Fills `keys` and
  // `values` [B, G, T, D], where they are defined; returns the layer's queries [B, H, T, D], or
  // nothing if they are not wanted.
  Tensor Project(const Tensor& x, const RopeTable& rope, bool queries, const Tensor& keys,
                 const Tensor& values) const;
  // stream [B T, C] += what Attend gives for given queries.
  void AttendInto(const Tensor& queries, const Tensor& keys, const Tensor& values,
                  const Visibility& visibility, Tensor& stream) const;

  // What Attend gives when all values are zeros, up to broadcasting; undefined = zeros.
  Tensor OutputBias() const { return o_proj_->bias(); }

  // The same in pieces, for layers without biases: projections that share their input, for one
  // product; what attention mixes, [B, T, H D]; and the weight that goes over it.
  std::vector<HeadProjection> Projections(bool queries, bool keys, bool values) const;
  Tensor Mix(const Tensor& queries, const Tensor& keys, const Tensor& values,
             const Visibility& visibility) const;
  // Plain causal attention of as many queries as keys.
  Tensor MixCausal(const Tensor& queries, const Tensor& keys, const Tensor& values) const;
  const Tensor& output_weight() const { return o_proj_->weight(); }
  // Of q, k, v, as far as the layer has them.
  std::vector<Tensor> InputWeights() const;

 private:
  Tensor JoinHeads(const Tensor& mixed) const;              // [B, H, T, D] -> [B, T, H D]
  Tensor Queries(const Tensor& x, const RopeTable& rope);   // [B, T, C] -> [B, H, T, D]
  Tensor Output(const Tensor& mixed);                       // [B, H, T, D] -> [B, T, C]
  Tensor SplitHeads(const Tensor& x, int64_t heads) const;  // [B, T, heads D] -> [B, heads, T, D]

  int64_t heads_;
  int64_t kv_heads_;
  int64_t head_dim_;
  double dropout_;
  AttentionFn attention_;
  StepAttentionFn step_attention_;
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

}  // namespace ckv
