// The encoder of the Probabilistic Transformer: a fixed number of mean-field steps in a conditional
// random field, differentiable as a whole.
//
// Each word i has a label Z_i out of d and, in each of h channels, a head H_i among the other
// words (and ROOT, and globals). With label distributions Q_i and head distributions Q_ic, an
// iteration computes
//
//   F_ic(j) = sum_ab Q_i(a) Q_j(b) T[bin(i, j)]^c_ab            heads:  softmax(F d / weight)
//   G_i(a)  = messages from i's heads (2a) and children (2b)    labels: softmax((S + G) / weight)
//
// and the scores (S + G) / weight of the last iteration are the output. S, the word vectors, enters
// every iteration.
//
// Source: Wu and Tu 2023, sections 2 and 3; the order of updates, dropout and damping of its
// reference implementation.
#pragma once

#include <map>
#include <memory>

#include "model/probtrans_config.h"
#include "model/probtrans_factor.h"
#include "model/sentence_encoder.h"

namespace ckv {

class MeanFieldEncoder : public SentenceEncoder {
 public:
  explicit MeanFieldEncoder(const ProbTransConfig& config);

  EncodedSentences Encode(const Tensor& unary, const Tensor& mask,
                          InferenceTrace* trace = nullptr) override;

  int64_t width() const override { return config_.labels; }
  int64_t sentence_width() const override { return config_.root_labels; }
  Tensor ScoreNorm() const override { return factor_->Norm(); }
  void InitializeWeights(at::Generator generator) override;
  double MultiplyAddsPerWord(int64_t words) const override;
  int64_t LongestRecorded() const override;

  const ProbTransConfig& config() const { return config_; }
  const TernaryFactor& factor() const { return *factor_; }

 private:
  struct Call;   // what stays the same over the iterations
  struct State;  // scores and distributions

  Call Begin(const Tensor& unary, const Tensor& mask);
  State Start(const Call& call) const;
  void HeadScores(const Call& call, State& state) const;
  void UpdateHeads(const Call& call, State& state, bool first, double step) const;
  void UpdateLabels(const Call& call, State& state) const;
  void MixLabels(const Call& call, State& state, double step) const;
  void RunHeadsFirst(const Call& call, State& state, InferenceTrace* trace) const;
  void RunTogether(const Call& call, State& state, InferenceTrace* trace) const;
  void Record(const Call& call, const State& state, bool heads_too, InferenceTrace* trace) const;

  double Step(double size, int64_t iteration) const;
  Tensor Normalise(const Tensor& scores) const;
  Tensor NormaliseAdmissible(const Tensor& scores, const Tensor& admissible) const;
  Tensor Drop(const Tensor& x) const;
  Tensor Root() const;  // [d, root labels, h]; undefined without one
  Tensor Globals() const;
  std::shared_ptr<const PairLayout> Layout(int64_t words, const at::Device& device);

  ProbTransConfig config_;
  DistanceBins bins_;
  std::unique_ptr<TernaryFactor> factor_;
  Tensor root_;                          // [d, root labels, h], or
  Tensor root_left_, root_right_;        // [d, r, h], [root labels, r, h]
  Tensor globals_;                       // [m, d, channels], or
  Tensor globals_left_, globals_right_;  // [m, r, channels], [d, r, channels]
  Tensor inner_weight_, inner_bias_, outer_weight_, outer_bias_;

  // Layouts by sentence length: tables that depend on nothing else.
  std::map<std::pair<int64_t, std::string>, std::shared_ptr<const PairLayout>> layouts_;
};

}  // namespace ckv
