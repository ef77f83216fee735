#include "model/decoder_config.h"

#include "base/error.h"
#include "base/str.h"
#include "sharing/parse_config.h"

namespace ckv {
namespace {

// Far above any model, and low enough that products of them stay within 64 bits.
constexpr int64_t kMaxWidth = 1 << 20;
constexpr int64_t kMaxVocabulary = 1 << 26;
constexpr int64_t kMaxPositions = int64_t{1} << 31;

bool IsFrom1To(int64_t most, int64_t value) { return value >= 1 && value <= most; }

}  // namespace

void DecoderConfig::Visit(ConfigVisitor& v) {
  v.Field("vocab_size", vocab_size, "entries of the vocabulary; 0 = the tokenizer's");
  v.Require(vocab_size >= 0 && vocab_size <= kMaxVocabulary,
            Str("must be from 0 to ", kMaxVocabulary));
  v.Field("hidden_size", hidden_size, "width of the residual stream");
  v.Require(IsFrom1To(kMaxWidth, hidden_size), Str("must be from 1 to ", kMaxWidth));
  v.Field("intermediate_size", intermediate_size, "width of the feed-forward block");
  v.Require(IsFrom1To(kMaxWidth, intermediate_size), Str("must be from 1 to ", kMaxWidth));
  v.Field("num_layers", num_layers, "layers; may be left out where kv_sharing lists them");
  v.Require(!num_layers.has_value() || *num_layers > 0, "must be > 0");
  v.Field("num_attention_heads", num_attention_heads, "query heads");
  v.Require(IsFrom1To(kMaxWidth, num_attention_heads), Str("must be from 1 to ", kMaxWidth));
  v.Field("num_key_value_heads", num_key_value_heads,
          "key/value heads: 1 = MQA, fewer than query heads = GQA; null = as many");
  v.Require(!num_key_value_heads.has_value() ||
                (*num_key_value_heads > 0 && num_attention_heads % *num_key_value_heads == 0),
            "must divide num_attention_heads");
  v.Field("head_dim", head_dim, "width of a head; null = hidden_size / num_attention_heads");
  v.Require(!head_dim.has_value() || IsFrom1To(kMaxWidth, *head_dim),
            Str("must be from 1 to ", kMaxWidth));
  v.Require(
      head_dim.has_value() ? *head_dim % 2 == 0 : hidden_size % (2 * num_attention_heads) == 0,
      "must be even (without it, hidden_size must be an even multiple of "
      "num_attention_heads)");
  v.Choice("hidden_act", hidden_act, {"silu", "gelu", "gelu_tanh"},
           "gate of the feed-forward block");
  v.Field("attention_bias", attention_bias, "biases in the q, k, v and o projections");
  v.Field("mlp_bias", mlp_bias, "biases in the feed-forward block");
  v.Field("tie_word_embeddings", tie_word_embeddings, "the output head is the embedding matrix");
  v.Field("rms_norm_eps", rms_norm_eps, "epsilon of the normalisations");
  v.Require(rms_norm_eps > 0, "must be > 0");
  v.Field("initializer_range", initializer_range, "standard deviation of fresh weights");
  v.Require(initializer_range > 0, "must be > 0");
  v.Field("attention_dropout", attention_dropout, "dropout of softmax weights in training");
  v.Require(attention_dropout >= 0 && attention_dropout < 1, "must be from 0 to below 1");
  v.Field("max_position_embeddings", max_position_embeddings, "longest sequence meant to be used");
  v.Require(IsFrom1To(kMaxPositions, max_position_embeddings),
            Str("must be from 1 to ", kMaxPositions));
  v.Section("rope", rope, "rotary position embedding");
  v.Field("kv_sharing", kv_sharing,
          "whose keys and values each layer reads: a string, {pattern: ...}, {preset: ...} or a "
          "list of layers; null = its own");
  v.Field("sliding_window", sliding_window,
          "keys that a windowed layer sees, the own one included");
  v.Require(!sliding_window.has_value() || *sliding_window > 0, "must be > 0");
  v.Field("force_nodiag", force_nodiag, "hide each token's own position in every layer");
  v.Field("forward_passes", forward_passes, "m: passes without gradient over an iterative group");
  v.Require(forward_passes >= 0, "must be >= 0");
  v.Field("backward_passes", backward_passes, "b: passes with gradient over an iterative group");
  v.Require(backward_passes >= 1, "must be >= 1");
  v.Choice("kv_start", kv_start, {"zeros", "guess"},
           "what the first pass reads of layers above: zeros, or the group's input through their "
           "norms and projections");
  v.Field("pass_tolerance", pass_tolerance,
          "passes without gradient end once keys and values change by no more than this, relative "
          "to their norm; 0 = never");
  v.Require(pass_tolerance >= 0, "must be >= 0");
  v.Field("fp8_passes", fp8_passes,
          "products of passes without gradient in FP8, where the device has it");
  v.Field("sequential", sequential,
          "train token by token instead of in parallel passes (exact, slow)");
  v.Choice("attention_kernel", attention_kernel, {"sdpa", "reference"},
           "implementation of attention");
  v.Field("bos_token_id", bos_token_id, "beginning of a text; null = the tokenizer's");
  v.Field("eos_token_id", eos_token_id, "end of a text; null = the tokenizer's");
}

void DecoderConfig::Resolve() {
  const ResolvedSharing resolved = ResolveSharing(kv_sharing, num_layers);
  const std::string origin = kv_sharing.origin();
  spec_ = resolved.spec;
  num_layers = spec_->num_layers();
  if (resolved.window.has_value()) {
    if (sliding_window.has_value() && *sliding_window != *resolved.window) {
      throw ConfigError(origin, Str("'model.kv_sharing' asks for a window of ", *resolved.window,
                                    ", but 'model.sliding_window' is ", *sliding_window));
    }
    sliding_window = resolved.window;
  }
  bool any_windowed = false;
  for (int layer = 0; layer < spec_->num_layers(); ++layer) any_windowed |= spec_->windowed(layer);
  if (any_windowed && !sliding_window.has_value()) {
    throw ConfigError(origin, Str("'model.kv_sharing' is ", spec_->ToString(),
                                  ", whose layers marked s need 'model.sliding_window'"));
  }
  kv_sharing = ConfigValue::Scalar(spec_->ToString(), /*quoted=*/true);
  kv_sharing.set_origin(origin);
}

const KvSharingSpec& DecoderConfig::sharing() const {
  CKV_CHECK(spec_.has_value(), "the model config is not resolved");
  return *spec_;
}

std::optional<int64_t> DecoderConfig::WindowOf(int layer) const {
  return sharing().windowed(layer) ? sliding_window : std::nullopt;
}

ModelShape DecoderConfig::Shape() const {
  ModelShape shape;
  shape.hidden = hidden_size;
  shape.heads = num_attention_heads;
  shape.kv_heads = kv_heads();
  shape.head_dim = head_width();
  shape.ffn = intermediate_size;
  shape.vocab = vocab_size;
  shape.tied = tie_word_embeddings;
  shape.attention_bias = attention_bias;
  shape.mlp_bias = mlp_bias;
  shape.hides_own_position = force_nodiag;
  shape.window = sliding_window;
  return shape;
}

bool DecoderConfig::HidesOwnPosition(int layer) const {
  return force_nodiag || sharing().looks_up(layer);
}

}  // namespace ckv
