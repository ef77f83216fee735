#include "gen/decode_engine.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/torch.h>

#include "base/error.h"
#include "nn/joined.h"
#include "nn/rope.h"

namespace ckv {
namespace {

// The decoder's parameters by name.
class ParameterSet {
 public:
  explicit ParameterSet(DecoderImpl& decoder) : parameters_(decoder.named_parameters()) {}

  // Undefined if there is none.
  Tensor Find(const std::string& name) const {
    const Tensor* found = parameters_.find(name);
    return found != nullptr ? found->detach() : Tensor();
  }

  // The matrices or biases of several projections as one, in whose memory they live from now on.
  // Projections that are not there are left out; undefined if none is.
  Tensor Join(const std::vector<std::string>& names) {
    std::vector<Tensor> parts;
    for (const std::string& name : names) {
      const Tensor* part = parameters_.find(name);
      if (part != nullptr) parts.push_back(*part);
    }
    return JoinInPlace(parts);
  }

 private:
  torch::OrderedDict<std::string, Tensor> parameters_;
};

DecodeLinear JoinProjections(ParameterSet& parameters, const std::string& prefix,
                             const std::vector<std::string>& names) {
  std::vector<std::string> weights, biases;
  for (const std::string& name : names) {
    weights.push_back(prefix + name + ".weight");
    biases.push_back(prefix + name + ".bias");
  }
  DecodeLinear linear;
  linear.weight = parameters.Join(weights);
  linear.bias = parameters.Join(biases);
  return linear;
}

int64_t MostOutputs(const DecoderConfig& config) {
  const int64_t heads = config.num_attention_heads + 2 * config.kv_heads();
  return std::max(heads * config.head_width(), 2 * config.intermediate_size);
}

void CheckEngineConfig(const DecoderConfig& config) {
  if (config.rope.scaling == "dynamic") {
    throw ConfigError("model.rope.scaling",
                      "'dynamic' turns all keys anew as the text grows, which the decode engine "
                      "does not; use another scaling or generate without it");
  }
}

}  // namespace

DecodeEngine::DecodeEngine(Decoder& decoder, DecodeStores stores,
                           const DecodeEngineOptions& options)
    : config_(decoder->config()),
      options_(options),
      stores_(std::move(stores)),
      device_(decoder->head_weight().device()),
      linear_scratch_(stores_.rows(), config_.hidden_size, MostOutputs(config_),
                      decoder->head_weight().options().requires_grad(false)) {
  at::NoGradGuard no_grad;
  CheckEngineConfig(config_);
  CKV_CHECK(!decoder->has_lora(), "adapters are merged before the engine reads weights");
  options_.sampling.Check();
  CKV_CHECK(options_.num_ids >= 0 && options_.num_ids <= config_.vocab_size, options_.num_ids,
            " ids of ", config_.vocab_size);
  CKV_CHECK(stores_.rows() > 0 && stores_.max_tokens > 0, stores_.rows(), " rows of ",
            stores_.max_tokens, " tokens");
  const ChoiceState& state = options_.state;
  CKV_CHECK(!state.draws.defined() ||
                (state.draws.size(0) >= stores_.rows() && state.seen.size(0) >= stores_.rows()),
            "choices of ", state.draws.size(0), " rows for ", stores_.rows());
  CKV_CHECK(state.draws.defined() || !options_.choose || !options_.sampling.penalizes(),
            "a repetition penalty needs to know what was seen");
  PackWeights(decoder);
  MakeBuffers(decoder);
}

void DecodeEngine::PackWeights(Decoder& decoder) {
  ParameterSet parameters(*decoder);
  const KvSharingSpec& spec = config_.sharing();
  for (int index = 0; index < spec.num_layers(); ++index) {
    const std::string prefix = Str("model.layers.", index, ".");
    Layer layer;
    layer.qkv = JoinProjections(parameters, prefix + "self_attn.", {"q_proj", "k_proj", "v_proj"});
    layer.out = JoinProjections(parameters, prefix + "self_attn.", {"o_proj"});
    layer.gate_up = JoinProjections(parameters, prefix + "mlp.", {"gate_proj", "up_proj"});
    layer.down = JoinProjections(parameters, prefix + "mlp.", {"down_proj"});
    layer.qkv.norm_weight = parameters.Find(prefix + "input_layernorm.weight");
    layer.gate_up.norm_weight = parameters.Find(prefix + "post_attention_layernorm.weight");
    layer.qkv.epsilon = layer.gate_up.epsilon = config_.rms_norm_eps;
    const auto at = [](const std::vector<Tensor>& of, int source) {
      return of[static_cast<size_t>(source)];
    };
    layer.own_keys = at(stores_.keys, index);
    layer.own_values = at(stores_.values, index);
    layer.keys = at(stores_.keys, spec.k_source(index));
    layer.values = at(stores_.values, spec.v_source(index));
    layer.window = config_.WindowOf(index).value_or(0);
    layer.strict = config_.HidesOwnPosition(index);
    layers_.push_back(std::move(layer));
  }
  embedding_ = parameters.Find("model.embed_tokens.weight");
  head_.weight = decoder->head_weight().detach();
  if (options_.num_ids > 0) head_.weight = head_.weight.narrow(0, 0, options_.num_ids);
  head_.norm_weight = parameters.Find("model.norm.weight");
  head_.epsilon = config_.rms_norm_eps;
}

void DecodeEngine::MakeBuffers(const Decoder& decoder) {
  const at::TensorOptions options = decoder->head_weight().options().requires_grad(false);
  const auto type = options.dtype().toScalarType();
  const auto wide = type == at::kDouble ? at::kDouble : at::kFloat;
  const int64_t rows = stores_.rows();
  const int64_t heads = config_.num_attention_heads;
  const int64_t head_dim = config_.head_width();
  const RopeTable table = Rope(config_.rope, head_dim)
                              .Table(at::arange(stores_.max_tokens, options.dtype(at::kLong)),
                                     stores_.max_tokens, type);
  cos_ = table.cos.contiguous();
  sin_ = table.sin.contiguous();
  // Next to each other, so that one copy brings both to the host.
  chosen_ = at::zeros({2, rows}, options.dtype(at::kLong));
  tokens_ = chosen_[0];
  log_probs_ = chosen_[1].view(wide).narrow(0, 0, rows);
  stream_ = at::empty({rows, config_.hidden_size}, options);
  query_ = at::empty({rows, heads, head_dim}, options);
  mixed_ = at::empty({rows, heads, head_dim}, options);
  inner_ = at::empty({rows, config_.intermediate_size}, options);
  logits_ = at::empty({rows, head_.weight.size(0)}, options);
  uniform_ = at::zeros({rows}, options.dtype(at::kDouble));
  for (Fetched& fetched : fetched_) {
    const auto host = at::TensorOptions().device(at::kCPU).pinned_memory(device_.is_cuda());
    fetched.chosen = at::empty({2, rows}, host.dtype(at::kLong));
    if (device_.is_cuda()) fetched.done = std::make_unique<c10::Event>(device_.type());
  }
}

int64_t DecodeEngine::Bucket(int64_t batch) const {
  int64_t bucket = 1;
  while (bucket < batch) bucket *= 2;
  return std::min(bucket, stores_.rows());
}

void DecodeEngine::Start(const Tensor& tokens, int64_t longest) {
  CKV_CHECK(tokens.dim() == 1 && tokens.size(0) > 0 && tokens.size(0) <= stores_.rows(), "tokens ",
            tokens.sizes(), " for ", stores_.rows(), " rows");
  batch_ = tokens.size(0);
  longest_ = longest;
  steps_ = collected_ = 0;
  tokens_.narrow(0, 0, batch_).copy_(tokens);
  // Rows that only fill up the bucket must not run out of slots.
  const int64_t bucket = Bucket(batch_);
  if (bucket > batch_) stores_.lengths.narrow(0, batch_, bucket - batch_).zero_();
}

void DecodeEngine::Step(const Tensor& uniform) {
  CKV_CHECK(batch_ > 0, "a step before Start");
  CKV_CHECK(longest_ < stores_.max_tokens, "a row of ", longest_, " tokens is full");
  CKV_CHECK(steps_ - collected_ < static_cast<int64_t>(kInFlight), "steps were not collected");
  at::NoGradGuard no_grad;
  if (options_.choose && !options_.sampling.greedy() && !options_.state.draws.defined()) {
    CKV_CHECK(uniform.defined() && uniform.numel() == batch_, "draws of a step");
    uniform_.narrow(0, 0, batch_).copy_(uniform, /*non_blocking=*/uniform.is_pinned());
  }
  const int64_t rows = Bucket(batch_);
  Bucketed& bucket = buckets_[rows];
  if (bucket.scratch == nullptr) {
    // The first step is not recorded: libraries set themselves up in it.
    const int64_t most = stores_.max_tokens;
    bucket.scratch = std::make_unique<DecodeAttentionScratch>(
        rows, config_.num_attention_heads, config_.head_width(), most,
        BestSplit(rows, config_.kv_heads(), most), stream_.options());
    RunStep(rows, *bucket.scratch);
  } else if (!options_.graphs || !DeviceGraph::Works(device_)) {
    RunStep(rows, *bucket.scratch);
  } else {
    if (!bucket.graph.recorded()) {
      bucket.graph.Record(device_, [this, rows, &bucket] { RunStep(rows, *bucket.scratch); });
    }
    bucket.graph.Run();
  }
  ++longest_;
  if (options_.choose) Fetch();
}

void DecodeEngine::RunStep(int64_t batch, const DecodeAttentionScratch& scratch) {
  Tensor stream = stream_.narrow(0, 0, batch);
  at::index_select_out(stream, embedding_, 0, tokens_.narrow(0, 0, batch));
  for (Layer& layer : layers_) RunLayer(layer, stream, scratch);
  Tensor logits = logits_.narrow(0, 0, batch);
  Project(stream, head_, linear_scratch_, logits);
  if (options_.choose) Choose(batch);
  stores_.lengths.narrow(0, 0, batch).add_(1);
}

void DecodeEngine::RunLayer(Layer& layer, Tensor& stream, const DecodeAttentionScratch& scratch) {
  const int64_t batch = stream.size(0);
  RotateTarget target;
  target.cos = cos_;
  target.sin = sin_;
  target.lengths = stores_.lengths;
  target.q = query_.narrow(0, 0, batch);
  target.keys = layer.own_keys;
  target.values = layer.own_values;
  target.kv_heads = config_.kv_heads();
  ProjectRotate(stream, layer.qkv, linear_scratch_, target);

  DecodeAttentionArgs attention;
  attention.q = target.q;
  attention.keys = layer.keys;
  attention.values = layer.values;
  attention.lengths = stores_.lengths;
  attention.starts = stores_.starts;
  attention.window = layer.window;
  attention.strict = layer.strict;
  Tensor mixed = mixed_.narrow(0, 0, batch);
  DecodeAttention(attention, scratch, mixed);
  ProjectAdd(mixed.view({batch, -1}), layer.out, stream);

  Tensor inner = inner_.narrow(0, 0, batch);
  ProjectGate(stream, layer.gate_up, config_.hidden_act, linear_scratch_, inner);
  ProjectAdd(inner, layer.down, stream);
}

void DecodeEngine::Choose(int64_t batch) {
  const Tensor logits = logits_.narrow(0, 0, batch);
  Tensor ids = tokens_.narrow(0, 0, batch);
  Tensor log_probs = log_probs_.narrow(0, 0, batch);
  if (options_.sampling.greedy() && !options_.sampling.penalizes()) {
    GreedyChoiceInto(logits, ids, log_probs);
    return;
  }
  const Choice choice = options_.state.draws.defined()
                            ? ChooseNext(logits, options_.sampling, options_.state)
                            : ChooseTokens(logits, options_.sampling, uniform_.narrow(0, 0, batch));
  ids.copy_(choice.ids);
  log_probs.copy_(choice.log_probs);
}

void DecodeEngine::Fetch() {
  Fetched& fetched = fetched_[static_cast<size_t>(steps_) % kInFlight];
  fetched.batch = batch_;
  fetched.chosen.copy_(chosen_, /*non_blocking=*/true);
  if (fetched.done != nullptr) {
    fetched.done->record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
  }
  ++steps_;
}

DecodeChoice DecodeEngine::Collect() {
  CKV_CHECK(collected_ < steps_, "no step to collect");
  Fetched& fetched = fetched_[static_cast<size_t>(collected_) % kInFlight];
  if (fetched.done != nullptr) fetched.done->synchronize();
  ++collected_;
  const Tensor log_probs = fetched.chosen[1].view(log_probs_.scalar_type());
  return {fetched.chosen[0].narrow(0, 0, fetched.batch).clone(),
          log_probs.narrow(0, 0, fetched.batch).clone()};
}

}  // namespace ckv
