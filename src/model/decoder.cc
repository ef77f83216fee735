#include "model/decoder.h"

#include <set>

#include <ATen/CPUGeneratorImpl.h>
#include <torch/torch.h>

#include "base/error.h"
#include "model/program.h"
#include "nn/checkpoint.h"

namespace ckv {

// What the layers of one call share. Built once, read only.
struct DecoderImpl::Call {
  explicit Call(const KvSharingSpec& spec) : slots(spec.num_layers()) {}

  // Keys or values of a source layer: what the cache holds, else this call's, else zeros.
  Tensor Keys(int source, const Slots& values) const {
    return cache != nullptr ? cache->Keys(source) : OrZeros(values[slots.Keys(source)]);
  }
  Tensor Values(int source, const Slots& values) const {
    return cache != nullptr ? cache->Values(source) : OrZeros(values[slots.Values(source)]);
  }
  Tensor OrZeros(const Tensor& kv) const {
    return kv.defined() ? kv : at::zeros(kv_shape, options);
  }

  SlotMap slots;
  RopeTable rope;
  std::shared_ptr<VisibilitySet> visibilities;
  KvCache* cache = nullptr;
  std::vector<int64_t> kv_shape;  // [B, G, T, D] of this call's keys and values
  at::TensorOptions options;
};

SharedAttentionImpl::SharedAttentionImpl(const DecoderConfig& config, int layer)
    : heads_(config.num_attention_heads),
      kv_heads_(config.kv_heads()),
      head_dim_(config.head_width()),
      dropout_(config.attention_dropout),
      attention_(FindAttention(config.attention_kernel)) {
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

Tensor SharedAttentionImpl::Attend(const Tensor& x, const Tensor& keys, const Tensor& values,
                                   const RopeTable& rope, const Visibility& visibility) {
  const Tensor q = ApplyRope(SplitHeads(q_proj_(x), heads_), rope);  // [B, H, T, D]
  const double dropout = is_training() ? dropout_ : 0.0;
  const Tensor mixed = attention_(q, keys, values, visibility, dropout);
  return o_proj_(mixed.transpose(1, 2).reshape({x.size(0), x.size(1), heads_ * head_dim_}));
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

DecoderImpl::DecoderImpl(const DecoderConfig& config)
    : config_(config), rope_(config.rope, config.head_width()) {
  CKV_CHECK(config.vocab_size > 0, "the vocabulary size is not set");
  model_ = register_module("model", DecoderStack(config));
  if (!config.tie_word_embeddings) {
    lm_head_ = register_module("lm_head", Projection(config.hidden_size, config.vocab_size, false));
  }
}

void DecoderImpl::InitializeWeights(uint64_t seed) {
  at::NoGradGuard no_grad;
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  for (const auto& item : named_parameters()) {
    const std::string& name = item.key();
    Tensor parameter = item.value();
    if (parameter.dim() == 2) {
      // Drawn on the CPU in fp32: the same weights on every device and in every dtype.
      parameter.copy_(at::empty(parameter.sizes(), at::kFloat)
                          .normal_(0.0, config_.initializer_range, generator));
    } else {
      const bool is_bias = name.size() >= 4 && name.compare(name.size() - 4, 4, "bias") == 0;
      parameter.fill_(is_bias ? 0.0 : 1.0);
    }
  }
}

const Tensor& DecoderImpl::head_weight() const {
  return lm_head_.is_empty() ? model_->embed->weight : lm_head_->weight();
}

KvCache DecoderImpl::NewCache(int64_t batch, int64_t max_tokens, bool differentiable) const {
  return KvCache(config_.sharing(), {batch, config_.kv_heads(), config_.head_width(), max_tokens},
                 model_->embed->weight.options().requires_grad(false), differentiable);
}

int64_t DecoderImpl::NumParameters() const {
  int64_t total = 0;
  for (const Tensor& parameter : parameters()) total += parameter.numel();
  return total;
}

DecoderLayerImpl& DecoderImpl::Layer(int layer) const {
  return *model_->layers->ptr<DecoderLayerImpl>(static_cast<size_t>(layer));
}

Tensor DecoderImpl::Hidden(const DecoderInput& input, const DecoderRun& run) {
  CKV_CHECK(input.tokens.dim() == 2 && input.tokens.size(1) > 0, "tokens ", input.tokens.sizes());
  CKV_CHECK(run.cache == nullptr || !input.segments.defined(),
            "documents within a row do not go with a cache");
  bool sequential = run.order == DecoderRun::Order::kSequential ||
                    (run.order == DecoderRun::Order::kConfig && config_.sequential);
  if (!sequential && run.cache != nullptr && run.order == DecoderRun::Order::kConfig &&
      config_.sharing().cyclic()) {
    const int64_t passes = run.forward_passes.value_or(config_.forward_passes) +
                           run.backward_passes.value_or(config_.backward_passes);
    sequential = input.tokens.size(1) <= passes;
  }
  const Tensor hidden = sequential ? RunTokenByToken(input, run) : RunPlan(input, run);
  return model_->norm(hidden);
}

std::shared_ptr<DecoderImpl::Call> DecoderImpl::Open(const DecoderInput& input,
                                                     const Tensor& key_segments,
                                                     KvCache* cache) const {
  const int64_t batch = input.tokens.size(0);
  const int64_t num_tokens = input.tokens.size(1);
  auto call = std::make_shared<Call>(config_.sharing());
  call->cache = cache;
  call->options = model_->embed->weight.options().requires_grad(false);
  call->kv_shape = {batch, config_.kv_heads(), num_tokens, config_.head_width()};

  AttentionScope scope;
  scope.num_queries = num_tokens;
  scope.device = input.tokens.device();
  scope.key_mask = input.key_mask;
  scope.query_segments = input.segments;
  scope.key_segments = key_segments;
  if (cache != nullptr) {
    scope.past = cache->length();
    cache->Begin(num_tokens, input.key_mask);
    scope.key_mask = cache->KeyMask();
  }
  call->visibilities = std::make_shared<VisibilitySet>(scope);

  // RoPE depends on differences of positions only, so padding needs no positions of its own.
  const Tensor positions = at::arange(scope.past, scope.num_keys(), input.tokens.options());
  call->rope = rope_.Table(positions, scope.num_keys(), call->options.dtype().toScalarType());
  return call;
}

Tensor DecoderImpl::RunPlan(const DecoderInput& input, const DecoderRun& run) {
  CKV_CHECK(run.checkpoint_layers == 0 || (run.cache == nullptr && run.layer_outputs == nullptr),
            "activation checkpointing goes with neither a cache nor layer outputs");
  const IterationPlan plan(config_.sharing(), run.forward_passes.value_or(config_.forward_passes),
                           run.backward_passes.value_or(config_.backward_passes));
  PlanOptions options;
  options.exact_savings = run.exact_savings;
  options.empty_past = run.cache == nullptr || run.cache->length() == 0;
  const Program program(config_.sharing(), plan.Steps(options));

  const std::shared_ptr<Call> call = Open(input, input.segments, run.cache);
  Slots slots(program.slots().size());
  slots[SlotMap::kHidden] = model_->embed(input.tokens);
  if (run.layer_outputs != nullptr) {
    run.layer_outputs->assign(static_cast<size_t>(config_.layers()), Tensor());
  }

  const std::vector<ProgramOp>& ops = program.ops();
  const bool checkpoint = run.checkpoint_layers > 0 && at::GradMode::is_enabled();
  size_t begin = 0;
  while (begin < ops.size()) {
    if (!ops[begin].grad) {
      at::NoGradGuard no_grad;
      RunOps(program, begin, begin + 1, *call, slots);
      ++begin;
      continue;
    }
    size_t end = begin;
    int64_t layers = 0;
    const int64_t most = checkpoint ? run.checkpoint_layers : 1;
    while (end < ops.size() && ops[end].grad && layers < most) {
      layers += ops[end].kind == ProgramOp::Kind::kLayer ? 1 : 0;
      ++end;
    }
    if (checkpoint) {
      RunSegment(program, begin, end, call, slots);
    } else {
      RunOps(program, begin, end, *call, slots);
    }
    const ProgramOp& done = ops[end - 1];
    if (run.layer_outputs != nullptr && done.kind == ProgramOp::Kind::kLayer && done.last_pass) {
      (*run.layer_outputs)[static_cast<size_t>(done.work.layer)] = slots[SlotMap::kHidden];
    }
    begin = end;
  }
  if (run.cache != nullptr) run.cache->Commit();
  return slots[SlotMap::kHidden];
}

void DecoderImpl::RunOps(const Program& program, size_t begin, size_t end, const Call& call,
                         Slots& slots) const {
  for (size_t i = begin; i < end; ++i) {
    const ProgramOp& op = program.ops()[i];
    switch (op.kind) {
      case ProgramOp::Kind::kEnterGroup:
        slots[SlotMap::kGroupInput] = slots[SlotMap::kHidden];
        break;
      case ProgramOp::Kind::kRestart:
        slots[SlotMap::kHidden] = slots[SlotMap::kGroupInput];
        break;
      case ProgramOp::Kind::kLayer:
        RunLayer(op.work, call, slots);
        break;
    }
    for (const size_t slot : op.dead) slots[slot].reset();
  }
}

void DecoderImpl::RunSegment(const Program& program, size_t begin, size_t end,
                             const std::shared_ptr<Call>& call, Slots& slots) const {
  std::vector<size_t> in;
  for (const size_t slot : program.Inputs(begin, end)) {
    if (slots[slot].defined()) in.push_back(slot);  // an undefined one stands for zeros
  }
  const std::vector<size_t> out = program.Outputs(begin, end);
  std::vector<Tensor> inputs;
  for (const size_t slot : in) inputs.push_back(slots[slot]);
  // Each layer once: a segment may hold several passes of it.
  std::set<int> layers;
  for (size_t i = begin; i < end; ++i) {
    const ProgramOp& op = program.ops()[i];
    if (op.kind == ProgramOp::Kind::kLayer) layers.insert(op.work.layer);
  }
  std::vector<Tensor> parameters;
  for (const int layer : layers) {
    for (const Tensor& parameter : Layer(layer).parameters()) parameters.push_back(parameter);
  }
  // The program is copied: it must live until the backward step.
  const SegmentFn segment = [this, program, begin, end, call, in,
                             out](const std::vector<Tensor>& given) {
    Slots own(program.slots().size());
    for (size_t i = 0; i < in.size(); ++i) own[in[i]] = given[i];
    RunOps(program, begin, end, *call, own);
    std::vector<Tensor> results;
    for (const size_t slot : out) results.push_back(own[slot]);
    return results;
  };
  const bool random = is_training() && config_.attention_dropout > 0.0;
  const std::vector<Tensor> results = RunCheckpointed(segment, inputs, parameters, random);
  for (size_t i = begin; i < end; ++i) {
    for (const size_t slot : program.ops()[i].dead) slots[slot].reset();
  }
  for (size_t i = 0; i < out.size(); ++i) slots[out[i]] = results[i];
}

void DecoderImpl::RunLayer(const LayerWork& work, const Call& call, Slots& slots) const {
  const KvSharingSpec& spec = config_.sharing();
  DecoderLayerImpl& layer = Layer(work.layer);
  Tensor x = slots[SlotMap::kHidden];
  Tensor normed;
  if (work.compute_k || work.compute_v || (work.body && work.attention)) {
    normed = layer.input_norm(x);
  }
  if (work.compute_k) {
    const Tensor& keys = slots[call.slots.Keys(work.layer)] =
        layer.attention->Keys(normed, call.rope);
    if (call.cache != nullptr) call.cache->StageKeys(work.layer, keys);
  }
  if (work.compute_v) {
    const Tensor& values = slots[call.slots.Values(work.layer)] = layer.attention->Values(normed);
    if (call.cache != nullptr) call.cache->StageValues(work.layer, values);
  }
  if (!work.body) return;

  if (work.attention) {
    const Visibility& visibility =
        call.visibilities->Get(config_.HidesOwnPosition(work.layer), config_.WindowOf(work.layer));
    x = x + layer.attention->Attend(normed, call.Keys(spec.k_source(work.layer), slots),
                                    call.Values(spec.v_source(work.layer), slots), call.rope,
                                    visibility);
  } else if (layer.attention->OutputBias().defined()) {
    x = x + layer.attention->OutputBias();
  }
  slots[SlotMap::kHidden] = x + layer.mlp(layer.post_norm(x));
}

DecoderImpl::Slots DecoderImpl::RunSinglePass(const DecoderInput& input, const Tensor& key_segments,
                                              KvCache* cache) {
  const std::shared_ptr<Call> call = Open(input, key_segments, cache);
  const KvSharingSpec& spec = config_.sharing();
  Slots slots(call->slots.size());
  slots[SlotMap::kHidden] = model_->embed(input.tokens);
  Slots outputs;
  for (int layer = 0; layer < spec.num_layers(); ++layer) {
    LayerWork work;
    work.layer = layer;
    work.compute_k = spec.computes_k(layer);
    work.compute_v = spec.computes_v(layer);
    RunLayer(work, *call, slots);
    outputs.push_back(slots[SlotMap::kHidden]);
  }
  cache->Commit();
  return outputs;
}

Tensor DecoderImpl::RunTokenByToken(const DecoderInput& input, const DecoderRun& run) {
  CKV_CHECK(run.checkpoint_layers == 0, "activation checkpointing needs the parallel order");
  const int64_t num_tokens = input.tokens.size(1);
  std::optional<KvCache> own;
  if (run.cache == nullptr) {
    own.emplace(NewCache(input.tokens.size(0), num_tokens, at::GradMode::is_enabled()));
  }
  KvCache* cache = run.cache != nullptr ? run.cache : &*own;
  std::vector<Slots> outputs(static_cast<size_t>(config_.layers()));  // [layer][token]
  for (int64_t t = 0; t < num_tokens; ++t) {
    DecoderInput token;
    Tensor key_segments;
    token.tokens = input.tokens.narrow(1, t, 1);
    if (input.key_mask.defined()) token.key_mask = input.key_mask.narrow(1, t, 1);
    if (input.segments.defined()) {
      token.segments = input.segments.narrow(1, t, 1);
      key_segments = input.segments.narrow(1, 0, t + 1);
    }
    const Slots of_token = RunSinglePass(token, key_segments, cache);
    for (size_t layer = 0; layer < outputs.size(); ++layer) {
      const bool wanted = run.layer_outputs != nullptr || layer + 1 == outputs.size();
      if (wanted) outputs[layer].push_back(of_token[layer]);
    }
  }
  if (run.layer_outputs != nullptr) {
    run.layer_outputs->clear();
    for (const Slots& parts : outputs) run.layer_outputs->push_back(at::cat(parts, 1));
  }
  return at::cat(outputs.back(), 1);
}

}  // namespace ckv
