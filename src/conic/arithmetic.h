// Values of constant terms: numbers, pi, sums, products, powers with rational exponents, Abs.
//
// Two ways. Exact: balls of growing precision around the value, until they exclude zero or are
// smaller than the least size that a nonzero value of the term can have (the separation bound of
// Burnikel, Funke, Mehlhorn, Schirra and Schmitt, ESA 2001). Points: long doubles and a tolerance,
// a second opinion and what builds without the library of balls have.
#pragma once

#include <memory>
#include <optional>

#include "conic/term.h"

namespace ckv::conic {

enum class Verdict { kNo, kYes, kUnknown };

class Arithmetic {
 public:
  virtual ~Arithmetic() = default;

  // Whether the value of a term without symbols and without pi is zero. kUnknown if it has no
  // value, or if the limits do not allow to tell.
  virtual Verdict IsZero(const TermPool& pool, TermId id) = 0;

  // The sign of a real value; nothing if it is zero, is not real or cannot be told.
  virtual std::optional<int> Sign(const TermPool& pool, TermId id) = 0;

  // Whether IsZero may tell kYes of a nonzero value.
  virtual bool is_exact() const = 0;
};

// True if this build has the exact arithmetic (FLINT with Arb).
bool HasExactArithmetic();

// Throws ConfigError if this build does not have it.
std::unique_ptr<Arithmetic> MakeExactArithmetic();
std::unique_ptr<Arithmetic> MakePointArithmetic();

// The rational value of a term of numbers, sums, products and whole powers, if 64 bits suffice.
std::optional<Rational> RationalValue(const TermPool& pool, TermId id);

}  // namespace ckv::conic
