#include "conic/number.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <numeric>

namespace ckv::conic {
namespace {

std::optional<int64_t> CheckedMultiply(int64_t a, int64_t b) {
  int64_t result = 0;
  if (__builtin_mul_overflow(a, b, &result)) return std::nullopt;
  return result;
}

// The whole number of a canonical literal, or its denominator where the power of ten is negative.
std::optional<Rational> ExactOf(const std::string& digits, int64_t exponent) {
  if (digits.size() > 18 || exponent > 18 || exponent < -18) return std::nullopt;
  int64_t scale = 1;
  for (int64_t i = 0; i < std::abs(exponent); ++i) scale *= 10;
  const int64_t whole = std::strtoll(digits.c_str(), nullptr, 10);
  if (exponent < 0) return MakeRational(whole, scale);
  const std::optional<int64_t> product = CheckedMultiply(whole, scale);
  if (!product.has_value()) return std::nullopt;
  return Rational{*product, 1};
}

}  // namespace

std::optional<Rational> MakeRational(int64_t num, int64_t den) {
  constexpr int64_t kLowest = std::numeric_limits<int64_t>::min();
  if (den == 0 || num == kLowest || den == kLowest) return std::nullopt;
  if (den < 0) {
    num = -num;
    den = -den;
  }
  const int64_t divisor = std::gcd(num, den);
  return Rational{num / divisor, den / divisor};
}

std::optional<Rational> Add(const Rational& a, const Rational& b) {
  const int64_t divisor = std::gcd(a.den, b.den);
  const std::optional<int64_t> left = CheckedMultiply(a.num, b.den / divisor);
  const std::optional<int64_t> right = CheckedMultiply(b.num, a.den / divisor);
  const std::optional<int64_t> den = CheckedMultiply(a.den / divisor, b.den);
  int64_t sum = 0;
  if (!left || !right || !den || __builtin_add_overflow(*left, *right, &sum)) return std::nullopt;
  return MakeRational(sum, *den);
}

std::optional<Rational> Multiply(const Rational& a, const Rational& b) {
  const int64_t first = std::gcd(a.num, b.den);
  const int64_t second = std::gcd(b.num, a.den);
  if (first == 0 || second == 0) return Rational{0, 1};
  const std::optional<int64_t> num = CheckedMultiply(a.num / first, b.num / second);
  const std::optional<int64_t> den = CheckedMultiply(a.den / second, b.den / first);
  if (!num || !den) return std::nullopt;
  return MakeRational(*num, *den);
}

std::optional<Rational> Power(const Rational& base, const Rational& exponent) {
  if (exponent.den != 1 || std::abs(exponent.num) > 1000) return std::nullopt;
  std::optional<Rational> square = base;
  if (exponent.num < 0) square = MakeRational(base.den, base.num);
  std::optional<Rational> result = Rational{1, 1};
  for (int64_t left = std::abs(exponent.num); left > 0 && result; left /= 2) {
    if (!square) return std::nullopt;
    if (left % 2 != 0) result = Multiply(*result, *square);
    if (left > 1) square = Multiply(*square, *square);
  }
  return result;
}

double ToDouble(const Rational& value) {
  return static_cast<double>(value.num) / static_cast<double>(value.den);
}

Literal ReadLiteral(std::string_view text) {
  Literal literal;
  std::string digits;
  int64_t exponent = 0;
  size_t at = 0;
  bool behind_point = false;
  for (; at < text.size() && text[at] != 'e' && text[at] != 'E'; ++at) {
    if (text[at] == '.') {
      behind_point = literal.is_decimal = true;
      continue;
    }
    digits += text[at];
    if (behind_point) --exponent;
  }
  if (at < text.size()) {
    literal.is_decimal = true;
    const std::string power(text.substr(at + 1, 12));
    exponent += std::strtoll(power.c_str(), nullptr, 10);
  }
  literal.value = std::strtod(std::string(text).c_str(), nullptr);
  const size_t first = digits.find_first_not_of('0');
  if (first == std::string::npos) {
    literal.canonical = "0";
    literal.exact = Rational{0, 1};
    return literal;
  }
  const size_t last = digits.find_last_not_of('0');
  exponent += static_cast<int64_t>(digits.size() - 1 - last);
  digits = digits.substr(first, last - first + 1);
  literal.canonical = digits + "e" + std::to_string(exponent);
  literal.exact = ExactOf(digits, exponent);
  return literal;
}

Literal WholeLiteral(int64_t value) {
  const Literal size = ReadLiteral(std::to_string(std::abs(value)));
  return value < 0 ? Negated(size) : size;
}

Literal Negated(Literal literal) {
  if (literal.canonical == "0") return literal;
  literal.canonical =
      literal.canonical[0] == '-' ? literal.canonical.substr(1) : "-" + literal.canonical;
  literal.value = -literal.value;
  if (literal.exact.has_value()) literal.exact->num = -literal.exact->num;
  return literal;
}

std::string ShortestDouble(double value) {
  char text[40];
  int precision = 1;
  do {
    std::snprintf(text, sizeof text, "%.*e", precision - 1, value);
  } while (std::strtod(text, nullptr) != value && ++precision <= 17);
  const int exponent = std::atoi(std::string(text).substr(std::string(text).find('e') + 1).c_str());
  if (exponent < -4 || exponent >= 16) {
    std::snprintf(text, sizeof text, "%.*g", precision, value);
    return text;
  }
  std::snprintf(text, sizeof text, "%.*f", std::max(1, precision - 1 - exponent), value);
  return text;
}

}  // namespace ckv::conic
