#include "conic/rebuild.h"

#include <map>
#include <optional>
#include <utility>

namespace ckv::conic {
namespace {

bool IsExact(const TermPool& pool, TermId id) {
  return pool.IsNumber(id) && pool.Number(id).exact.has_value();
}

// Builds evaluated sums, products and powers. What does not fit into exact numbers stays as it is.
class Evaluator {
 public:
  explicit Evaluator(TermPool* pool) : pool_(*pool) {}

  TermId Sum(const std::vector<TermId>& arguments) {
    std::vector<TermId> terms;
    Flatten(TermKind::kSum, arguments, &terms);
    Rational total{0, 1};
    std::map<TermId, size_t> places;
    std::vector<std::pair<TermId, Rational>> collected;
    std::vector<TermId> others;
    for (const TermId term : terms) {
      if (IsExact(pool_, term)) {
        const std::optional<Rational> next = Add(total, *pool_.Number(term).exact);
        if (next.has_value()) {
          total = *next;
        } else {
          others.push_back(term);
        }
        continue;
      }
      const auto [coefficient, rest] = Split(term);
      const auto [place, is_new] = places.emplace(rest, collected.size());
      if (is_new) {
        collected.emplace_back(rest, coefficient);
        continue;
      }
      const std::optional<Rational> next = Add(collected[place->second].second, coefficient);
      if (next.has_value()) {
        collected[place->second].second = *next;
      } else {
        others.push_back(term);
      }
    }
    std::vector<TermId> result;
    for (const auto& [rest, coefficient] : collected) {
      if (coefficient.num != 0) result.push_back(Times(coefficient, rest));
    }
    result.insert(result.end(), others.begin(), others.end());
    if (total.num != 0) result.push_back(pool_.MakeRationalTerm(total));
    if (result.empty()) return pool_.MakeWhole(0);
    return result.size() == 1 ? result.front() : pool_.Make(TermKind::kSum, kNoLabel, result);
  }

  TermId Product(const std::vector<TermId>& arguments) {
    std::vector<TermId> factors;
    Flatten(TermKind::kProduct, arguments, &factors);
    Rational coefficient{1, 1};
    std::map<TermId, size_t> places;
    std::vector<std::pair<TermId, Rational>> powers;  // base, exponent
    std::vector<TermId> others;
    for (const TermId factor : factors) {
      if (IsExact(pool_, factor)) {
        const std::optional<Rational> next = Multiply(coefficient, *pool_.Number(factor).exact);
        if (next.has_value()) {
          coefficient = *next;
          continue;
        }
      }
      const auto [base, exponent] = SplitPower(factor);
      const auto [place, is_new] = places.emplace(base, powers.size());
      if (is_new) {
        powers.emplace_back(base, exponent);
        continue;
      }
      const std::optional<Rational> next = Add(powers[place->second].second, exponent);
      if (next.has_value()) {
        powers[place->second].second = *next;
      } else {
        others.push_back(factor);
      }
    }
    std::vector<TermId> result;
    std::vector<TermId> numeric;
    for (const auto& [base, exponent] : powers) {
      const TermId factor = PowerOf(base, exponent);
      if (IsExact(pool_, factor)) {
        const std::optional<Rational> next = Multiply(coefficient, *pool_.Number(factor).exact);
        if (next.has_value()) {
          coefficient = *next;
          continue;
        }
      }
      const Term& term = pool_[factor];
      (term.plain && !term.has_symbol ? numeric : result).push_back(factor);
    }
    result.insert(result.end(), others.begin(), others.end());
    return Assemble(coefficient, numeric, std::move(result));
  }

  TermId Power(TermId base, TermId exponent) {
    if (!IsExact(pool_, exponent)) {
      return pool_.Make(TermKind::kPower, kNoLabel, {base, exponent});
    }
    return PowerOf(base, *pool_.Number(exponent).exact);
  }

  TermId Abs(TermId argument) {
    if (IsExact(pool_, argument)) {
      Rational value = *pool_.Number(argument).exact;
      value.num = value.num < 0 ? -value.num : value.num;
      return pool_.MakeRationalTerm(value);
    }
    auto [coefficient, rest] = Split(argument);
    if (coefficient.num < 0) coefficient.num = -coefficient.num;
    return Times(coefficient, pool_.Make(TermKind::kBuiltin, pool_.Label("Abs"), {rest}));
  }

  // The coefficient of a term and what it multiplies.
  std::pair<Rational, TermId> Split(TermId term) {
    if (pool_[term].kind != TermKind::kProduct || pool_[term].num_arguments < 2) {
      return {{1, 1}, term};
    }
    std::vector<TermId> factors = pool_.Arguments(term);
    if (!IsExact(pool_, factors.front())) return {{1, 1}, term};
    const Rational coefficient = *pool_.Number(factors.front()).exact;
    factors.erase(factors.begin());
    return {coefficient, factors.size() == 1 ? factors.front()
                                             : pool_.Make(TermKind::kProduct, kNoLabel, factors)};
  }

 private:
  void Flatten(TermKind kind, const std::vector<TermId>& arguments, std::vector<TermId>* flat) {
    for (const TermId argument : arguments) {
      if (pool_[argument].kind == kind) {
        Flatten(kind, pool_.Arguments(argument), flat);
      } else {
        flat->push_back(argument);
      }
    }
  }

  std::pair<TermId, Rational> SplitPower(TermId factor) {
    if (pool_[factor].kind == TermKind::kPower) {
      const TermId exponent = pool_.Argument(factor, 1);
      if (IsExact(pool_, exponent)) {
        return {pool_.Argument(factor, 0), *pool_.Number(exponent).exact};
      }
    }
    return {factor, {1, 1}};
  }

  TermId PowerOf(TermId base, Rational exponent) {  // by value: the pool moves its numbers
    if (exponent.num == 0) return pool_.MakeWhole(1);
    if (exponent == Rational{1, 1}) return base;
    if (IsExact(pool_, base)) {
      const std::optional<Rational> value = conic::Power(*pool_.Number(base).exact, exponent);
      if (value.has_value()) return pool_.MakeRationalTerm(*value);
    }
    if (exponent.den == 1 && pool_[base].kind == TermKind::kPower) {
      const auto [inner, inner_exponent] = SplitPower(base);
      const std::optional<Rational> both = Multiply(inner_exponent, exponent);
      if (inner != base && both.has_value()) return PowerOf(inner, *both);
    }
    if (exponent.den == 1 && pool_[base].kind == TermKind::kProduct) {
      std::vector<TermId> factors = pool_.Arguments(base);
      for (TermId& factor : factors) factor = PowerOf(factor, exponent);
      return Product(factors);
    }
    return pool_.Make(TermKind::kPower, kNoLabel, {base, pool_.MakeRationalTerm(exponent)});
  }

  TermId Times(const Rational& coefficient, TermId rest) {
    if (coefficient == Rational{1, 1}) return rest;
    std::vector<TermId> factors;
    Flatten(TermKind::kProduct, {rest}, &factors);
    factors.insert(factors.begin(), pool_.MakeRationalTerm(coefficient));
    return pool_.Make(TermKind::kProduct, kNoLabel, factors);
  }

  TermId Assemble(const Rational& coefficient, const std::vector<TermId>& numeric,
                  std::vector<TermId> result) {
    if (coefficient.num == 0) return pool_.MakeWhole(0);
    // Numbers that are not rational are one factor, whose value counts, not its form.
    std::vector<TermId> number;
    if (!(coefficient == Rational{1, 1})) number.push_back(pool_.MakeRationalTerm(coefficient));
    number.insert(number.end(), numeric.begin(), numeric.end());
    if (result.empty()) {
      if (number.empty()) return pool_.MakeWhole(1);
      return number.size() == 1 ? number.front() : pool_.Make(TermKind::kProduct, kNoLabel, number);
    }
    if (numeric.empty() && !number.empty() && result.size() == 1 &&
        pool_[result.front()].kind == TermKind::kSum) {
      std::vector<TermId> terms = pool_.Arguments(result.front());
      for (TermId& term : terms) term = Product({number.front(), term});
      return Sum(terms);
    }
    if (!number.empty()) {
      result.insert(result.begin(), number.size() == 1
                                        ? number.front()
                                        : pool_.Make(TermKind::kProduct, kNoLabel, number));
    }
    return result.size() == 1 ? result.front() : pool_.Make(TermKind::kProduct, kNoLabel, result);
  }

  TermPool& pool_;
};

TermId NegateProduct(TermId id, TermPool* pool) {
  std::vector<TermId> factors = pool->Arguments(id);
  const TermId first = factors.front();
  const TermKind kind = (*pool)[first].kind;
  if (!pool->IsExtendedNumber(first)) {
    factors.insert(factors.begin(), pool->MakeWhole(-1));
    return pool->Make(TermKind::kProduct, kNoLabel, factors);
  }
  if (kind != TermKind::kWhole && kind != TermKind::kRational) {
    factors.front() = Negate(first, pool);
    return pool->Make(TermKind::kProduct, kNoLabel, factors);
  }
  // A rational coefficient of -1 goes away; otherwise it goes into a number behind it.
  const TermId coefficient = Negate(first, pool);
  if (coefficient == pool->MakeWhole(1)) {
    factors.erase(factors.begin());
  } else if (factors.size() > 1 && IsExact(*pool, coefficient) && IsExact(*pool, factors[1])) {
    const std::optional<Rational> product =
        Multiply(*pool->Number(coefficient).exact, *pool->Number(factors[1]).exact);
    factors.front() = coefficient;
    if (product.has_value()) {
      factors.erase(factors.begin());
      factors.front() = pool->MakeRationalTerm(*product);
    }
  } else {
    factors.front() = coefficient;
  }
  return factors.size() == 1 ? factors.front() : pool->Make(TermKind::kProduct, kNoLabel, factors);
}

}  // namespace

TermId Negate(TermId id, TermPool* pool) {
  switch ((*pool)[id].kind) {
    case TermKind::kWhole:
    case TermKind::kDecimal:
      return pool->MakeNumber(Negated(pool->Number(id)));
    case TermKind::kRational: {
      Rational value = *pool->Number(id).exact;
      value.num = -value.num;
      return pool->MakeRationalTerm(value);
    }
    case TermKind::kInfinity:
      return pool->MakeConstant(TermKind::kNegativeInfinity);
    case TermKind::kNegativeInfinity:
      return pool->MakeConstant(TermKind::kInfinity);
    case TermKind::kProduct:
      if ((*pool)[id].num_arguments > 0) return NegateProduct(id, pool);
      break;
    case TermKind::kSum: {
      std::vector<TermId> terms = pool->Arguments(id);
      for (TermId& term : terms) term = Negate(term, pool);
      return Evaluator(pool).Sum(terms);
    }
    default:
      break;
  }
  return pool->Make(TermKind::kProduct, kNoLabel, {pool->MakeWhole(-1), id});
}

TermId Rebuild(TermId id, TermPool* pool) {
  const Term term = (*pool)[id];
  if (!term.has_alignable || term.kind == TermKind::kSymbol) return id;
  std::vector<TermId> arguments = pool->Arguments(id);
  for (TermId& argument : arguments) argument = Rebuild(argument, pool);
  Evaluator evaluator(pool);
  switch (term.kind) {
    case TermKind::kSum:
      return evaluator.Sum(arguments);
    case TermKind::kProduct:
      return evaluator.Product(arguments);
    case TermKind::kPower:
      return evaluator.Power(arguments[0], arguments[1]);
    case TermKind::kBuiltin:
      if (pool->Text(term.label) == "Abs") return evaluator.Abs(arguments[0]);
      break;
    default:
      break;
  }
  return pool->Make(term.kind, term.label, arguments);
}

}  // namespace ckv::conic
