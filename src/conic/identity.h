// Identities between terms with symbols, by values at random rational points of both signs.
//
// Two different algebraic functions agree at a random point with a chance of about one in a
// million, and at several points never. pi is transcendental, so an identity must hold for numbers
// near it.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "conic/arithmetic.h"
#include "conic/term.h"

namespace ckv::conic {

class Identities {
 public:
  Identities(TermPool* pool, Arithmetic* arithmetic) : pool_(*pool), arithmetic_(*arithmetic) {}

  // Whether the term is zero for all values of its symbols. False if that cannot be told.
  bool IsZero(TermId id);

  // Whether f = c * g with a nonzero c that is free of `moving`; every other symbol is a parameter.
  bool AreProportional(TermId f, TermId g, const std::vector<TermId>& moving);

  // The sign of f / g if that is one number for all values of the symbols; else 0.
  int SignOfRatio(TermId f, TermId g);

  // Of a term without symbols; nothing if it is zero or cannot be told.
  std::optional<int> Sign(TermId id) { return arithmetic_.Sign(pool_, id); }

  TermId Minus(TermId a, TermId b);
  TermId Times(TermId a, TermId b);
  std::vector<TermId> SymbolsOf(TermId id) const;
  TermId Substitute(TermId id, const std::unordered_map<TermId, TermId>& images);

 private:
  using Point = std::unordered_map<TermId, TermId>;

  TermId RandomNumber(int sign);
  TermId NearPi();
  // Values for the symbols; `round` chooses the signs.
  Point PointFor(const std::vector<TermId>& symbols, int round);
  Verdict IsZeroAt(TermId id, const Point& point);
  uint64_t NextRandom();

  static constexpr int kRounds = 5;
  static constexpr int kMaxTries = 12;

  TermPool& pool_;
  Arithmetic& arithmetic_;
  uint64_t state_ = 0x2545f4914f6cdd1dull;
};

}  // namespace ckv::conic
