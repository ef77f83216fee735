#include <algorithm>
#include <cmath>
#include <complex>

#include "base/error.h"
#include "conic/arithmetic.h"

namespace ckv::conic {
namespace {

using LongComplex = std::complex<long double>;

struct PointValue {
  LongComplex value;
  long double size = 0.0L;  // bounds the parts it came from
  bool defined = false;
};

bool IsFinitePoint(const LongComplex& value) {
  return std::isfinite(value.real()) && std::isfinite(value.imag());
}

long double LiteralValue(const Literal& literal) {
  if (literal.exact.has_value()) {
    return static_cast<long double>(literal.exact->num) /
           static_cast<long double>(literal.exact->den);
  }
  return std::strtold(literal.canonical.c_str(), nullptr);
}

PointValue PointAt(const TermPool& pool, TermId id);

PointValue PointPower(const TermPool& pool, TermId id) {
  const PointValue base = PointAt(pool, pool.Argument(id, 0));
  const PointValue exponent = PointAt(pool, pool.Argument(id, 1));
  if (!base.defined || !exponent.defined || exponent.value.imag() != 0.0L) return {};
  const long double power = exponent.value.real();
  const long double base_size = std::abs(base.value);
  if (base_size == 0.0L) {
    if (power == 0.0L) return {1.0L, 1.0L, true};
    return power > 0.0L ? PointValue{0.0L, std::pow(base.size, power), true} : PointValue{};
  }
  if (base_size < 1e-17L * base.size && power < 0.0L) return {};
  PointValue result;
  if (power == std::floor(power) && std::abs(power) <= 1000.0L) {
    LongComplex factor = base.value;
    result.value = 1.0L;
    for (auto left = static_cast<int>(std::abs(power)); left > 0; left /= 2) {
      if (left % 2 != 0) result.value *= factor;
      factor *= factor;
    }
    if (power < 0.0L) result.value = 1.0L / result.value;
  } else {
    LongComplex z = base.value;
    if (std::abs(z.imag()) <= 1e-17L * base.size) z = {z.real(), 0.0L};
    result.value = power == 0.5L ? std::sqrt(z) : std::exp(power * std::log(z));
  }
  result.defined = IsFinitePoint(result.value);
  result.size = std::abs(result.value) *
                std::max(1.0L, base.size / base_size * std::max(1.0L, std::abs(power)));
  return result;
}

PointValue PointAt(const TermPool& pool, TermId id) {
  const Term& term = pool[id];
  PointValue result;
  switch (term.kind) {
    case TermKind::kWhole:
    case TermKind::kDecimal:
    case TermKind::kRational:
      result.value = LiteralValue(pool.Number(id));
      break;
    case TermKind::kPi:
      result.value = 3.14159265358979323846264338327950288L;
      break;
    case TermKind::kPower:
      return PointPower(pool, id);
    case TermKind::kBuiltin: {
      const PointValue inner = PointAt(pool, pool.Argument(id, 0));
      return {std::abs(inner.value), inner.size, inner.defined && pool.Text(term.label) == "Abs"};
    }
    case TermKind::kSum:
    case TermKind::kProduct: {
      const bool sum = term.kind == TermKind::kSum;
      result.value = sum ? 0.0L : 1.0L;
      long double size = sum ? 0.0L : 1.0L;
      for (uint32_t i = 0; i < term.num_arguments; ++i) {
        const PointValue part = PointAt(pool, pool.Argument(id, i));
        if (!part.defined) return {};
        result.value = sum ? result.value + part.value : result.value * part.value;
        size = sum ? size + part.size : size * part.size;
      }
      return {result.value, size, IsFinitePoint(result.value) && std::isfinite(size)};
    }
    default:
      return {};
  }
  result.defined = IsFinitePoint(result.value);
  result.size = std::abs(result.value);
  return result;
}

class PointArithmetic : public Arithmetic {
 public:
  Verdict IsZero(const TermPool& pool, TermId id) override {
    const PointValue value = PointAt(pool, id);
    if (!value.defined) return Verdict::kUnknown;
    return std::abs(value.value) <= kTolerance * value.size ? Verdict::kYes : Verdict::kNo;
  }

  std::optional<int> Sign(const TermPool& pool, TermId id) override {
    const PointValue value = PointAt(pool, id);
    const long double limit = kTolerance * value.size;
    if (!value.defined || std::abs(value.value.imag()) > limit) return std::nullopt;
    if (std::abs(value.value.real()) <= limit) return std::nullopt;
    return value.value.real() > 0.0L ? 1 : -1;
  }

  bool is_exact() const override { return false; }

 private:
  // Some hundred roundings of 64 bits.
  static constexpr long double kTolerance = 1e-16L;
};

}  // namespace

std::unique_ptr<Arithmetic> MakePointArithmetic() { return std::make_unique<PointArithmetic>(); }

std::optional<Rational> RationalValue(const TermPool& pool, TermId id) {
  const Term& term = pool[id];
  if (pool.IsNumber(id)) return pool.Number(id).exact;
  if (term.kind == TermKind::kPower) {
    const std::optional<Rational> base = RationalValue(pool, pool.Argument(id, 0));
    const std::optional<Rational> exponent = RationalValue(pool, pool.Argument(id, 1));
    if (!base || !exponent) return std::nullopt;
    return Power(*base, *exponent);
  }
  if (term.kind != TermKind::kSum && term.kind != TermKind::kProduct) return std::nullopt;
  const bool sum = term.kind == TermKind::kSum;
  std::optional<Rational> result = Rational{sum ? 0 : 1, 1};
  for (uint32_t i = 0; i < term.num_arguments && result; ++i) {
    const std::optional<Rational> next = RationalValue(pool, pool.Argument(id, i));
    if (!next) return std::nullopt;
    result = sum ? Add(*result, *next) : Multiply(*result, *next);
  }
  return result;
}

#if !defined(CKV_HAVE_FLINT)
bool HasExactArithmetic() { return false; }

std::unique_ptr<Arithmetic> MakeExactArithmetic() {
  throw ConfigError("--arithmetic exact",
                    "this build has no FLINT (libflint-dev, on Debian 12 also libflint-arb-dev); "
                    "'--arithmetic points' goes without");
}
#endif

}  // namespace ckv::conic
