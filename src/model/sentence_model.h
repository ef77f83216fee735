// A model of a sentence task: a table of word vectors, an encoder, and linear layers on the words'
// or the sentence's scores.
//
// Parameters: embedding.weight [V, d], encoder.*, head.weight and head.bias, further heads head2 to
// headN; class_token [d] for sentences where the encoder has no root.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <torch/nn/module.h>

#include "model/sentence_encoder.h"

namespace ckv {

struct SentenceModelShape {
  int64_t vocabulary = 0;        // rows of the embedding
  std::vector<int64_t> classes;  // of each head
  bool whole_sentences = false;  // one row a sentence instead of one a word
  bool tied = false;             // head's weight is the first rows of the embedding
};

class SentenceModel : public torch::nn::Module {
 public:
  // Fresh parameters are zero: call InitializeWeights or load them.
  SentenceModel(std::shared_ptr<SentenceEncoder> encoder, SentenceModelShape shape);

  void InitializeWeights(uint64_t seed);

  // Features [B, n, width], or [B, 1, width] of whole sentences. ids [B, n] int64 (any number at
  // padding), mask [B, n] bool.
  Tensor Encode(const Tensor& ids, const Tensor& mask, InferenceTrace* trace = nullptr);

  // Scores of the classes of each head, [..., classes], of features [..., width].
  std::vector<Tensor> Logits(const Tensor& features) const;

  SentenceEncoder& encoder() { return *encoder_; }
  const SentenceModelShape& shape() const { return shape_; }
  int64_t NumParameters() const;

 private:
  std::shared_ptr<SentenceEncoder> encoder_;
  SentenceModelShape shape_;
  Tensor embedding_;
  Tensor class_token_;
  std::vector<Tensor> weights_;
  std::vector<Tensor> biases_;
};

// sum over rows of weight * -log softmax(logits)[target]. logits [N, classes], targets [N] int64
// (kIgnoreTarget: no loss), weights [N]. In fp32, or fp64 for doubles.
Tensor WeightedCrossEntropy(const Tensor& logits, const Tensor& targets, const Tensor& weights);

}  // namespace ckv
