// Exact small numbers, and the literals of the formal language.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ckv::conic {

// num / den in lowest terms, den > 0. The functions give nothing where 64 bits do not suffice or
// where there is no value.
struct Rational {
  int64_t num = 0;
  int64_t den = 1;

  friend bool operator==(const Rational& a, const Rational& b) {
    return a.num == b.num && a.den == b.den;
  }
};

std::optional<Rational> MakeRational(int64_t num, int64_t den);
std::optional<Rational> Add(const Rational& a, const Rational& b);
std::optional<Rational> Multiply(const Rational& a, const Rational& b);
// `base` to a whole power of at most 1000 in size.
std::optional<Rational> Power(const Rational& base, const Rational& exponent);
double ToDouble(const Rational& value);

// A number literal as written: 12, 1.5, .5, 3., 1e3.
struct Literal {
  bool is_decimal = false;  // has a point or an exponent
  // The value, equal for equal values: "-" if negative, digits without zeros at either end, "e" and
  // the power of ten; "0" for zero.
  std::string canonical;
  std::optional<Rational> exact;
  double value = 0.0;
};

// Requires the spelling of a number token (digits, at most one point, an exponent).
Literal ReadLiteral(std::string_view text);
Literal WholeLiteral(int64_t value);
Literal Negated(Literal literal);

// The shortest decimal form that reads back as `value`, with a point: 0.5, 64.0, 1e+16.
std::string ShortestDouble(double value);

}  // namespace ckv::conic
