// What sentence tasks know of an encoder: word vectors in, word scores out.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Generator.h>
#include <torch/nn/module.h>

namespace ckv {

using at::Tensor;

// What inference passed through, for study and tests. Iteration t is at index t - 1; label_probs
// has the initial distributions in front.
struct InferenceTrace {
  std::vector<Tensor> label_probs;   // [B, n, d], zero at padding
  std::vector<Tensor> label_scores;  // [B, n, d]
  // [B, h, n, C], where the columns are ROOT (if there is one), the n words, and shared globals.
  std::vector<Tensor> head_probs;
  std::vector<Tensor> global_probs;  // [B, channels, n, globals], of separate globals
  std::vector<Tensor> root_scores;   // [B, root labels]
};

struct EncodedSentences {
  Tensor words;  // [B, n, width()], zero at padding
  Tensor root;   // [B, sentence_width()]; undefined without one
};

class SentenceEncoder : public torch::nn::Module {
 public:
  // `unary` [B, n, d] word vectors, `mask` [B, n] bool, true for words, which stand in front. What
  // a sentence gives does not depend on the others of the batch. `trace` may be nullptr.
  virtual EncodedSentences Encode(const Tensor& unary, const Tensor& mask,
                                  InferenceTrace* trace = nullptr) = 0;

  virtual int64_t width() const = 0;
  virtual int64_t sentence_width() const = 0;  // 0: it gives no vector of a whole sentence
  // Norm of the scores that a penalty is put on; undefined: there are none.
  virtual Tensor ScoreNorm() const = 0;
  virtual void InitializeWeights(at::Generator generator) = 0;
  // Large matrix products in bf16; distributions and scores stay as they are.
  void UseBf16Products(bool on) { bf16_products_ = on; }
  // Multiply-adds of a forward pass for one word of a sentence of `words` words.
  virtual double MultiplyAddsPerWord(int64_t words) const = 0;
  // Sentences up to this length may be encoded in work that is recorded (nn/device_graph.h): what
  // Encode keeps for them from one call to the next stays where it is.
  virtual int64_t LongestRecorded() const { return INT64_MAX; }

 protected:
  bool bf16_products_ = false;
};

}  // namespace ckv
