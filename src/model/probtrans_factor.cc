#include "model/probtrans_factor.h"

#include <cmath>

#include <torch/torch.h>

#include "base/error.h"

namespace ckv {
namespace {

// What the forms have in common: bins, or the mixture that makes them.
class MixedFactor : public TernaryFactor {
 public:
  explicit MixedFactor(const ProbTransConfig& config)
      : labels_(config.labels), channels_(config.channels), binned_(config.distances != "none") {
    const int64_t bins = config.Bins().size();
    tensors_ = config.distances == "mixture" ? config.distance_tensors : bins;
    if (config.distances == "mixture") mixture_ = Add("distribution_params", {bins, tensors_});
  }

 protected:
  // A parameter with one slice for each score tensor.
  Tensor AddSliced(const std::string& name, std::vector<int64_t> shape) {
    if (binned_) shape.insert(shape.begin(), tensors_);
    return Add(name, shape);
  }

  Tensor Sliced(const Tensor& weights) const { return binned_ ? weights : weights.unsqueeze(0); }

  // The slices of the bins that occur; all that are mixed.
  Tensor Needed(const Tensor& weights, const PairLayout& layout) const {
    return mixture_.defined() ? weights : Present(Sliced(weights), layout);
  }

  static Tensor Present(const Tensor& slices, const PairLayout& layout) {
    if (layout.num_bins() == slices.size(0)) return slices;
    return slices.index_select(0, layout.id_tensor);
  }

  PreparedFactor Start(const PairLayout& layout, int64_t rank) const {
    PreparedFactor prepared;
    prepared.rank = rank;
    prepared.tensors = mixture_.defined() ? tensors_ : layout.num_bins();
    if (mixture_.defined()) prepared.mixture = Present(mixture_, layout);
    return prepared;
  }

  // T [K, d, d, h] from T_q.
  Tensor Mixed(const Tensor& base) const {
    if (!mixture_.defined()) return base;
    return at::matmul(mixture_, base.flatten(1)).view({mixture_.size(0), labels_, labels_, -1});
  }

  void InitializeNormal(const std::vector<Tensor>& weights, double deviation,
                        at::Generator generator) {
    at::NoGradGuard no_grad;
    if (mixture_.defined()) mixture_.normal_(0.0, 1.0, generator);
    for (Tensor one : weights) one.normal_(0.0, deviation, generator);
  }

  const int64_t labels_;
  const int64_t channels_;

 private:
  bool binned_;
  int64_t tensors_ = 0;
  Tensor mixture_;
};

class FullFactor : public MixedFactor {
 public:
  explicit FullFactor(const ProbTransConfig& config) : MixedFactor(config) {
    ternary_ = AddSliced("ternary", {labels_, labels_, channels_});
  }

  // The label distribution is the child side; the head side is T[k] q. Mixtures are taken of the
  // tensors themselves.
  PreparedFactor Prepare(const PairLayout& layout) const override {
    PreparedFactor prepared;
    prepared.rank = labels_;
    prepared.tensors = layout.num_bins();
    const Tensor slices = Present(Recovered(), layout);
    prepared.head_matrix = slices.permute({2, 0, 3, 1}).reshape({labels_, -1});  // [b, k c a]
    return prepared;
  }

  Tensor Recovered() const override { return Mixed(Sliced(ternary_)); }
  Tensor Norm() const override { return at::linalg_vector_norm(ternary_); }
  void Initialize(at::Generator generator) override {
    InitializeNormal({ternary_}, 1.0, generator);
  }

 private:
  Tensor ternary_;
};

class UvFactor : public MixedFactor {
 public:
  explicit UvFactor(const ProbTransConfig& config) : MixedFactor(config), rank_(config.rank) {
    u_ = AddSliced("U", {labels_, rank_, channels_});
    v_ = AddSliced("V", {labels_, rank_, channels_});
  }

  PreparedFactor Prepare(const PairLayout& layout) const override {
    PreparedFactor prepared = Start(layout, rank_);
    const auto matrix = [&](const Tensor& weights) {
      return Needed(weights, layout).permute({1, 0, 3, 2}).reshape({labels_, -1});  // [a, k c l]
    };
    prepared.child_matrix = matrix(u_);
    prepared.head_matrix = matrix(v_);
    return prepared;
  }

  Tensor Recovered() const override {
    return Mixed(at::einsum("kalc,kblc->kabc", {Sliced(u_), Sliced(v_)}));
  }
  // |T|^2 = sum over bins and channels of (U^T U) . (V^T V)
  Tensor Norm() const override {
    const auto gram = [this](const Tensor& weights) {
      return at::einsum("kalc,kamc->kclm", {Sliced(weights), Sliced(weights)});
    };
    return (gram(u_) * gram(v_)).sum().clamp_min(0).sqrt();
  }
  void Initialize(at::Generator generator) override {
    InitializeNormal({u_, v_}, 1.0 / std::sqrt(static_cast<double>(rank_)), generator);
  }

 private:
  int64_t rank_;
  Tensor u_, v_;
};

class UvwFactor : public MixedFactor {
 public:
  explicit UvwFactor(const ProbTransConfig& config) : MixedFactor(config), rank_(config.rank) {
    u_ = AddSliced("U", {labels_, rank_});
    v_ = AddSliced("V", {labels_, rank_});
    w_ = AddSliced("W", {channels_, rank_});
  }

  PreparedFactor Prepare(const PairLayout& layout) const override {
    PreparedFactor prepared = Start(layout, rank_);
    const auto matrix = [&](const Tensor& weights) {
      return Needed(weights, layout).permute({1, 0, 2}).reshape({labels_, -1});  // [a, k l]
    };
    prepared.child_matrix = matrix(u_);
    prepared.head_matrix = matrix(v_);
    prepared.channel_weights = Needed(w_, layout);
    return prepared;
  }

  Tensor Recovered() const override {
    return Mixed(at::einsum("kal,kbl,kcl->kabc", {Sliced(u_), Sliced(v_), Sliced(w_)}));
  }
  Tensor Norm() const override {
    const auto gram = [this](const Tensor& weights) {
      return at::einsum("kal,kam->klm", {Sliced(weights), Sliced(weights)});
    };
    return (gram(u_) * gram(v_) * gram(w_)).sum().clamp_min(0).sqrt();
  }
  void Initialize(at::Generator generator) override {
    InitializeNormal({u_, v_, w_}, 1.0 / std::sqrt(static_cast<double>(rank_)), generator);
  }

 private:
  int64_t rank_;
  Tensor u_, v_, w_;
};

Tensor Product(const Tensor& x, const Tensor& matrix, bool bf16) {
  if (!bf16) return at::matmul(x, matrix);
  return at::matmul(x.to(at::kBFloat16), matrix.to(at::kBFloat16)).to(x.scalar_type());
}

// q [B, n, d] through a matrix: [B, n, tensors, h or 1, R]
Tensor Side(const Tensor& q, const Tensor& matrix, const PreparedFactor& factor) {
  const Tensor side = Product(q.flatten(0, 1), matrix, factor.bf16)
                          .view({q.size(0), q.size(1), factor.tensors, -1, factor.rank});
  // The full form's head side meets its child side in one product, as it is.
  if (!factor.by_bin || !factor.child_matrix.defined()) return side;
  return side.permute({0, 2, 3, 1, 4}).contiguous().permute({0, 3, 1, 2, 4});
}

// Back to label scores.
Tensor FromSide(const Tensor& collected, const Tensor& matrix, bool bf16) {
  return Product(collected.flatten(2).flatten(0, 1), matrix.t(), bf16)
      .view({collected.size(0), collected.size(1), -1});
}

// A mixture joins the ranks of its tensors: the child side of bin k holds D[k, q] times that of
// tensor q, for all q behind each other, and the head side is the same for all bins.
Tensor MixChild(const Tensor& child, const Tensor& mixture) {
  const Tensor weights = mixture.view({mixture.size(0), mixture.size(1), 1, 1});
  return (child.unsqueeze(2) * weights).transpose(3, 4).flatten(4);  // [B, n, K, h, q R]
}

Tensor UnmixChild(const Tensor& collected, const Tensor& mixture) {
  const Tensor parts = collected.unflatten(4, {mixture.size(1), -1}).transpose(3, 4);
  return (parts * mixture.view({mixture.size(0), mixture.size(1), 1, 1})).sum(2);  // [B,n,q,h,R]
}

Tensor JoinHead(const Tensor& head) { return head.transpose(2, 3).flatten(3).unsqueeze(2); }

Tensor SplitHead(const Tensor& collected, int64_t tensors) {
  return collected.squeeze(2).unflatten(3, {tensors, -1}).transpose(2, 3);
}

}  // namespace

Tensor TernaryFactor::Add(const std::string& name, const std::vector<int64_t>& shape) {
  const Tensor weights = at::zeros(shape, at::kFloat).set_requires_grad(true);
  parameters_.emplace_back(name, weights);
  return weights;
}

std::unique_ptr<TernaryFactor> MakeTernaryFactor(const ProbTransConfig& config) {
  if (config.factor == "uv") return std::make_unique<UvFactor>(config);
  if (config.factor == "uvw") return std::make_unique<UvwFactor>(config);
  CKV_CHECK(config.factor == "full", "factor: ", config.factor);
  return std::make_unique<FullFactor>(config);
}

PairSides ProjectSides(const Tensor& q, const PreparedFactor& factor) {
  PairSides sides;
  sides.head = Side(q, factor.head_matrix, factor);
  if (!factor.child_matrix.defined()) {
    sides.child = q.unsqueeze(2).unsqueeze(2);  // [B, n, 1, 1, d]
    return sides;
  }
  sides.child = Side(q, factor.child_matrix, factor);
  if (factor.channel_weights.defined()) sides.child = sides.child * factor.channel_weights;
  if (factor.mixture.defined()) {
    sides.child = MixChild(sides.child, factor.mixture);
    sides.head = JoinHead(sides.head);
  }
  return sides;
}

Tensor ChildMessage(const Tensor& collected, const PreparedFactor& factor) {
  if (!factor.child_matrix.defined()) return collected.flatten(2);
  Tensor side = collected;
  if (factor.mixture.defined()) side = UnmixChild(side, factor.mixture);
  if (factor.channel_weights.defined()) {
    side = (side * factor.channel_weights).sum(3, /*keepdim=*/true);
  }
  return FromSide(side, factor.child_matrix, factor.bf16);
}

Tensor HeadMessage(const Tensor& collected, const PreparedFactor& factor) {
  Tensor side = collected;
  if (factor.mixture.defined()) side = SplitHead(side, factor.tensors);
  return FromSide(side, factor.head_matrix, factor.bf16);
}

}  // namespace ckv
