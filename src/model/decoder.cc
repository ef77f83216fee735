#include "model/decoder.h"

#include <algorithm>

#include <ATen/CPUGeneratorImpl.h>
#include <torch/torch.h>

#include "base/error.h"
#include "model/decoder_call.h"

namespace ckv {

DecoderImpl::DecoderImpl(const DecoderConfig& config)
    : config_(config), rope_(config.rope, config.head_width()) {
  CKV_CHECK(config.vocab_size > 0, "the vocabulary size is not set");
  model_ = register_module("model", DecoderStack(config));
  if (!config.tie_word_embeddings) {
    lm_head_ = register_module("lm_head", Projection(config.hidden_size, config.vocab_size, false));
  }
}

DecoderInitializer::DecoderInitializer(const DecoderConfig& config, uint64_t seed)
    : generator_(at::make_generator<at::CPUGeneratorImpl>(seed)),
      range_(config.initializer_range) {}

void DecoderInitializer::Fill(const std::string& name, Tensor parameter) {
  at::NoGradGuard no_grad;
  if (parameter.dim() == 2) {
    // Drawn on the CPU in fp32: the same weights on every device and in every dtype.
    parameter.copy_(at::empty(parameter.sizes(), at::kFloat).normal_(0.0, range_, generator_));
  } else {
    const bool is_bias = name.size() >= 4 && name.compare(name.size() - 4, 4, "bias") == 0;
    parameter.fill_(is_bias ? 0.0 : 1.0);
  }
}

void DecoderImpl::InitializeWeights(uint64_t seed) {
  DecoderInitializer initializer(config_, seed);
  for (const auto& item : named_parameters()) initializer.Fill(item.key(), item.value());
}

const Tensor& DecoderImpl::head_weight() const {
  return lm_head_.is_empty() ? model_->embed->weight : lm_head_->weight();
}

KvCache DecoderImpl::NewCache(int64_t rows, int64_t max_tokens,
                              std::optional<SinkWindow> sinks) const {
  const at::TensorOptions options = model_->embed->weight.options().requires_grad(false);
  KvCacheShape shape;
  shape.rows = rows;
  shape.kv_heads = config_.kv_heads();
  shape.head_dim = config_.head_width();
  shape.max_tokens = max_tokens;
  shape.window = config_.sliding_window;
  shape.sinks = sinks;
  if (!sinks.has_value()) return KvCache(config_.sharing(), shape, options);

  const auto refuse = [](const std::string& what) { throw ConfigError("sink cache", what); };
  if (sinks->num_sinks < 0) refuse(Str(sinks->num_sinks, " sinks, but must be >= 0"));
  if (sinks->window_length <= sinks->num_sinks) {
    refuse(Str("a window of ", sinks->window_length, " tokens, but must be more than the ",
               sinks->num_sinks, " sinks"));
  }
  for (int layer = 0; layer < config_.sharing().num_layers(); ++layer) {
    if (config_.WindowOf(layer).has_value()) {
      refuse(Str("layer ", layer, " has a sliding window; sinks need layers that see everything"));
    }
  }
  if (config_.rope.scaling == "dynamic") {
    refuse("the model's \"dynamic\" RoPE scaling depends on the length; sinks need another");
  }
  return KvCache(config_.sharing(), shape, options, rope_);
}

int64_t DecoderImpl::NumParameters() const {
  int64_t total = 0;
  for (const Tensor& parameter : parameters()) total += parameter.numel();
  return total;
}

DecoderLayerImpl& DecoderImpl::Layer(int layer) const {
  return *model_->layers->ptr<DecoderLayerImpl>(static_cast<size_t>(layer));
}

DecoderRun::Order DecoderImpl::ResolveOrder(const DecoderRun& run, int64_t num_tokens) const {
  if (run.order != DecoderRun::Order::kConfig) return run.order;
  if (config_.sequential) return DecoderRun::Order::kSequential;
  if (run.cache != nullptr && config_.sharing().cyclic()) {
    const int64_t passes = run.forward_passes.value_or(config_.forward_passes) +
                           run.backward_passes.value_or(config_.backward_passes);
    if (num_tokens <= passes) return DecoderRun::Order::kSequential;
  }
  return DecoderRun::Order::kParallel;
}

namespace {

void CheckRun(const DecoderInput& input, const DecoderRun& run) {
  CKV_CHECK(input.tokens.dim() == 2 && input.tokens.size(1) > 0, "tokens ", input.tokens.sizes());
  CKV_CHECK(run.cache == nullptr || !input.segments.defined(),
            "documents within a row do not go with a cache");
  CKV_CHECK(run.cache == nullptr || run.cache->rows() == input.tokens.size(0), input.tokens.size(0),
            " rows for a cache of ", run.cache->rows());
  CKV_CHECK(run.layer_outputs == nullptr || !run.last_only, "layer outputs are of all positions");
}

}  // namespace

Tensor DecoderImpl::Hidden(const DecoderInput& input, const DecoderRun& run) {
  CheckRun(input, run);
  const int64_t rows = input.tokens.size(0);
  // Without a cache the parallel order can leave padding where it is.
  const bool in_place = run.cache == nullptr && !run.last_only &&
                        (run.order == DecoderRun::Order::kParallel ||
                         (run.order == DecoderRun::Order::kConfig && !config_.sequential));
  const PackedRows packed(in_place ? Tensor() : input.key_mask, rows, input.tokens.size(1));
  Work work;
  work.tokens = packed.Pack(input.tokens);
  if (input.segments.defined()) work.segments = packed.Pack(input.segments);
  work.key_segments = work.segments;
  if (in_place) work.key_mask = input.key_mask;
  if (packed.uneven()) work.counts = packed.counts();
  work.last_columns = packed.last_columns();
  work.cache = run.cache;
  work.wanted = run.last_only ? WantedOutput::kLastPosition : WantedOutput::kAllPositions;

  const int64_t num_tokens = packed.columns();
  const DecoderRun::Order order = ResolveOrder(run, num_tokens);
  Tensor hidden;
  if (order == DecoderRun::Order::kSequential) {
    hidden = RunBlocks(work, run, 1);
  } else if (order == DecoderRun::Order::kChunked) {
    CKV_CHECK(run.chunk_tokens >= 1, "chunks of ", run.chunk_tokens, " tokens");
    CKV_CHECK(!at::GradMode::is_enabled() && !input.segments.defined(),
              "chunks have neither gradient nor documents");
    hidden = RunBlocks(work, run, run.chunk_tokens);
  } else if (run.cache != nullptr && num_tokens == 1) {
    hidden = RunSinglePass(work, run);
  } else {
    hidden = RunPlan(work, run);
  }
  return OutputNorm(run.last_only ? hidden : packed.Unpack(hidden), run);
}

}  // namespace ckv
