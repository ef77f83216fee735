// When two terms count as the same.
//
// Terms are compared by structure, with arguments of order-free operators in any order; parts
// without operators by value, at fixed points. Names of a side are exchanged by images first, so
// that one comparison serves every alignment of names.
#pragma once

#include <complex>
#include <cstdint>
#include <utility>
#include <vector>

#include "conic/parser.h"
#include "conic/term.h"

namespace ckv::conic {

class Comparer {
 public:
  // Terms visited in all comparisons; beyond it everything is unequal and exhausted() is true.
  static constexpr int64_t kMaxWork = 5'000'000;

  Comparer(TermPool* pool, Mode mode) : pool_(*pool), strict_(mode == Mode::kStrict) {}

  // From here on `symbol` is compared as if it were `image` (itself to undo).
  void SetImage(TermId symbol, TermId image);

  // While set, parts without operators that have no value where names coincide count as equal: an
  // upper bound over all alignments.
  void SetOptimistic(bool optimistic) { optimistic_ = optimistic; }

  // Both terms of the pool. Requires that symbols with images are of one side.
  bool Same(TermId a, TermId b);

  int64_t work() const { return work_; }
  bool exhausted() const { return work_ > kMaxWork; }

 private:
  static constexpr int kNumPoints = 5;

  // A value at a point; `size` bounds the parts that it came from.
  struct Value {
    std::complex<double> value;
    double size = 0.0;
    bool defined = false;
  };

  // Equal but for rounding, in values whose parts are of this size.
  static bool Near(const std::complex<double>& a, const std::complex<double>& b, double size);
  TermId Image(TermId symbol) const {
    return symbol < images_.size() && images_[symbol] != kNoTerm ? images_[symbol] : symbol;
  }
  bool Alike(TermId a, TermId b);
  bool SameArguments(TermId a, TermId b);
  bool MatchInAnyOrder(TermId a, TermId b);
  bool SameAbs(TermId a, TermId b);
  bool SameEquation(TermId a, TermId b);
  bool SameTurnedChain(TermId a, TermId b);
  TermId WithoutCalls(TermId id, std::vector<std::pair<TermId, TermId>>* calls);
  bool SameFlipped(TermId a, TermId b);
  bool SameValue(TermId a, TermId b);
  // +1 or -1 for oo and -oo times numbers, else 0.
  int InfinitySign(TermId id);
  Value At(TermId id, int point);
  Value Compute(TermId id, int point);
  Value ComputePower(TermId id, int point);
  Value ComputeBuiltin(TermId id, int point);

  TermPool& pool_;
  bool strict_;
  bool optimistic_ = false;
  std::vector<TermId> images_;
  std::vector<Value> known_;  // of terms without names of a side, kNumPoints each
  std::vector<bool> is_known_;
  int64_t work_ = 0;
};

}  // namespace ckv::conic
