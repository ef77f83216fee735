#include "model/encoder_transformer.h"

#include <cmath>
#include <limits>

#include <ATen/autocast_mode.h>
#include <torch/torch.h>

#include "base/error.h"

namespace ckv {

namespace {

// Autocast to bf16 while this lives, if asked for.
class Bf16Products {
 public:
  Bf16Products(bool on, const at::Device& device) : on_(on), type_(device.type()) {
    if (!on_) return;
    at::autocast::set_autocast_dtype(type_, at::kBFloat16);
    at::autocast::set_autocast_enabled(type_, true);
  }
  ~Bf16Products() {
    if (!on_) return;
    at::autocast::set_autocast_enabled(type_, false);
    at::autocast::clear_cache();
  }
  Bf16Products(const Bf16Products&) = delete;
  Bf16Products& operator=(const Bf16Products&) = delete;

 private:
  bool on_;
  at::DeviceType type_;
};

}  // namespace

void EncoderTransformerConfig::Visit(ConfigVisitor& v) {
  v.Field("width", width, "width of word vectors");
  v.Require(width >= 1, "must be >= 1");
  v.Field("layers", layers, "layers, or applications of the shared one");
  v.Require(layers >= 1, "must be >= 1");
  v.Field("heads", heads, "attention heads");
  v.Require(heads >= 1, "must be >= 1");
  v.Field("head_width", head_width, "width of a head, independent of the others");
  v.Require(head_width >= 1, "must be >= 1");
  v.Field("feed_forward", feed_forward, "inner width of the feed-forward block");
  v.Require(feed_forward >= 1, "must be >= 1");
  v.Choice("positions", positions, {"absolute", "relative", "none"},
           "a learned vector a position, a learned vector a distance on the keys, or none");
  v.Field("max_positions", max_positions, "absolute: longest sentence");
  v.Require(max_positions >= 1, "must be >= 1");
  v.Field(
      "position_std", position_std,
      "absolute: standard deviation of fresh positions; fresh word vectors have that of Xavier's "
      "bound, which is small for large vocabularies");
  v.Require(position_std > 0, "must be > 0");
  v.Field("relative_limit", relative_limit, "relative: distances from here on count as one less");
  v.Require(relative_limit >= 1, "must be >= 1");
  v.Field("shared_layers", shared_layers, "all layers have the same weights");
  v.Field("dropout", dropout, "of attention weights and of the blocks' outputs in training");
  v.Require(dropout >= 0 && dropout < 1, "must be from 0 to below 1");
  v.Field("position_dropout", position_dropout, "absolute: of word vectors and of positions");
  v.Require(position_dropout >= 0 && position_dropout < 1, "must be from 0 to below 1");
}

int64_t EncoderTransformerConfig::NumParameters() const {
  int64_t layer =
      4 * heads * width * head_width + 2 * width * feed_forward + feed_forward + width + 4 * width;
  if (positions == "relative") layer += (2 * relative_limit - 1) * head_width;
  return (shared_layers ? 1 : layers) * layer +
         (positions == "absolute" ? max_positions * width : 0);
}

// Attention without biases; the registered names are those of published weight files.
class EncoderAttentionImpl : public torch::nn::Module {
 public:
  explicit EncoderAttentionImpl(const EncoderTransformerConfig& config) : config_(config) {
    const auto add = [&](const char* name, int64_t in, int64_t out) {
      return register_parameter(name, at::zeros({config.heads, in, out}));
    };
    query_ = add("w_q", config.width, config.head_width);
    key_ = add("w_k", config.width, config.head_width);
    value_ = add("w_v", config.width, config.head_width);
    output_ = add("w_o", config.head_width, config.width);
    if (config.positions == "relative") {
      auto table = std::make_shared<torch::nn::Module>();
      distances_ = table->register_parameter(
          "weight", at::zeros({2 * config.relative_limit - 1, config.head_width}));
      register_module("q_embedding", table);
    }
  }

  // x [B, n, d], hidden [B, 1, 1, n] bool: keys that nobody sees
  Tensor Forward(const Tensor& x, const Tensor& hidden) {
    const int64_t batch = x.size(0), n = x.size(1), h = config_.heads;
    const auto project = [&](const Tensor& weights) {
      const Tensor matrix = weights.transpose(0, 1).reshape({config_.width, -1});
      return at::matmul(x, matrix).view({batch, n, h, -1}).transpose(1, 2);  // [B, h, n, D]
    };
    const Tensor q = project(query_);
    Tensor scores = at::matmul(q, project(key_).transpose(2, 3));
    if (distances_.defined()) {
      const int64_t limit = config_.relative_limit;
      const Tensor place = at::arange(n, x.options().dtype(at::kLong));
      const Tensor rows = (place.unsqueeze(1) - place).clamp(1 - limit, limit - 1) + (limit - 1);
      const Tensor by_row = at::matmul(q, distances_.t());  // [B, h, n, 2e - 1]
      scores = scores + by_row.gather(3, rows.expand({batch, h, n, n}));
    }
    scores = scores / std::sqrt(static_cast<double>(config_.head_width));
    const double lowest = -static_cast<double>(std::numeric_limits<float>::max()) / 4.0;
    Tensor weights = scores.masked_fill(hidden, lowest).softmax(-1);
    weights = at::dropout(weights, config_.dropout, is_training());
    const Tensor mixed = at::matmul(weights, project(value_)).transpose(1, 2).flatten(2);
    return at::dropout(at::matmul(mixed, output_.flatten(0, 1)), config_.dropout, is_training());
  }

  void Initialize(at::Generator& generator) {
    // Xavier-normal as of [heads, in, out]: both fans count the last axis and the heads.
    for (Tensor* weights : {&query_, &key_, &value_, &output_}) {
      const auto in = static_cast<double>(weights->size(1));
      const auto out = static_cast<double>(weights->size(2));
      weights->normal_(0.0, std::sqrt(2.0 / (in + out)), generator);
    }
    if (distances_.defined()) distances_.normal_(0.0, 1.0, generator);
  }

 private:
  EncoderTransformerConfig config_;
  Tensor query_, key_, value_, output_, distances_;
};

class EncoderLayerImpl : public torch::nn::Module {
 public:
  explicit EncoderLayerImpl(const EncoderTransformerConfig& config)
      : dropout_(config.dropout), attention_(std::make_shared<EncoderAttentionImpl>(config)) {
    register_module("self_attn", attention_);
    auto feed_forward = std::make_shared<torch::nn::Module>();
    inner_ = feed_forward->register_module("linear1",
                                           torch::nn::Linear(config.width, config.feed_forward));
    outer_ = feed_forward->register_module("linear2",
                                           torch::nn::Linear(config.feed_forward, config.width));
    register_module("feed_forward", feed_forward);
    norms_ = register_module("layer_norm", torch::nn::ModuleList());
    for (int i = 0; i < 2; ++i) {
      norms_->push_back(torch::nn::LayerNorm(torch::nn::LayerNormOptions({config.width})));
    }
  }

  Tensor Forward(const Tensor& x, const Tensor& hidden) {
    const Tensor y = Norm(0, x + attention_->Forward(x, hidden));
    const Tensor fed = outer_->forward(inner_->forward(y).relu());
    return Norm(1, y + at::dropout(fed, dropout_, is_training()));
  }

  void Initialize(at::Generator& generator) {
    attention_->Initialize(generator);
    for (torch::nn::Linear* linear : {&inner_, &outer_}) {
      const double bound = 1.0 / std::sqrt(static_cast<double>((*linear)->weight.size(1)));
      (*linear)->weight.uniform_(-bound, bound, generator);
      (*linear)->bias.uniform_(-bound, bound, generator);
    }
  }

 private:
  Tensor Norm(size_t which, const Tensor& x) {
    return norms_->at<torch::nn::LayerNormImpl>(which).forward(x);
  }

  double dropout_;
  std::shared_ptr<EncoderAttentionImpl> attention_;
  torch::nn::Linear inner_{nullptr}, outer_{nullptr};
  torch::nn::ModuleList norms_{nullptr};
};

TransformerEncoder::TransformerEncoder(const EncoderTransformerConfig& config) : config_(config) {
  if (config.positions == "absolute") {
    auto table = std::make_shared<torch::nn::Module>();
    position_table_ =
        table->register_parameter("timing_table", at::zeros({config.max_positions, config.width}));
    register_module("add_timing", table);
  }
  auto list = std::make_shared<torch::nn::Module>();
  for (int64_t i = 0; i < (config.shared_layers ? 1 : config.layers); ++i) {
    layers_.push_back(std::make_shared<EncoderLayerImpl>(config));
    list->register_module(std::to_string(i), layers_.back());
  }
  register_module("sublayers", list);
}

void TransformerEncoder::InitializeWeights(at::Generator generator) {
  at::NoGradGuard no_grad;
  if (position_table_.defined()) position_table_.normal_(0.0, config_.position_std, generator);
  for (const auto& layer : layers_) layer->Initialize(generator);
}

double TransformerEncoder::MultiplyAddsPerWord(int64_t words) const {
  const auto d = static_cast<double>(config_.width);
  const auto inner = static_cast<double>(config_.heads * config_.head_width);
  return static_cast<double>(config_.layers) *
         (4.0 * d * inner + 2.0 * d * static_cast<double>(config_.feed_forward) +
          2.0 * inner * static_cast<double>(words));
}

EncodedSentences TransformerEncoder::Encode(const Tensor& unary, const Tensor& mask,
                                            InferenceTrace* /*trace*/) {
  const Tensor is_word = mask.to(at::kBool);
  const Tensor words = is_word.unsqueeze(2).to(unary.scalar_type());
  Tensor x = unary * words;
  if (position_table_.defined()) {
    const int64_t n = x.size(1);
    if (n > config_.max_positions) {
      throw ConfigError("", Str("a sentence has ", n, " words, but 'model.max_positions' is ",
                                config_.max_positions));
    }
    x = at::dropout(x, config_.position_dropout, is_training()) +
        at::dropout(position_table_.narrow(0, 0, n), config_.position_dropout, is_training());
  }
  const Bf16Products bf16(bf16_products_, x.device());
  const Tensor hidden = is_word.logical_not().unsqueeze(1).unsqueeze(1);
  for (int64_t i = 0; i < config_.layers; ++i) {
    x = layers_[config_.shared_layers ? 0 : static_cast<size_t>(i)]->Forward(x, hidden);
  }
  return {x.to(unary.scalar_type()) * words, Tensor()};
}

}  // namespace ckv
