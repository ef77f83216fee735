#include "convert/kv_projection.h"

#include <algorithm>
#include <tuple>

#include <torch/torch.h>

#include "base/error.h"

namespace ckv {
namespace {

constexpr int kTrialRounds = 10;
constexpr int kMaxRounds = 100;
constexpr double kConverged = 1e-10;  // relative gain of a round
constexpr int64_t kMaxReaderStarts = 4;

// [n, G, D, C (+ 1)] fp64 of n projections, a bias as the last column.
Tensor StackHeads(const std::vector<KvProjection>& readers, int64_t head_dim) {
  std::vector<Tensor> all;
  for (const KvProjection& reader : readers) {
    Tensor matrix = reader.weight.to(at::kDouble);
    if (reader.bias.defined()) {
      matrix = at::cat({matrix, reader.bias.to(at::kDouble).unsqueeze(1)}, 1);
    }
    all.push_back(matrix.view({-1, head_dim, matrix.size(1)}));
  }
  return at::stack(all);
}

KvProjection SplitBias(const Tensor& heads, const KvProjection& like) {
  const Tensor matrix = heads.reshape({like.weight.size(0), -1});
  KvProjection result;
  result.weight = matrix.narrow(1, 0, like.weight.size(1)).contiguous();
  if (like.bias.defined()) result.bias = matrix.select(1, like.weight.size(1)).contiguous();
  return result;
}

// A group of turns that acts on heads. All tensors are batches of heads in the form that the group
// works on: keys as complex rows, one a plane; values as matrices.
class Turns {
 public:
  Turns(KvKind kind, int64_t head_dim) : keys_(kind == KvKind::kKeys), half_(head_dim / 2) {}

  // [..., D, C] -> keys [..., D / 2, 1, C] complex, values [..., D, C].
  Tensor FromHeads(const Tensor& heads) const {
    if (!keys_) return heads;
    return at::complex(heads.narrow(-2, 0, half_), heads.narrow(-2, half_, half_)).unsqueeze(-2);
  }
  Tensor ToHeads(const Tensor& form) const {
    if (!keys_) return form;
    const Tensor rows = form.squeeze(-2);
    return at::cat({at::real(rows), at::imag(rows)}, -2);
  }

  // The turned `from` that is closest to `to`, for each matrix of the batch: Q = U V^H of the SVD
  // U S V^H of to from^H. For keys that is a single number of absolute value 1.
  Tensor Closest(const Tensor& from, const Tensor& to) const {
    const Tensor product = at::matmul(to, from.conj().transpose(-2, -1));
    if (keys_) {
      const Tensor length = product.abs();
      const Tensor unit = at::where(length > 0, product / length, at::ones_like(product));
      return unit * from;
    }
    const auto [u, s, vh] = at::linalg_svd(product, /*full_matrices=*/false);
    return at::matmul(at::matmul(u, vh), from);
  }

  // Where alternating starts: the rows that all readers, stacked, have most of. That is S V^H of
  // the truncated SVD, taken from the eigenvectors of the smaller product. [n, ..., R, C] -> [...,
  // R, C]
  Tensor Leading(const Tensor& readers) const {
    const int64_t rows = readers.size(-2);
    const Tensor stacked = readers.movedim(0, -3).flatten(-3, -2);  // [..., n R, C]
    const Tensor gram = at::matmul(stacked, stacked.conj().transpose(-2, -1));
    const Tensor vectors = std::get<1>(at::linalg_eigh(gram));  // the largest come last
    const Tensor top = vectors.narrow(-1, stacked.size(-2) - rows, rows);
    return at::matmul(top.conj().transpose(-2, -1), stacked);
  }

 private:
  bool keys_;
  int64_t half_;
};

double SquaredSize(const Tensor& form) { return form.abs().square().sum().item<double>(); }

// Alternates between turning every reader to the mean and taking the mean, which lowers
// sum_i |Q_i W_i - W|^2 in each half, until that stands still.
Tensor AlternateToFit(const Turns& turns, const Tensor& readers, Tensor mean, int max_rounds) {
  double before = 0.0;
  for (int round = 0; round < max_rounds; ++round) {
    mean = turns.Closest(readers, mean.unsqueeze(0)).mean(0);
    // The sum of squares is that of the readers, which is fixed, less n times that of the mean.
    const double size = SquaredSize(mean);
    if (round > 0 && size - before <= kConverged * size) break;
    before = size;
  }
  return mean;
}

// One head: [n, D, C] of the readers -> [D, C].
Tensor FitHead(const Turns& turns, const Tensor& readers) {
  // Turns act on rows, so the work can be done in an orthonormal basis of what the rows span, which
  // is much narrower than the model for few readers.
  const auto [basis, factor] = at::linalg_qr(readers.flatten(0, 1).t());  // [C, K], [K, n D]
  const Tensor all = turns.FromHeads(factor.t().reshape({readers.size(0), readers.size(1), -1}));
  Tensor best = AlternateToFit(turns, all, turns.Leading(all), kTrialRounds);
  // Other starts guard against a poor local optimum.
  const int64_t starts = std::min(all.size(0), kMaxReaderStarts);
  for (int64_t start = 0; start < starts; ++start) {
    const Tensor other = AlternateToFit(turns, all, all.select(0, start), kTrialRounds);
    if (SquaredSize(other) > SquaredSize(best)) best = other;
  }
  best = AlternateToFit(turns, all, best, kMaxRounds);
  return turns.ToHeads(turns.Closest(best, all.mean(0))).mm(basis.t());
}

}  // namespace

KvProjection AverageProjection(const std::vector<KvProjection>& readers) {
  CKV_CHECK(!readers.empty(), "nothing to average");
  const auto mean = [&](Tensor KvProjection::*part) {
    std::vector<Tensor> all;
    const bool doubles = (readers.front().*part).scalar_type() == at::kDouble;
    const at::ScalarType work = doubles ? at::kDouble : at::kFloat;
    for (const KvProjection& reader : readers) all.push_back((reader.*part).to(work));
    return at::stack(all).mean(0);
  };
  KvProjection result;
  result.weight = mean(&KvProjection::weight);
  if (readers.front().bias.defined()) result.bias = mean(&KvProjection::bias);
  return result;
}

KvProjection AlignedProjection(const std::vector<KvProjection>& readers, KvKind kind,
                               int64_t head_dim) {
  CKV_CHECK(!readers.empty(), "nothing to fit");
  const Turns turns(kind, head_dim);
  const Tensor heads = StackHeads(readers, head_dim);
  std::vector<Tensor> fits;
  for (int64_t head = 0; head < heads.size(1); ++head) {
    fits.push_back(FitHead(turns, heads.select(1, head)));
  }
  return SplitBias(at::stack(fits), readers.front());
}

double AlignedDistance(const std::vector<KvProjection>& readers, const KvProjection& shared,
                       KvKind kind, int64_t head_dim) {
  const Turns turns(kind, head_dim);
  const Tensor all = turns.FromHeads(StackHeads(readers, head_dim));
  const Tensor fit = turns.FromHeads(StackHeads({shared}, head_dim));
  return SquaredSize(turns.Closest(all, fit) - fit);
}

}  // namespace ckv
