#include "model/decoder_layers.h"

#include <ATen/ATen.h>

#include "nn/prefill_ops.h"

namespace ckv {

SharedAttentionImpl::SharedAttentionImpl(const DecoderConfig& config, int layer)
    : heads_(config.num_attention_heads),
      kv_heads_(config.kv_heads()),
      head_dim_(config.head_width()),
      dropout_(config.attention_dropout),
      attention_(FindAttention(config.attention_kernel)),
      step_attention_(FindStepAttention(config.attention_kernel)) {
  const int64_t width = config.hidden_size;
  const bool bias = config.attention_bias;
  q_proj_ = register_module("q_proj", Projection(width, heads_ * head_dim_, bias));
  if (config.sharing().computes_k(layer)) {
    k_proj_ = register_module("k_proj", Projection(width, kv_heads_ * head_dim_, bias));
  }
  if (config.sharing().computes_v(layer)) {
    v_proj_ = register_module("v_proj", Projection(width, kv_heads_ * head_dim_, bias));
  }
  o_proj_ = register_module("o_proj", Projection(heads_ * head_dim_, width, bias));
}

Tensor SharedAttentionImpl::SplitHeads(const Tensor& x, int64_t heads) const {
  return x.view({x.size(0), x.size(1), heads, head_dim_}).transpose(1, 2);
}

Tensor SharedAttentionImpl::Keys(const Tensor& x, const RopeTable& rope) {
  return ApplyRope(SplitHeads(k_proj_(x), kv_heads_), rope);
}

Tensor SharedAttentionImpl::Values(const Tensor& x) { return SplitHeads(v_proj_(x), kv_heads_); }

Tensor SharedAttentionImpl::Queries(const Tensor& x, const RopeTable& rope) {
  return ApplyRope(SplitHeads(q_proj_(x), heads_), rope);
}

Tensor SharedAttentionImpl::Output(const Tensor& mixed) { return o_proj_(JoinHeads(mixed)); }

Tensor SharedAttentionImpl::Attend(const Tensor& x, const Tensor& keys, const Tensor& values,
                                   const RopeTable& rope, const Visibility& visibility) {
  const double dropout = is_training() ? dropout_ : 0.0;
  return Output(attention_(Queries(x, rope), keys, values, visibility, dropout));
}

std::vector<Tensor> SharedAttentionImpl::InputWeights() const {
  std::vector<Tensor> weights = {q_proj_->weight()};
  if (!k_proj_.is_empty()) weights.push_back(k_proj_->weight());
  if (!v_proj_.is_empty()) weights.push_back(v_proj_->weight());
  return weights;
}

std::vector<HeadProjection> SharedAttentionImpl::Projections(bool queries, bool keys,
                                                             bool values) const {
  std::vector<HeadProjection> projections;
  if (queries) projections.push_back({q_proj_->weight(), true});
  if (keys) projections.push_back({k_proj_->weight(), true});
  if (values) projections.push_back({v_proj_->weight(), false});
  return projections;
}

Tensor SharedAttentionImpl::Mix(const Tensor& queries, const Tensor& keys, const Tensor& values,
                                const Visibility& visibility) const {
  const double dropout = is_training() ? dropout_ : 0.0;
  return JoinHeads(attention_(queries, keys, values, visibility, dropout));
}

Tensor SharedAttentionImpl::MixCausal(const Tensor& queries, const Tensor& keys,
                                      const Tensor& values) const {
  return JoinHeads(CausalSdpa(queries, keys, values, is_training() ? dropout_ : 0.0));
}

Tensor SharedAttentionImpl::JoinHeads(const Tensor& mixed) const {
  return mixed.transpose(1, 2).reshape({mixed.size(0), mixed.size(2), heads_ * head_dim_});
}

Tensor SharedAttentionImpl::AttendStep(const Tensor& x, const Tensor& keys, const Tensor& values,
                                       const RopeTable& rope, const SlotSpan& span) {
  return Output(step_attention_(Queries(x, rope), keys, values, span));
}

Tensor SharedAttentionImpl::Project(const Tensor& x, const RopeTable& rope, bool queries,
                                    const Tensor& keys, const Tensor& values) const {
  std::vector<Tensor> weights;
  std::vector<Tensor> biases;
  const auto add = [&](const Projection& projection) {
    weights.push_back(projection->weight());
    biases.push_back(projection->bias());
  };
  if (queries) add(q_proj_);
  if (keys.defined()) add(k_proj_);
  if (values.defined()) add(v_proj_);
  Tensor packed =
      PackedProduct(x.reshape({-1, x.size(2)}), weights, biases).view({x.size(0), x.size(1), -1});
  PackedHeads heads = {queries ? heads_ : 0, kv_heads_, keys, values};
  PrefillRotate(packed, rope, head_dim_, heads);
  if (!queries) return {};
  return SplitHeads(packed.narrow(2, 0, heads_ * head_dim_), heads_);
}

void SharedAttentionImpl::AttendInto(const Tensor& queries, const Tensor& keys,
                                     const Tensor& values, const Visibility& visibility,
                                     Tensor& stream) const {
  if (attention_ == FindAttention("sdpa")) {
    const Tensor rest = AttentionBehindTheFirst(queries, keys, values, visibility);
    if (rest.defined()) {
      const int64_t rows = rest.size(0);
      const Tensor mixed = rest.transpose(1, 2).reshape({rows, rest.size(2), heads_ * head_dim_});
      const Tensor weight = o_proj_->weight().detach().t().unsqueeze(0);
      stream.view({rows, -1, stream.size(1)})
          .narrow(1, 1, rest.size(2))
          .baddbmm_(mixed, weight.expand({rows, -1, -1}));
      if (o_proj_->bias().defined()) stream.add_(o_proj_->bias().detach());
      return;
    }
  }
  const Tensor mixed = attention_(queries, keys, values, visibility, /*dropout=*/0.0);
  o_proj_->AddTo(mixed.transpose(1, 2).reshape({-1, heads_ * head_dim_}), stream);
}

DecoderLayerImpl::DecoderLayerImpl(const DecoderConfig& config, int layer)
    : input_norm(
          register_module("input_layernorm", RmsNorm(config.hidden_size, config.rms_norm_eps))),
      attention(register_module("self_attn", SharedAttention(config, layer))),
      post_norm(register_module("post_attention_layernorm",
                                RmsNorm(config.hidden_size, config.rms_norm_eps))),
      mlp(register_module("mlp", GatedMlp(config.hidden_size, config.intermediate_size,
                                          config.hidden_act, config.mlp_bias))) {}

DecoderStackImpl::DecoderStackImpl(const DecoderConfig& config) {
  embed = register_module(
      "embed_tokens",
      torch::nn::Embedding(torch::nn::EmbeddingOptions(config.vocab_size, config.hidden_size)
                               ._weight(at::empty({config.vocab_size, config.hidden_size}))));
  layers = register_module("layers", torch::nn::ModuleList());
  for (int layer = 0; layer < config.sharing().num_layers(); ++layer) {
    layers->push_back(DecoderLayer(config, layer));
  }
  norm = register_module("norm", RmsNorm(config.hidden_size, config.rms_norm_eps));
}

}  // namespace ckv
