#include <algorithm>
#include <cmath>
#include <string>

#include "conic/arithmetic.h"
#include "conic/compare.h"

namespace ckv::conic {
namespace {

using Complex = std::complex<double>;

uint64_t Scramble(uint64_t value) {
  value += 0x9e3779b97f4a7c15ull;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
  return value ^ (value >> 31);
}

double UnitInterval(uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1p-53; }

// A fixed value for a symbol: sizes 0.5 to 2, all around the origin, so that principal roots of
// different forms come apart.
Complex PointOf(uint64_t seed) {
  const double size = 0.5 + 1.5 * UnitInterval(Scramble(seed));
  const double angle = (2.0 * UnitInterval(Scramble(seed ^ 0x5bd1e995u)) - 1.0) * 3.14159;
  return std::polar(size, angle);
}

bool IsFinite(const Complex& value) {
  return std::isfinite(value.real()) && std::isfinite(value.imag());
}

Complex WholePower(Complex base, int64_t exponent) {
  Complex result = 1.0;
  const bool inverse = exponent < 0;
  for (uint64_t left = static_cast<uint64_t>(std::abs(exponent)); left > 0; left /= 2) {
    if (left % 2 != 0) result *= base;
    if (left > 1) base *= base;
  }
  return inverse ? 1.0 / result : result;
}

// A negative real number must lie on the upper side of the cut of the logarithm.
Complex OnCut(Complex value) { return value.imag() == 0.0 ? Complex(value.real(), 0.0) : value; }

}  // namespace

bool Comparer::Near(const std::complex<double>& a, const std::complex<double>& b, double size) {
  const double scale = std::max(std::abs(a), std::abs(b));
  return std::abs(a - b) <= 1e-10 * scale + 1e-13 * size;
}

int Comparer::InfinitySign(TermId id) {
  const Term term = pool_[id];
  if (term.kind == TermKind::kInfinity) return 1;
  if (term.kind == TermKind::kNegativeInfinity) return -1;
  if (term.kind != TermKind::kProduct || term.has_symbol || !term.plain) return 0;
  int sign = 1;
  bool infinite = false;
  for (uint32_t i = 0; i < term.num_arguments; ++i) {
    const TermId factor = pool_.Argument(id, i);
    const int inner = InfinitySign(factor);
    if (inner != 0) {
      infinite = true;
      sign *= inner;
      continue;
    }
    const Value value = At(factor, 0);
    if (!value.defined || value.value.imag() != 0.0 || value.value.real() == 0.0) return 0;
    if (value.value.real() < 0.0) sign = -sign;
  }
  return infinite ? sign : 0;
}

bool Comparer::SameValue(TermId a, TermId b) {
  const bool constant = !pool_[a].has_symbol && !pool_[b].has_symbol;
  if (constant) {
    if (pool_.IsNumber(a) && pool_.IsNumber(b) && pool_[a].kind != TermKind::kRational &&
        pool_[b].kind != TermKind::kRational) {
      return pool_[a].label == pool_[b].label;
    }
    const std::optional<Rational> left = RationalValue(pool_, a);
    const std::optional<Rational> right = left ? RationalValue(pool_, b) : std::nullopt;
    if (left && right) return *left == *right;
  }
  for (int point = 0; point < (constant ? 1 : kNumPoints); ++point) {
    const Value left = At(a, point);
    const Value right = At(b, point);
    if (!left.defined || !right.defined) {
      return optimistic_ && pool_[a].plain && pool_[b].plain;
    }
    if (!Near(left.value, right.value, std::max(left.size, right.size))) return false;
  }
  return true;
}

Comparer::Value Comparer::At(TermId id, int point) {
  if (pool_[id].has_alignable) return Compute(id, point);
  const size_t place = size_t{id} * kNumPoints + static_cast<size_t>(point);
  if (place >= known_.size()) {
    known_.resize((pool_.size() + 16) * kNumPoints);
    is_known_.resize(known_.size(), false);
  }
  if (!is_known_[place]) {
    const Value value = Compute(id, point);
    known_[place] = value;
    is_known_[place] = true;
  }
  return known_[place];
}

Comparer::Value Comparer::Compute(TermId id, int point) {
  if (++work_ > kMaxWork) return {};
  const Term term = pool_[id];
  Value result;
  switch (term.kind) {
    case TermKind::kWhole:
    case TermKind::kDecimal:
    case TermKind::kRational:
      result.value = pool_.Number(id).value;
      break;
    case TermKind::kPi:
      result.value = 3.14159265358979323846;
      break;
    case TermKind::kEuler:
      result.value = 2.71828182845904523536;
      break;
    case TermKind::kImaginary:
      result.value = Complex(0.0, 1.0);
      break;
    case TermKind::kSymbol:
      result.value = PointOf(uint64_t{Image(id)} * kNumPoints + static_cast<uint64_t>(point));
      break;
    case TermKind::kPower:
      return ComputePower(id, point);
    case TermKind::kBuiltin:
      return ComputeBuiltin(id, point);
    case TermKind::kSum:
    case TermKind::kProduct: {
      const bool sum = term.kind == TermKind::kSum;
      Complex total = sum ? 0.0 : 1.0;
      double size = sum ? 0.0 : 1.0;
      for (uint32_t i = 0; i < term.num_arguments; ++i) {
        const Value part = At(pool_.Argument(id, i), point);
        if (!part.defined) return {};
        total = sum ? total + part.value : total * part.value;
        size = sum ? size + part.size : size * part.size;
      }
      if (!IsFinite(total)) return {};
      return {total, std::max(size, std::abs(total)), true};
    }
    default:
      return {};
  }
  result.defined = IsFinite(result.value);
  result.size = std::abs(result.value);
  return result;
}

Comparer::Value Comparer::ComputePower(TermId id, int point) {
  const Value base = At(pool_.Argument(id, 0), point);
  const Value exponent = At(pool_.Argument(id, 1), point);
  if (!base.defined || !exponent.defined) return {};
  const double whole = std::nearbyint(exponent.value.real());
  const bool is_whole =
      exponent.value.imag() == 0.0 && exponent.value.real() == whole && std::abs(whole) <= 1000.0;
  const double base_size = std::abs(base.value);
  if (base_size == 0.0) {
    if (is_whole && whole == 0.0) return {1.0, 1.0, true};
    if (!(exponent.value.real() > 0.0)) return {};
    return {0.0, std::pow(base.size, exponent.value.real()), true};
  }
  // A difference that is nothing but rounding is a zero, and has no negative power.
  if (base_size < 1e-14 * base.size && exponent.value.real() < 0.0) return {};
  Value result;
  result.value = is_whole ? WholePower(base.value, static_cast<int64_t>(whole))
                          : std::exp(exponent.value * std::log(OnCut(base.value)));
  result.defined = IsFinite(result.value);
  const double growth = base.size / base_size * std::max(1.0, std::abs(exponent.value));
  result.size = std::abs(result.value) * std::max(1.0, growth);
  return result;
}

Comparer::Value Comparer::ComputeBuiltin(TermId id, int point) {
  const Value argument = At(pool_.Argument(id, 0), point);
  if (!argument.defined) return {};
  const Complex z = OnCut(argument.value);
  const std::string& name = pool_.Text(pool_[id].label);
  Complex value;
  if (name == "Abs") {
    value = std::abs(z);
  } else if (name == "log") {
    if (z == 0.0) return {};
    value = std::log(z);
    if (pool_[id].num_arguments == 2) {
      const Value base = At(pool_.Argument(id, 1), point);
      if (!base.defined || base.value == 0.0 || base.value == 1.0) return {};
      value /= std::log(OnCut(base.value));
    }
  } else if (name == "exp") {
    value = std::exp(z);
  } else if (name == "sin") {
    value = std::sin(z);
  } else if (name == "cos") {
    value = std::cos(z);
  } else if (name == "tan") {
    value = std::tan(z);
  } else if (name == "asin") {
    value = std::asin(z);
  } else if (name == "acos") {
    value = std::acos(z);
  } else if (name == "atan") {
    value = std::atan(z);
  } else if (name == "sinh") {
    value = std::sinh(z);
  } else if (name == "cosh") {
    value = std::cosh(z);
  } else if (name == "tanh") {
    value = std::tanh(z);
  } else {
    return {};
  }
  return {value, std::max(std::abs(value), argument.size), IsFinite(value)};
}

}  // namespace ckv::conic
