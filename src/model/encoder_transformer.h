// The encoder that the Probabilistic Transformer is compared with: post-norm Transformer layers
// without causal mask, with learned absolute positions, clipped relative ones, or none; optionally
// one layer applied several times.
//
// Source: Vaswani et al. 2017; relative positions on the keys' side, Shaw et al. 2018.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/visitor.h"
#include "model/sentence_encoder.h"

namespace ckv {

// `model` of the baseline.
struct EncoderTransformerConfig {
  int64_t width = 256;
  int64_t layers = 4;
  int64_t heads = 8;
  int64_t head_width = 32;
  int64_t feed_forward = 1024;
  std::string positions = "absolute";
  int64_t max_positions = 512;
  double position_std = 1.0;
  int64_t relative_limit = 9;
  bool shared_layers = false;
  double dropout = 0.0;
  double position_dropout = 0.1;

  void Visit(ConfigVisitor& v);

  // Parameters of the encoder, its position table included.
  int64_t NumParameters() const;
};

class EncoderLayerImpl;

class TransformerEncoder : public SentenceEncoder {
 public:
  explicit TransformerEncoder(const EncoderTransformerConfig& config);

  // `trace` is left empty: there are no marginals. Throws ConfigError for sentences longer than the
  // table of absolute positions.
  EncodedSentences Encode(const Tensor& unary, const Tensor& mask,
                          InferenceTrace* trace = nullptr) override;

  int64_t width() const override { return config_.width; }
  int64_t sentence_width() const override { return 0; }
  Tensor ScoreNorm() const override { return Tensor(); }
  void InitializeWeights(at::Generator generator) override;
  double MultiplyAddsPerWord(int64_t words) const override;

 private:
  EncoderTransformerConfig config_;
  Tensor position_table_;  // [max_positions, d]
  std::vector<std::shared_ptr<EncoderLayerImpl>> layers_;
};

}  // namespace ckv
