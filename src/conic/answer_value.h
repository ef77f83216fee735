// What an answer stands for: a number, a point, a set of reals, an equation, conditions, a set.
#pragma once

#include <cstdint>
#include <vector>

#include "conic/identity.h"
#include "conic/term.h"

namespace ckv::conic {

// An interval. Ends are terms, oo and -oo among them.
struct Interval {
  TermId low = kNoTerm;
  TermId high = kNoTerm;
  bool low_closed = false;
  bool high_closed = false;
};

struct AnswerValue {
  enum class Kind : uint8_t {
    kScalar,
    kTuple,       // items
    kList,        // items: "a, b" without brackets
    kReals,       // the union of `intervals` without the points `removed`
    kEquation,    // left = right
    kLess,        // left < right, or <= if `closed`
    kNegation,    // items: one
    kConditions,  // items, all of which hold
    kSet,         // items
    kOpaque,      // compares by its term alone
  };
  Kind kind = Kind::kScalar;
  TermId term = kNoTerm;  // of a scalar or opaque value
  TermId left = kNoTerm;
  TermId right = kNoTerm;
  bool closed = false;
  std::vector<AnswerValue> items;
  std::vector<Interval> intervals;
  std::vector<TermId> removed;
  TermId name = kNoTerm;  // the v of `v = value`, where the value is no number
};

// The value of a term that ReadAnswer gave. "pm" becomes the set of both signs.
AnswerValue ValueOf(TermId id, TermPool* pool, Identities* identities);

bool IsCoordinate(const TermPool& pool, TermId id);  // the symbol x or y

}  // namespace ckv::conic
