#include "conic/compare.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "conic/arithmetic.h"
#include "conic/operators.h"
#include "conic/rebuild.h"

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

bool Near(const Complex& a, const Complex& b, double size) {
  const double scale = std::max(std::abs(a), std::abs(b));
  return std::abs(a - b) <= 1e-10 * scale + 1e-13 * size;
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

void Comparer::SetImage(TermId symbol, TermId image) {
  if (symbol >= images_.size()) images_.resize(symbol + 1, kNoTerm);
  images_[symbol] = image == symbol ? kNoTerm : image;
}

bool Comparer::Same(TermId a, TermId b) {
  if (++work_ > kMaxWork) return false;
  const Term left = pool_[a];
  const Term right = pool_[b];
  if ((left.hopeless || right.hopeless) && !strict_) return false;
  if (left.kind == TermKind::kOpaque || right.kind == TermKind::kOpaque) return false;
  if (Alike(a, b)) return true;
  const bool a_number = pool_.IsExtendedNumber(a);
  const bool b_number = pool_.IsExtendedNumber(b);
  if (a_number || b_number) {
    const int a_sign = InfinitySign(a);
    const int b_sign = InfinitySign(b);
    if (a_sign != 0 || b_sign != 0) return a_sign == b_sign;
    return SameValue(a, b);
  }
  const auto is_named = [](const Term& term) {
    return term.kind == TermKind::kPi || term.kind == TermKind::kEuler;
  };
  if (is_named(left) || is_named(right)) return left.kind == right.kind;
  if (left.kind == TermKind::kSymbol && right.kind == TermKind::kSymbol) return false;
  if (left.plain && right.plain && SameValue(a, b)) return true;
  if (strict_ && SameFlipped(a, b)) return true;
  if (left.kind != right.kind || left.label != right.label) return false;
  if (left.kind == TermKind::kSymbol || left.kind == TermKind::kTruth) return false;
  if (strict_ && left.kind == TermKind::kCall && pool_.Text(left.label) == "Eq" &&
      SameEquation(a, b)) {
    return true;
  }
  if (left.num_arguments != right.num_arguments) return false;
  return SameArguments(a, b);
}

bool Comparer::SameArguments(TermId a, TermId b) {
  const Term left = pool_[a];
  const bool any_order = left.kind == TermKind::kSum || left.kind == TermKind::kProduct ||
                         (left.kind == TermKind::kCall && left.num_arguments > 1 &&
                          IsOrderFree(pool_.Text(left.label)));
  if (any_order) return MatchInAnyOrder(a, b);
  if (left.kind == TermKind::kBuiltin && left.has_alignable && SameAbs(a, b)) return true;
  for (uint32_t i = 0; i < left.num_arguments; ++i) {
    if (!Same(pool_.Argument(a, i), pool_.Argument(b, i))) return false;
  }
  return true;
}

// Rebuilt terms: Abs(u - v) is Abs(v - u).
bool Comparer::SameAbs(TermId a, TermId b) {
  if (pool_.Text(pool_[a].label) != "Abs") return false;
  const TermId left = pool_.Argument(a, 0);
  const TermId right = pool_.Argument(b, 0);
  if (pool_[left].kind != TermKind::kSum || pool_[right].kind != TermKind::kSum) return false;
  return Same(left, Rebuild(Negate(right, &pool_), &pool_));
}

// The same written alike, after exchange of names.
bool Comparer::Alike(TermId a, TermId b) {
  const Term& left = pool_[a];
  const Term& right = pool_[b];
  if (!left.has_alignable && !right.has_alignable) return a == b;
  if (left.kind != right.kind) return false;
  if (left.kind == TermKind::kSymbol) return Image(a) == Image(b);
  if (left.label != right.label || left.num_arguments != right.num_arguments) return false;
  ++work_;
  for (uint32_t i = 0; i < left.num_arguments; ++i) {
    if (!Alike(pool_.Argument(a, i), pool_.Argument(b, i))) return false;
  }
  return true;
}

// A perfect matching between the arguments, by augmenting paths.
bool Comparer::MatchInAnyOrder(TermId a, TermId b) {
  const uint32_t n = pool_[a].num_arguments;
  std::vector<TermId> left = pool_.Arguments(a);
  std::vector<TermId> right = pool_.Arguments(b);
  if (n <= 2) {
    const auto in_order = [&](size_t first) {
      for (size_t i = 0; i < n; ++i) {
        if (!Same(left[i], right[(first + i) % n])) return false;
      }
      return true;
    };
    return in_order(0) || (n == 2 && in_order(1));
  }
  constexpr int kNone = -1;
  std::vector<int8_t> known(n < 2000 ? size_t{n} * n : 0, int8_t{kNone});
  const auto same = [&](uint32_t i, uint32_t j) {
    if (known.empty()) return Same(left[i], right[j]);
    int8_t& verdict = known[size_t{i} * n + j];
    if (verdict == kNone) verdict = Same(left[i], right[j]) ? 1 : 0;
    return verdict == 1;
  };
  std::vector<int64_t> owner(n, kNone);  // of each right argument
  for (uint32_t start = 0; start < n; ++start) {
    // Breadth first, so that no chain of exchanges nests calls.
    std::vector<uint32_t> queue{start};
    std::vector<int64_t> from(n, kNone);  // the left argument that reached a right one
    std::vector<bool> reached(n, false);
    int64_t free_place = kNone;
    for (size_t head = 0; head < queue.size() && free_place == kNone; ++head) {
      for (uint32_t j = 0; j < n; ++j) {
        if (reached[j] || !same(queue[head], j)) continue;
        reached[j] = true;
        from[j] = queue[head];
        if (owner[j] == kNone) {
          free_place = j;
          break;
        }
        queue.push_back(static_cast<uint32_t>(owner[j]));
      }
      if (exhausted()) return false;
    }
    if (free_place == kNone) return false;
    // Hands places on, back along the path.
    std::vector<int64_t> place_of(n, kNone);
    for (uint32_t j = 0; j < n; ++j) {
      if (owner[j] != kNone) place_of[static_cast<size_t>(owner[j])] = j;
    }
    for (int64_t j = free_place; j != kNone;) {
      const int64_t i = from[static_cast<size_t>(j)];
      const int64_t before = place_of[static_cast<size_t>(i)];
      owner[static_cast<size_t>(j)] = i;
      j = i == static_cast<int64_t>(start) ? kNone : before;
    }
  }
  return true;
}

// Strict: a > b and b < a.
bool Comparer::SameFlipped(TermId a, TermId b) {
  if (pool_[a].kind != TermKind::kRelation || pool_[b].kind != TermKind::kRelation) return false;
  const std::string& left = pool_.Text(pool_[a].label);
  const std::string& right = pool_.Text(pool_[b].label);
  const bool mirrored =
      (left == "!=" && right == "!=") ||
      (left.size() == right.size() && left[0] != right[0] && left != "!=" && right != "!=");
  return mirrored && Same(pool_.Argument(a, 0), pool_.Argument(b, 1)) &&
         Same(pool_.Argument(a, 1), pool_.Argument(b, 0));
}

// Strict: equations f = 0 and g = 0 with f a multiple of g that is free of x and y.
bool Comparer::SameEquation(TermId a, TermId b) {
  for (const TermId id : {a, b}) {
    if (pool_[id].num_arguments != 2 || !pool_[pool_.Argument(id, 0)].plain ||
        !pool_[pool_.Argument(id, 1)].plain) {
      return false;
    }
  }
  const TermId minus = pool_.MakeWhole(-1);
  const auto difference = [&](TermId id) {
    const TermId negative =
        pool_.Make(TermKind::kProduct, kNoLabel, {minus, pool_.Argument(id, 1)});
    return pool_.Make(TermKind::kSum, kNoLabel, {pool_.Argument(id, 0), negative});
  };
  const TermId f = difference(a);
  const TermId g = difference(b);
  // Coordinates move from point to point while everything else stays; for equations without
  // coordinates everything moves.
  const TermId x = pool_.MakeSymbol("x");
  const TermId y = pool_.MakeSymbol("y");
  const TermId x_moved = pool_.MakeSymbol("x", pool_.Label(" moved"));
  const TermId y_moved = pool_.MakeSymbol("y", pool_.Label(" moved"));
  const Value f_here[2] = {At(f, 0), At(f, 1)};
  const Value g_here[2] = {At(g, 0), At(g, 1)};
  bool coordinates = false;
  {
    std::vector<TermId> stack{f, g};
    while (!stack.empty()) {
      const TermId id = stack.back();
      stack.pop_back();
      coordinates = coordinates || id == x || id == y;
      const std::vector<TermId> inner = pool_.Arguments(id);
      stack.insert(stack.end(), inner.begin(), inner.end());
    }
  }
  const auto proportional = [](const Value& f1, const Value& g1, const Value& f2, const Value& g2) {
    if (!f1.defined || !g1.defined || !f2.defined || !g2.defined) return false;
    const double tiny = 1e-10;
    if (std::abs(f1.value) < tiny * f1.size || std::abs(g1.value) < tiny * g1.size) return false;
    return Near(f1.value * g2.value, f2.value * g1.value, f1.size * g2.size + f2.size * g1.size);
  };
  if (!coordinates) {
    return proportional(f_here[0], g_here[0], f_here[1], g_here[1]) &&
           proportional(f_here[0], g_here[0], At(f, 2), At(g, 2));
  }
  bool result = true;
  for (int point = 0; point < 2 && result; ++point) {
    for (const auto& [new_x, new_y] : {std::pair{x_moved, y_moved}, std::pair{y_moved, x_moved}}) {
      // Substituted copies: images concern names of a side only.
      struct Substitution {
        TermPool& pool;
        TermId x, y, new_x, new_y;
        TermId operator()(TermId id) const {
          if (id == x) return new_x;
          if (id == y) return new_y;
          const Term term = pool[id];
          if (term.num_arguments == 0) return id;
          std::vector<TermId> arguments = pool.Arguments(id);
          for (TermId& argument : arguments) argument = (*this)(argument);
          return pool.Make(term.kind, term.label, arguments);
        }
      };
      const Substitution moved{pool_, x, y, new_x, new_y};
      result = result &&
               proportional(f_here[point], g_here[point], At(moved(f), point), At(moved(g), point));
    }
  }
  return result;
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
