#if defined(CKV_HAVE_FLINT)

#include <algorithm>
#include <cmath>
#include <string>
#include <unordered_map>

#if defined(CKV_FLINT_WITH_ARB)
#include <flint/acb.h>
#include <flint/arb.h>
#include <flint/fmpz.h>
#else
#include <acb.h>
#include <arb.h>
#include <flint/fmpz.h>
#endif

#include "conic/arithmetic.h"

namespace ckv::conic {
namespace {

// Bits beyond which a value is given up as undecided.
constexpr double kMaxBits = 40'000.0;
constexpr int64_t kMaxVisits = 50'000;
constexpr int64_t kMaxExponent = 1000;
constexpr int64_t kMaxTenPower = 3000;

// A complex ball.
class Ball {
 public:
  Ball() { acb_init(value_); }
  ~Ball() { acb_clear(value_); }
  Ball(const Ball& other) {
    acb_init(value_);
    acb_set(value_, other.value_);
  }
  Ball& operator=(const Ball& other) {
    acb_set(value_, other.value_);
    return *this;
  }
  acb_ptr get() { return value_; }
  acb_srcptr get() const { return value_; }

 private:
  acb_t value_;
};

// Bounds, as binary logarithms, of the numerator and the denominator of the separation bound, and
// the degree of the radicals within.
struct Bounds {
  double upper = 0.0;
  double lower = 0.0;
};

double LogOfSum(double a, double b) {
  const double larger = std::max(a, b);
  return larger + std::log2(1.0 + std::exp2(std::min(a, b) - larger)) + 1e-9;
}

// Digits and power of ten of a canonical literal.
struct DecimalParts {
  std::string digits;
  int64_t exponent = 0;
};
DecimalParts PartsOf(const std::string& canonical) {
  const size_t e = canonical.find('e');
  if (e == std::string::npos) return {canonical, 0};
  return {canonical.substr(0, e), std::stoll(canonical.substr(e + 1))};
}

// The exponent p/q of a power, with q up to 64 and p up to kMaxExponent.
std::optional<Rational> ExponentOf(const TermPool& pool, TermId power) {
  const std::optional<Rational> exponent = RationalValue(pool, pool.Argument(power, 1));
  if (!exponent || exponent->den > 64 || std::abs(exponent->num) > kMaxExponent) {
    return std::nullopt;
  }
  return exponent;
}

class ExactArithmetic : public Arithmetic {
 public:
  Verdict IsZero(const TermPool& pool, TermId id) override {
    const std::optional<Rational> rational = RationalValue(pool, id);
    if (rational.has_value()) return rational->num == 0 ? Verdict::kYes : Verdict::kNo;
    Begin();
    Bounds bounds;
    if (!BoundsOf(pool, id, &bounds)) return Verdict::kUnknown;
    double degree = 1.0;
    for (const auto& [power, root] : radicals_) degree *= root;
    // A nonzero value is at least 2^-needed in size.
    const double needed = (degree - 1.0) * bounds.upper + bounds.lower + 2.0;
    for (double bits = 128.0;; bits *= 2.0) {
      const bool last = bits >= kMaxBits;
      Ball value;
      if (!Evaluate(pool, id, static_cast<slong>(std::min(bits, kMaxBits)), &value)) {
        return Verdict::kUnknown;
      }
      if (acb_is_finite(value.get()) == 0) {
        // A division by what may be zero: whether it is, the caller may ask for its parts.
        if (last) return Verdict::kUnknown;
        continue;
      }
      if (acb_contains_zero(value.get()) == 0) return Verdict::kNo;
      if (IsBelow(value, needed)) return Verdict::kYes;
      if (last) return Verdict::kUnknown;
    }
  }

  std::optional<int> Sign(const TermPool& pool, TermId id) override {
    for (slong bits = 128; bits <= 4096; bits *= 2) {
      Ball value;
      Begin();
      if (!Evaluate(pool, id, bits, &value)) return std::nullopt;
      if (arb_contains_zero(acb_imagref(value.get())) == 0) return std::nullopt;
      if (arb_is_positive(acb_realref(value.get())) != 0) return 1;
      if (arb_is_negative(acb_realref(value.get())) != 0) return -1;
    }
    return std::nullopt;
  }

  bool is_exact() const override { return true; }

 private:
  void Begin() {
    visits_ = 0;
    radicals_.clear();
  }

  // Whether all of the ball is smaller than 2^-bits.
  static bool IsBelow(const Ball& value, double bits) {
    mag_t size;
    mag_init(size);
    acb_get_mag(size, value.get());
    const bool below = mag_cmp_2exp_si(size, static_cast<slong>(-std::ceil(bits))) < 0;
    mag_clear(size);
    return below;
  }

  bool BoundsOf(const TermPool& pool, TermId id, Bounds* bounds) {
    if (++visits_ > kMaxVisits) return false;
    const Term& term = pool[id];
    switch (term.kind) {
      case TermKind::kWhole:
      case TermKind::kDecimal: {
        const DecimalParts parts = PartsOf(pool.Number(id).canonical);
        const double digits = static_cast<double>(parts.digits.size());
        const auto ten = static_cast<double>(std::abs(parts.exponent));
        *bounds = {3.3220 * digits + (parts.exponent > 0 ? 3.3220 * ten : 0.0),
                   parts.exponent < 0 ? 3.3220 * ten : 0.0};
        return std::abs(parts.exponent) <= kMaxTenPower;
      }
      case TermKind::kRational: {
        const Rational value = *pool.Number(id).exact;
        *bounds = {std::log2(std::abs(static_cast<double>(value.num)) + 1.0),
                   std::log2(static_cast<double>(value.den)) + 1e-9};
        return true;
      }
      case TermKind::kSum:
      case TermKind::kProduct:
        return BoundsOfParts(pool, id, bounds);
      case TermKind::kPower:
        return BoundsOfPower(pool, id, bounds);
      case TermKind::kBuiltin:  // Abs of a real number is the number or its negative
        return pool.Text(term.label) == "Abs" && BoundsOf(pool, pool.Argument(id, 0), bounds);
      default:
        return false;
    }
  }

  bool BoundsOfParts(const TermPool& pool, TermId id, Bounds* bounds) {
    const Term& term = pool[id];
    for (uint32_t i = 0; i < term.num_arguments; ++i) {
      Bounds part;
      if (!BoundsOf(pool, pool.Argument(id, i), &part)) return false;
      if (i == 0) {
        *bounds = part;
      } else if (term.kind == TermKind::kProduct) {
        *bounds = {bounds->upper + part.upper, bounds->lower + part.lower};
      } else {
        *bounds = {LogOfSum(bounds->upper + part.lower, part.upper + bounds->lower),
                   bounds->lower + part.lower};
      }
      if (bounds->upper + bounds->lower > kMaxBits) return false;
    }
    return term.num_arguments > 0;
  }

  bool BoundsOfPower(const TermPool& pool, TermId id, Bounds* bounds) {
    const std::optional<Rational> exponent = ExponentOf(pool, id);
    if (!exponent || !BoundsOf(pool, pool.Argument(id, 0), bounds)) return false;
    const auto root = static_cast<double>(exponent->den);
    if (exponent->den > 1) {
      radicals_.emplace(std::pair{pool.Argument(id, 0), exponent->den}, root);
      if (bounds->upper >= bounds->lower) {
        bounds->upper = (bounds->upper + (root - 1.0) * bounds->lower) / root;
      } else {
        bounds->lower = ((root - 1.0) * bounds->upper + bounds->lower) / root;
      }
    }
    const auto times = static_cast<double>(std::abs(exponent->num));
    bounds->upper *= times;
    bounds->lower *= times;
    if (exponent->num < 0) std::swap(bounds->upper, bounds->lower);
    return bounds->upper + bounds->lower <= kMaxBits;
  }

  bool Evaluate(const TermPool& pool, TermId id, slong bits, Ball* value) {
    if (++visits_ > 40 * kMaxVisits) return false;
    const Term& term = pool[id];
    switch (term.kind) {
      case TermKind::kWhole:
      case TermKind::kDecimal: {
        const DecimalParts parts = PartsOf(pool.Number(id).canonical);
        if (std::abs(parts.exponent) > kMaxTenPower) return false;
        fmpz_t whole;
        fmpz_init(whole);
        fmpz_set_str(whole, parts.digits.c_str(), 10);
        acb_set_fmpz(value->get(), whole);
        fmpz_ui_pow_ui(whole, 10, static_cast<ulong>(std::abs(parts.exponent)));
        if (parts.exponent < 0) {
          acb_div_fmpz(value->get(), value->get(), whole, bits);
        } else {
          acb_mul_fmpz(value->get(), value->get(), whole, bits);
        }
        fmpz_clear(whole);
        return true;
      }
      case TermKind::kRational: {
        const Rational rational = *pool.Number(id).exact;
        acb_set_si(value->get(), rational.num);
        acb_div_si(value->get(), value->get(), rational.den, bits);
        return true;
      }
      case TermKind::kPi:
        acb_const_pi(value->get(), bits);
        return true;
      case TermKind::kSum:
      case TermKind::kProduct: {
        const bool sum = term.kind == TermKind::kSum;
        acb_set_si(value->get(), sum ? 0 : 1);
        for (uint32_t i = 0; i < term.num_arguments; ++i) {
          Ball part;
          if (!Evaluate(pool, pool.Argument(id, i), bits, &part)) return false;
          if (sum) {
            acb_add(value->get(), value->get(), part.get(), bits);
          } else {
            acb_mul(value->get(), value->get(), part.get(), bits);
          }
        }
        return true;
      }
      case TermKind::kPower: {
        const std::optional<Rational> exponent = ExponentOf(pool, id);
        Ball base;
        if (!exponent || !Evaluate(pool, pool.Argument(id, 0), bits, &base)) return false;
        if (exponent->den == 1) {
          acb_pow_si(value->get(), base.get(), exponent->num, bits);
        } else {
          if (exponent->den == 2) {
            acb_sqrt(value->get(), base.get(), bits);
          } else {
            acb_root_ui(value->get(), base.get(), static_cast<ulong>(exponent->den), bits);
          }
          acb_pow_si(value->get(), value->get(), exponent->num, bits);
        }
        return true;
      }
      case TermKind::kBuiltin: {
        Ball inner;
        if (!Evaluate(pool, pool.Argument(id, 0), bits, &inner)) return false;
        if (pool.Text(term.label) != "Abs" || acb_is_real(inner.get()) == 0) return false;
        arb_abs(acb_realref(value->get()), acb_realref(inner.get()));
        arb_zero(acb_imagref(value->get()));
        return true;
      }
      default:
        return false;
    }
  }

  struct PairHash {
    size_t operator()(const std::pair<TermId, int64_t>& key) const {
      return key.first * 64u + static_cast<size_t>(key.second);
    }
  };

  std::unordered_map<std::pair<TermId, int64_t>, double, PairHash> radicals_;
  int64_t visits_ = 0;
};

}  // namespace

bool HasExactArithmetic() { return true; }

std::unique_ptr<Arithmetic> MakeExactArithmetic() { return std::make_unique<ExactArithmetic>(); }

}  // namespace ckv::conic

#endif  // CKV_HAVE_FLINT
