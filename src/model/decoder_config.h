// `model`: the shape of a Llama-family decoder whose layers share keys and values.
//
// Names follow Hugging Face's LlamaConfig; `kv_sharing` and the passes are this project's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "config/value.h"
#include "config/visitor.h"
#include "nn/rope.h"
#include "sharing/cost.h"
#include "sharing/spec.h"

namespace ckv {

struct DecoderConfig {
  int64_t vocab_size = 0;
  int64_t hidden_size = 512;
  int64_t intermediate_size = 1408;
  std::optional<int64_t> num_layers;
  int64_t num_attention_heads = 8;
  std::optional<int64_t> num_key_value_heads;
  std::optional<int64_t> head_dim;
  std::string hidden_act = "silu";
  bool attention_bias = false;
  bool mlp_bias = false;
  bool tie_word_embeddings = false;
  double rms_norm_eps = 1e-5;
  double initializer_range = 0.02;
  double attention_dropout = 0.0;
  int64_t max_position_embeddings = 4096;
  RopeConfig rope;

  ConfigValue kv_sharing;
  std::optional<int64_t> sliding_window;
  bool force_nodiag = false;
  int64_t forward_passes = 7;
  int64_t backward_passes = 2;
  std::string kv_start = "zeros";
  double pass_tolerance = 0.0;
  bool fp8_passes = false;
  bool sequential = false;
  std::string attention_kernel = "sdpa";

  std::optional<int64_t> bos_token_id;
  std::optional<int64_t> eos_token_id;

  void Visit(ConfigVisitor& v);

  // Replaces `kv_sharing` by its canonical string, fills num_layers and what a preset says of the
  // window, and checks what holds between keys. Throws ConfigError. Call once after reading.
  void Resolve();

  // Of a resolved config.
  const KvSharingSpec& sharing() const;
  int64_t layers() const { return *num_layers; }
  int64_t kv_heads() const { return num_key_value_heads.value_or(num_attention_heads); }
  int64_t head_width() const { return head_dim.value_or(hidden_size / num_attention_heads); }
  // Window of a layer; nullopt for a layer without one.
  std::optional<int64_t> WindowOf(int layer) const;
  // True if the layer hides each token's own position: it reads a layer above, or force_nodiag.
  bool HidesOwnPosition(int layer) const;
  ModelShape Shape() const;
  KvStart Start() const { return kv_start == "guess" ? KvStart::kGuess : KvStart::kZeros; }

 private:
  std::optional<KvSharingSpec> spec_;
};

}  // namespace ckv
