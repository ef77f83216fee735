#include "conic/answers.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "base/str.h"
#include "conic/answer_parser.h"
#include "conic/answer_value.h"
#include "conic/identity.h"
#include "conic/problems.h"

namespace ckv::conic {
namespace {

using Kind = AnswerValue::Kind;

class AnswerComparer {
 public:
  AnswerComparer(TermPool* pool, Identities* identities) : pool_(*pool), identities_(*identities) {}

  bool Same(const AnswerValue& a, const AnswerValue& b) {
    if (++work_ > kMaxWork) return false;
    if (a.name != kNoTerm && b.name != kNoTerm && a.name != b.name) return false;
    if (a.kind == Kind::kSet || b.kind == Kind::kSet) return SameSets(a, b);
    if (a.kind == Kind::kReals || b.kind == Kind::kReals) {
      const std::optional<AnswerValue> left = AsReals(a);
      const std::optional<AnswerValue> right = AsReals(b);
      return left && right && SameReals(*left, *right);
    }
    if (a.kind == Kind::kConditions || b.kind == Kind::kConditions) return SameConditions(a, b);
    if (a.kind == Kind::kEquation && b.kind == Kind::kEquation) return SameEquations(a, b);
    if (a.kind == Kind::kEquation) return SameUnwrapped(a, b);
    if (b.kind == Kind::kEquation) return SameUnwrapped(b, a);
    if (a.kind != b.kind) return false;
    switch (a.kind) {
      case Kind::kScalar:
        return SameNumbers(a.term, b.term);
      case Kind::kLess:
        return a.closed == b.closed &&
               identities_.SignOfRatio(
                   identities_.Minus(WithoutCalls(a.right), WithoutCalls(a.left)),
                   identities_.Minus(WithoutCalls(b.right), WithoutCalls(b.left))) > 0;
      case Kind::kTuple:
      case Kind::kList:
      case Kind::kNegation:
        return std::equal(a.items.begin(), a.items.end(), b.items.begin(), b.items.end(),
                          [&](const auto& left, const auto& right) { return Same(left, right); });
      default:
        return a.term == b.term;
    }
  }

 private:
  // --- numbers -----------------------------------------------------------------------------------

  // 1 or -1 for oo and -oo times numbers, 0 for others.
  int InfinitySign(TermId id) {
    const Term term = pool_[id];
    if (term.kind == TermKind::kInfinity) return 1;
    if (term.kind == TermKind::kNegativeInfinity) return -1;
    if (term.kind != TermKind::kProduct) return 0;
    int sign = 1;
    bool infinite = false;
    for (const TermId factor : pool_.Arguments(id)) {
      const int inner = InfinitySign(factor);
      infinite = infinite || inner != 0;
      sign *= inner != 0 ? inner : identities_.Sign(factor).value_or(0);
    }
    return infinite ? sign : 0;
  }

  bool SameNumbers(TermId a, TermId b) {
    if (a == b && !IsUndefined(a)) return true;
    const int a_sign = InfinitySign(a);
    const int b_sign = InfinitySign(b);
    if (a_sign != 0 || b_sign != 0) return a_sign == b_sign;
    const TermId left = WithoutCalls(a);
    const TermId right = WithoutCalls(b);
    if (InOrder(left) == InOrder(right) && !IsUndefined(left)) return true;
    return identities_.IsZero(identities_.Minus(left, right));
  }

  // Sums and products flat and in one order: equal terms are equal however many roots they have.
  TermId InOrder(TermId id) {
    const Term term = pool_[id];
    if (term.num_arguments == 0) return id;
    const bool any_order = term.kind == TermKind::kSum || term.kind == TermKind::kProduct;
    std::vector<TermId> arguments;
    for (const TermId argument : pool_.Arguments(id)) {
      const TermId part = InOrder(argument);
      if (!any_order || pool_[part].kind != term.kind) {
        arguments.push_back(part);
        continue;
      }
      const std::vector<TermId> inner = pool_.Arguments(part);
      arguments.insert(arguments.end(), inner.begin(), inner.end());
    }
    if (any_order) std::sort(arguments.begin(), arguments.end());
    return pool_.Make(term.kind, term.label, arguments);
  }

  // Whether the term has no value anywhere: 1/0 is not even itself.
  bool IsUndefined(TermId id) {
    const Term term = pool_[id];
    if (term.kind == TermKind::kPower) {
      const std::optional<Rational> exponent = RationalValue(pool_, pool_.Argument(id, 1));
      if (exponent && exponent->num < 0 &&
          identities_.IsZero(WithoutCalls(pool_.Argument(id, 0)))) {
        return true;
      }
    }
    for (uint32_t i = 0; i < term.num_arguments; ++i) {
      if (IsUndefined(pool_.Argument(id, i))) return true;
    }
    return false;
  }

  // Calls of operators, and powers with exponents that are no rational number, become symbols:
  // equal ones for calls whose arguments are equal in order.
  TermId WithoutCalls(TermId id) {
    const Term term = pool_[id];
    if (term.num_arguments == 0 && term.kind != TermKind::kCall) return id;
    std::vector<TermId> arguments = pool_.Arguments(id);
    bool opaque = term.kind == TermKind::kCall || term.kind == TermKind::kTuple ||
                  term.kind == TermKind::kRelation;
    if (!opaque) {
      for (TermId& argument : arguments) argument = WithoutCalls(argument);
      opaque = term.kind == TermKind::kPower && !RationalValue(pool_, arguments[1]).has_value();
    }
    if (!opaque) return pool_.Make(term.kind, term.label, arguments);
    for (size_t i = 0; i < calls_.size(); ++i) {
      const auto [known, symbol] = calls_[i];  // a copy: comparing arguments may add calls
      if (known == id || SameCalls(known, id)) return symbol;
    }
    const TermId symbol = pool_.MakeSymbol(Str(" call ", calls_.size()));
    calls_.emplace_back(id, symbol);
    return symbol;
  }

  bool SameCalls(TermId a, TermId b) {
    if (++work_ > kMaxWork) return false;
    const Term left = pool_[a];
    const Term right = pool_[b];
    if (left.kind != right.kind || left.label != right.label ||
        left.num_arguments != right.num_arguments) {
      return false;
    }
    for (uint32_t i = 0; i < left.num_arguments; ++i) {
      if (!Same(ValueOf(pool_.Argument(a, i), &pool_, &identities_),
                ValueOf(pool_.Argument(b, i), &pool_, &identities_))) {
        return false;
      }
    }
    return true;
  }

  // --- sets, conditions --------------------------------------------------------------------------

  std::vector<AnswerValue> Distinct(const AnswerValue& value) {
    std::vector<AnswerValue> distinct;
    const std::vector<AnswerValue> single{value};
    const bool many = value.kind == Kind::kSet || value.kind == Kind::kConditions;
    for (const AnswerValue& item : many ? value.items : single) {
      const bool known = std::any_of(distinct.begin(), distinct.end(),
                                     [&](const AnswerValue& other) { return Same(item, other); });
      if (!known) distinct.push_back(item);
    }
    return distinct;
  }

  // Equality is an equivalence, so distinct items match one to one if each finds one.
  bool MatchOneToOne(const std::vector<AnswerValue>& a, const std::vector<AnswerValue>& b) {
    if (a.size() != b.size()) return false;
    std::vector<bool> taken(b.size(), false);
    for (const AnswerValue& item : a) {
      size_t j = 0;
      while (j < b.size() && (taken[j] || !Same(item, b[j]))) ++j;
      if (j == b.size()) return false;
      taken[j] = true;
    }
    return true;
  }

  bool SameSets(const AnswerValue& a, const AnswerValue& b) {
    const std::vector<AnswerValue> left = Distinct(a);
    const std::vector<AnswerValue> right = Distinct(b);
    if (left.size() == 1 && right.size() == 1) {
      // A set of one element is that element.
      const bool nested = (a.kind == Kind::kSet && left[0].kind == Kind::kSet) ||
                          (b.kind == Kind::kSet && right[0].kind == Kind::kSet);
      if (!nested) return Same(left[0], right[0]);
      return SameSets(left[0], right[0]);
    }
    return MatchOneToOne(left, right);
  }

  bool SameConditions(const AnswerValue& a, const AnswerValue& b) {
    if (a.kind == b.kind) return MatchOneToOne(Distinct(a), Distinct(b));
    const AnswerValue& conditions = a.kind == Kind::kConditions ? a : b;
    const std::vector<AnswerValue> distinct = Distinct(conditions);
    return distinct.size() == 1 && distinct[0].kind != Kind::kConditions &&
           Same(distinct[0], a.kind == Kind::kConditions ? b : a);
  }

  // --- equations ---------------------------------------------------------------------------------

  bool SameEquations(const AnswerValue& a, const AnswerValue& b) {
    const TermId f = identities_.Minus(WithoutCalls(a.left), WithoutCalls(a.right));
    const TermId g = identities_.Minus(WithoutCalls(b.left), WithoutCalls(b.right));
    std::vector<TermId> moving;
    std::vector<TermId> all;
    for (const TermId side : {f, g}) {
      for (const TermId symbol : identities_.SymbolsOf(side)) {
        if (pool_[symbol].kind != TermKind::kSymbol) continue;
        all.push_back(symbol);
        if (IsCoordinate(pool_, symbol)) moving.push_back(symbol);
      }
    }
    return identities_.AreProportional(f, g, moving.empty() ? all : moving);
  }

  // `v = value` of a symbol other than x and y is its value.
  bool SameUnwrapped(const AnswerValue& equation, const AnswerValue& other) {
    for (const auto& [name, value] :
         {std::pair{equation.left, equation.right}, std::pair{equation.right, equation.left}}) {
      if (pool_[name].kind != TermKind::kSymbol || IsCoordinate(pool_, name)) continue;
      if (Same(ValueOf(value, &pool_, &identities_), other)) return true;
    }
    return false;
  }

  // --- sets of reals -----------------------------------------------------------------------------

  std::optional<AnswerValue> AsReals(const AnswerValue& value) const {
    if (value.kind == Kind::kReals) return value;
    if (value.kind != Kind::kTuple || value.items.size() != 2 ||
        value.items[0].kind != Kind::kScalar || value.items[1].kind != Kind::kScalar) {
      return std::nullopt;
    }
    AnswerValue reals;
    reals.kind = Kind::kReals;
    reals.intervals.push_back({value.items[0].term, value.items[1].term, false, false});
    return reals;
  }

  bool SameReals(const AnswerValue& a, const AnswerValue& b) {
    if (a.intervals.size() + b.intervals.size() + a.removed.size() + b.removed.size() >
        kMaxIntervals) {
      return false;
    }
    // Ends in rising order, equal ones once.
    std::vector<TermId> ends;
    bool ordered = true;
    const auto add = [&](TermId end) {
      if (!ordered || InfinitySign(end) != 0) return;
      size_t place = 0;
      for (; place < ends.size(); ++place) {
        if (SameNumbers(end, ends[place])) return;
        const std::optional<int> sign = identities_.Sign(identities_.Minus(end, ends[place]));
        if (!sign.has_value()) {
          ordered = false;
          return;
        }
        if (*sign < 0) break;
      }
      ordered = IsRealNumber(end);
      ends.insert(ends.begin() + static_cast<std::ptrdiff_t>(place), end);
    };
    for (const AnswerValue* value : {&a, &b}) {
      for (const Interval& interval : value->intervals) {
        add(interval.low);
        add(interval.high);
      }
      for (const TermId point : value->removed) add(point);
    }
    if (!ordered) return SameIntervals(a, b);
    const std::vector<bool> left = Membership(a, ends);
    return !left.empty() && left == Membership(b, ends);
  }

  bool IsRealNumber(TermId id) {
    if (!identities_.SymbolsOf(id).empty() && pool_[id].has_symbol) return false;
    return identities_.Sign(id).has_value() || SameNumbers(id, pool_.MakeWhole(0));
  }

  // The place of an end among all: -1 and their number for the infinities.
  int64_t PlaceOf(TermId end, const std::vector<TermId>& ends) {
    const int sign = InfinitySign(end);
    if (sign != 0) return sign < 0 ? -1 : static_cast<int64_t>(ends.size());
    for (size_t i = 0; i < ends.size(); ++i) {
      if (SameNumbers(end, ends[i])) return static_cast<int64_t>(i);
    }
    return 0;
  }

  // For each gap between ends and each end, from left to right, whether the set holds it. Empty if
  // an interval ends before it begins.
  std::vector<bool> Membership(const AnswerValue& value, const std::vector<TermId>& ends) {
    std::vector<bool> holds(2 * ends.size() + 1, false);
    for (const Interval& interval : value.intervals) {
      const int64_t low = PlaceOf(interval.low, ends);
      const int64_t high = PlaceOf(interval.high, ends);
      // The end i stands at 2i + 1, the gap in front of it at 2i.
      for (int64_t at = 2 * low + 2; at <= 2 * high; ++at) holds[static_cast<size_t>(at)] = true;
      if (low > high) return {};
      const auto size = static_cast<int64_t>(ends.size());
      const bool has_ends = low < high || (interval.low_closed && interval.high_closed);
      if (has_ends && interval.low_closed && low >= 0 && low < size) {
        holds[static_cast<size_t>(2 * low + 1)] = true;
      }
      if (has_ends && interval.high_closed && high >= 0 && high < size) {
        holds[static_cast<size_t>(2 * high + 1)] = true;
      }
    }
    for (const TermId point : value.removed) {
      if (InfinitySign(point) != 0) continue;
      holds[static_cast<size_t>(2 * PlaceOf(point, ends) + 1)] = false;
    }
    return holds;
  }

  // Intervals with symbols in their ends.
  bool SameIntervals(const AnswerValue& a, const AnswerValue& b) {
    if (a.intervals.size() != b.intervals.size() || a.removed.size() != b.removed.size()) {
      return false;
    }
    const auto match = [](size_t n, auto same) {
      std::vector<bool> taken(n, false);
      for (size_t i = 0; i < n; ++i) {
        size_t j = 0;
        while (j < n && (taken[j] || !same(i, j))) ++j;
        if (j == n) return false;
        taken[j] = true;
      }
      return true;
    };
    return match(a.intervals.size(),
                 [&](size_t i, size_t j) {
                   const Interval& left = a.intervals[i];
                   const Interval& right = b.intervals[j];
                   return left.low_closed == right.low_closed &&
                          left.high_closed == right.high_closed &&
                          SameNumbers(left.low, right.low) && SameNumbers(left.high, right.high);
                 }) &&
           match(a.removed.size(),
                 [&](size_t i, size_t j) { return SameNumbers(a.removed[i], b.removed[j]); });
  }

  static constexpr int64_t kMaxWork = 20'000;
  static constexpr size_t kMaxIntervals = 200;

  TermPool& pool_;
  Identities& identities_;
  std::vector<std::pair<TermId, TermId>> calls_;  // a call and the symbol for it
  int64_t work_ = 0;
};

}  // namespace

AnswerVerdict CheckAnswer(std::string_view gold, std::string_view predicted,
                          Arithmetic* arithmetic) {
  AnswerVerdict verdict;
  const std::string gold_text = NormalizeAnswer(gold);
  const std::string text = NormalizeAnswer(predicted);
  verdict.scored = !gold_text.empty();
  if (text.empty()) {
    verdict.fault = "the answer is empty";
    return verdict;
  }
  const bool alike = WithoutSpace(gold_text) == WithoutSpace(text);
  verdict.readable = alike;
  if (alike) {
    verdict.equal = true;
    return verdict;
  }
  TermPool pool;
  const std::vector<std::string> gold_parts = AnswerParts(gold_text);
  const std::vector<std::string> parts = AnswerParts(text);
  std::vector<TermId> terms;
  for (size_t i = 0; i < parts.size(); ++i) {
    ReadFault fault;
    const std::optional<TermId> term = ReadAnswer(parts[i], &pool, &fault);
    if (!term.has_value()) {
      verdict.fault = Str("part ", i + 1, ", column ", fault.offset + 1, ": ", fault.what);
      return verdict;
    }
    terms.push_back(*term);
  }
  verdict.readable = true;
  if (!verdict.scored || parts.size() != gold_parts.size()) return verdict;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (WithoutSpace(parts[i]) == WithoutSpace(gold_parts[i])) continue;
    ReadFault fault;
    const std::optional<TermId> gold_term = ReadAnswer(gold_parts[i], &pool, &fault);
    if (!gold_term.has_value()) return verdict;
    Identities identities(&pool, arithmetic);
    AnswerComparer comparer(&pool, &identities);
    if (!comparer.Same(ValueOf(*gold_term, &pool, &identities),
                       ValueOf(terms[i], &pool, &identities))) {
      return verdict;
    }
  }
  verdict.equal = true;
  return verdict;
}

}  // namespace ckv::conic
