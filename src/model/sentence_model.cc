#include "model/sentence_model.h"

#include <cmath>

#include <ATen/CPUGeneratorImpl.h>
#include <torch/torch.h>

#include "base/error.h"
#include "base/target.h"

namespace ckv {

SentenceModel::SentenceModel(std::shared_ptr<SentenceEncoder> encoder, SentenceModelShape shape)
    : encoder_(std::move(encoder)), shape_(std::move(shape)) {
  const int64_t d = encoder_->width();
  auto table = std::make_shared<torch::nn::Module>();
  embedding_ = table->register_parameter("weight", at::zeros({shape_.vocabulary, d}));
  register_module("embedding", table);
  register_module("encoder", encoder_);
  if (shape_.whole_sentences && encoder_->sentence_width() == 0) {
    class_token_ = register_parameter("class_token", at::zeros({d}));
  }
  const int64_t width =
      shape_.whole_sentences && encoder_->sentence_width() > 0 ? encoder_->sentence_width() : d;
  CKV_CHECK(!shape_.tied || (shape_.classes.size() == 1 && !shape_.whole_sentences),
            "only the head of words can be tied to the embedding");
  for (size_t i = 0; i < shape_.classes.size(); ++i) {
    auto head = std::make_shared<torch::nn::Module>();
    if (!shape_.tied) {
      weights_.push_back(head->register_parameter("weight", at::zeros({shape_.classes[i], width})));
    }
    biases_.push_back(head->register_parameter("bias", at::zeros({shape_.classes[i]})));
    register_module(i == 0 ? "head" : Str("head", i + 1), head);
  }
}

void SentenceModel::InitializeWeights(uint64_t seed) {
  at::NoGradGuard no_grad;
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(seed);
  const auto xavier = [&](Tensor& weights) {
    const auto fans = static_cast<double>(weights.size(0) + weights.size(1));
    const double bound = std::sqrt(6.0 / fans);
    weights.uniform_(-bound, bound, generator);
  };
  xavier(embedding_);
  encoder_->InitializeWeights(generator);
  if (class_token_.defined()) class_token_.normal_(0.0, 1.0, generator);
  for (size_t i = 0; i < biases_.size(); ++i) {
    const Tensor& fan = shape_.tied ? embedding_ : weights_[i];
    const double bound = 1.0 / std::sqrt(static_cast<double>(fan.size(1)));
    if (!shape_.tied && shape_.whole_sentences) xavier(weights_[i]);
    if (!shape_.tied && !shape_.whole_sentences) weights_[i].uniform_(-bound, bound, generator);
    biases_[i].uniform_(-bound, bound, generator);
  }
}

Tensor SentenceModel::Encode(const Tensor& ids, const Tensor& mask, InferenceTrace* trace) {
  const Tensor words = mask.to(at::kBool);
  Tensor vectors = at::embedding(embedding_, ids.masked_fill(words.logical_not(), 0));
  if (!class_token_.defined()) {
    const EncodedSentences encoded = encoder_->Encode(vectors, words, trace);
    return shape_.whole_sentences ? encoded.root.unsqueeze(1) : encoded.words;
  }
  const Tensor token = class_token_.expand({ids.size(0), 1, -1});
  vectors = at::cat({token, vectors}, 1);
  const Tensor all = at::cat({at::ones({ids.size(0), 1}, words.options()), words}, 1);
  return encoder_->Encode(vectors, all, trace).words.narrow(1, 0, 1);
}

std::vector<Tensor> SentenceModel::Logits(const Tensor& features) const {
  std::vector<Tensor> logits;
  for (size_t i = 0; i < biases_.size(); ++i) {
    const Tensor weight = shape_.tied ? embedding_.narrow(0, 0, shape_.classes[0]) : weights_[i];
    logits.push_back(at::linear(features, weight, biases_[i]));
  }
  return logits;
}

int64_t SentenceModel::NumParameters() const {
  int64_t count = 0;
  for (const Tensor& parameter : parameters()) count += parameter.numel();
  return count;
}

Tensor WeightedCrossEntropy(const Tensor& logits, const Tensor& targets, const Tensor& weights) {
  const auto wide = logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const Tensor losses = at::nll_loss(logits.to(wide).log_softmax(-1), targets, {},
                                     at::Reduction::None, kIgnoreTarget);
  return (losses * weights.to(wide)).sum();
}

}  // namespace ckv
