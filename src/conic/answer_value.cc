#include "conic/answer_value.h"

#include <algorithm>
#include <optional>

namespace ckv::conic {
namespace {

using Kind = AnswerValue::Kind;

class ValueReader {
 public:
  ValueReader(TermPool* pool, Identities* identities) : pool_(*pool), identities_(*identities) {}

  AnswerValue Read(TermId id) {
    if (IsCall(id, "set")) return ReadSet(id);
    if (IsCall(id, "And")) id = WithSplitNegations(id);
    const TermId pm = pool_.MakeSymbol("pm");
    if (Contains(id, pm)) {
      AnswerValue both;
      both.kind = Kind::kSet;
      for (const int64_t sign : {1, -1}) {
        both.items.push_back(Read(identities_.Substitute(id, {{pm, pool_.MakeWhole(sign)}})));
      }
      return both;
    }
    if (IsCall(id, "And")) return ReadConditions(id);
    if (IsCall(id, "Union")) return ReadUnion(id);
    if (std::optional<Interval> interval = IntervalOf(id, /*pairs=*/false)) {
      AnswerValue value;
      value.kind = Kind::kReals;
      value.intervals.push_back(*interval);
      return value;
    }
    return ReadSingle(id);
  }

 private:
  bool IsCall(TermId id, const char* name) const {
    return pool_[id].kind == TermKind::kCall && pool_.Text(pool_[id].label) == name;
  }

  bool Contains(TermId id, TermId symbol) const {
    const std::vector<TermId> symbols = identities_.SymbolsOf(id);
    return std::binary_search(symbols.begin(), symbols.end(), symbol);
  }

  AnswerValue WithItems(Kind kind, TermId id) {
    AnswerValue value;
    value.kind = kind;
    for (const TermId item : pool_.Arguments(id)) value.items.push_back(Read(item));
    return value;
  }

  AnswerValue ReadSingle(TermId id) {
    AnswerValue value;
    const Term& term = pool_[id];
    if (term.kind == TermKind::kTuple) return WithItems(Kind::kTuple, id);
    if (IsCall(id, "list")) return WithItems(Kind::kList, id);
    if (IsCall(id, "Negation") && term.num_arguments == 1) return WithItems(Kind::kNegation, id);
    if (term.kind == TermKind::kRelation) {
      value.kind = Kind::kLess;
      value.left = pool_.Argument(id, 0);
      value.right = pool_.Argument(id, 1);
      value.closed = pool_.Text(term.label) == "<=";
      if (!AreNumbers(value.left, value.right)) return Opaque(id);
      if (const std::optional<Interval> reals = HalfLineOf(value)) {
        value.kind = Kind::kReals;
        value.intervals.push_back(*reals);
      }
      return value;
    }
    if (IsCall(id, "Eq") && term.num_arguments == 2) {
      value.kind = Kind::kEquation;
      value.left = pool_.Argument(id, 0);
      value.right = pool_.Argument(id, 1);
      if (AreNumbers(value.left, value.right)) return value;
      return NamedValue(value.left, value.right)
          .value_or(NamedValue(value.right, value.left).value_or(Opaque(id)));
    }
    value.term = id;
    return value;
  }

  bool IsVariable(TermId id) const {
    return pool_[id].kind == TermKind::kSymbol && !IsCoordinate(pool_, id);
  }

  // P = (1, 2), a = {1, 2}: the value, with its name.
  std::optional<AnswerValue> NamedValue(TermId name, TermId value) {
    if (!IsVariable(name) || IsNumberLike(value) || pool_[value].kind == TermKind::kRelation) {
      return std::nullopt;
    }
    for (const char* call : {"And", "Eq", "Negation", "list"}) {
      if (IsCall(value, call)) return std::nullopt;
    }
    AnswerValue result = Read(value);
    result.name = name;
    return result;
  }

  static AnswerValue Opaque(TermId id) {
    AnswerValue value;
    value.kind = Kind::kOpaque;
    value.term = id;
    return value;
  }

  bool AreNumbers(TermId a, TermId b) const { return IsNumberLike(a) && IsNumberLike(b); }
  bool IsNumberLike(TermId id) const {
    const Term& term = pool_[id];
    if (term.kind == TermKind::kTuple || term.kind == TermKind::kRelation) return false;
    if (term.kind != TermKind::kCall) return true;
    for (const char* name : {"set", "Union", "And", "Eq", "Negation", "list"}) {
      if (IsCall(id, name)) return false;
    }
    return pool_.Text(term.label).compare(0, 9, "Interval_") != 0;
  }

  // --- sets of reals -----------------------------------------------------------------------------

  bool IsInfinite(TermId id) const {
    return pool_[id].kind == TermKind::kInfinity || pool_[id].kind == TermKind::kNegativeInfinity;
  }

  // An interval in brackets; with `pairs`, (a, b) too.
  std::optional<Interval> IntervalOf(TermId id, bool pairs) const {
    const Term& term = pool_[id];
    if (term.num_arguments != 2) return std::nullopt;
    const TermId low = pool_.Argument(id, 0);
    const TermId high = pool_.Argument(id, 1);
    if (!AreNumbers(low, high)) return std::nullopt;
    if (term.kind == TermKind::kTuple && pairs) return Interval{low, high, false, false};
    if (IsCall(id, "Interval_left_close_right_close")) return Interval{low, high, true, true};
    if (IsCall(id, "Interval_left_close_right_open")) return Interval{low, high, true, false};
    if (IsCall(id, "Interval_left_open_right_close")) return Interval{low, high, false, true};
    return std::nullopt;
  }

  // v < c, c <= v, ... of one variable other than x and y against a constant.
  std::optional<Interval> HalfLineOf(const AnswerValue& less) {
    const auto is_constant = [&](TermId id) { return pool_[id].plain && !pool_[id].has_symbol; };
    if (IsVariable(less.left) && is_constant(less.right)) return Below(less.right, less.closed);
    if (is_constant(less.left) && IsVariable(less.right)) return Above(less.left, less.closed);
    return LinearHalfLineOf(less);
  }

  Interval Below(TermId end, bool closed) {
    return {pool_.MakeConstant(TermKind::kNegativeInfinity), end, false, closed};
  }
  Interval Above(TermId end, bool closed) {
    return {end, pool_.MakeConstant(TermKind::kInfinity), closed, false};
  }

  // 2 e < 2: 0 < c v + d with numbers c and d.
  std::optional<Interval> LinearHalfLineOf(const AnswerValue& less) {
    if (!pool_[less.left].plain || !pool_[less.right].plain) return std::nullopt;
    const TermId f = identities_.Minus(less.right, less.left);
    TermId variable = kNoTerm;
    for (const TermId symbol : identities_.SymbolsOf(f)) {
      if (pool_[symbol].kind != TermKind::kSymbol) continue;  // pi
      if (variable != kNoTerm || !IsVariable(symbol)) return std::nullopt;
      variable = symbol;
    }
    if (variable == kNoTerm) return std::nullopt;
    const TermId d = identities_.Substitute(f, {{variable, pool_.MakeWhole(0)}});
    const TermId c =
        identities_.Minus(identities_.Substitute(f, {{variable, pool_.MakeWhole(1)}}), d);
    const TermId rest = identities_.Minus(identities_.Minus(f, identities_.Times(c, variable)), d);
    if (!identities_.IsZero(rest)) return std::nullopt;
    const std::optional<int> sign = identities_.Sign(c);
    if (!sign.has_value() || *sign == 0) return std::nullopt;
    const TermId inverse = pool_.Make(TermKind::kPower, kNoLabel, {c, pool_.MakeWhole(-1)});
    const TermId end = identities_.Times(identities_.Minus(pool_.MakeWhole(0), d), inverse);
    return *sign > 0 ? Above(end, less.closed) : Below(end, less.closed);
  }

  AnswerValue ReadUnion(TermId id) {
    AnswerValue reals;
    reals.kind = Kind::kReals;
    for (const TermId part : pool_.Arguments(id)) {
      if (!AddPiece(part, &reals)) return Opaque(id);
    }
    return reals;
  }

  // An interval, a pair read as an open one, a set of numbers, or a union, as a part of `reals`.
  bool AddPiece(TermId part, AnswerValue* reals) {
    if (const std::optional<Interval> interval = IntervalOf(part, /*pairs=*/true)) {
      reals->intervals.push_back(*interval);
      return true;
    }
    if (IsCall(part, "set")) {
      for (const TermId item : pool_.Arguments(part)) {
        if (IntervalOf(item, true) || IsCall(item, "Union")) {
          if (!AddPiece(item, reals)) return false;
        } else if (IsNumberLike(item)) {
          reals->intervals.push_back({item, item, true, true});
        } else {
          return false;
        }
      }
      return true;
    }
    if (IsCall(part, "Union")) {
      for (const TermId inner : pool_.Arguments(part)) {
        if (!AddPiece(inner, reals)) return false;
      }
      return true;
    }
    return false;
  }

  // Intervals of which one shows by a square bracket or an infinite end that it is no pair.
  bool IsSetOfIntervals(TermId id) const {
    bool shown = false;
    for (const TermId item : pool_.Arguments(id)) {
      if (IsCall(item, "Union")) {
        shown = true;
        continue;
      }
      const std::optional<Interval> interval = IntervalOf(item, true);
      if (!interval.has_value()) return false;
      shown = shown || interval->low_closed || interval->high_closed || IsInfinite(interval->low) ||
              IsInfinite(interval->high);
    }
    return shown;
  }

  AnswerValue ReadSet(TermId id) {
    if (IsSetOfIntervals(id)) {
      AnswerValue reals;
      reals.kind = Kind::kReals;
      if (AddPiece(id, &reals) && !Contains(id, pool_.MakeSymbol("pm"))) return reals;
    }
    AnswerValue set;
    set.kind = Kind::kSet;
    for (const TermId item : pool_.Arguments(id)) {
      AnswerValue value = Read(item);
      // Both signs of an element are elements.
      if (value.kind == Kind::kSet && !IsCall(item, "set")) {
        set.items.insert(set.items.end(), value.items.begin(), value.items.end());
      } else {
        set.items.push_back(std::move(value));
      }
    }
    return set;
  }

  // --- conditions --------------------------------------------------------------------------------

  // Negation(x = pm*2) is two conditions, and (x > 0, y > 0) among conditions is two.
  TermId WithSplitNegations(TermId id) {
    const TermId pm = pool_.MakeSymbol("pm");
    std::vector<TermId> conditions;
    std::vector<TermId> waiting = pool_.Arguments(id);
    std::reverse(waiting.begin(), waiting.end());
    while (!waiting.empty()) {
      const TermId condition = waiting.back();
      waiting.pop_back();
      if (IsCall(condition, "And") || IsGroupOfConditions(condition)) {
        std::vector<TermId> inner = pool_.Arguments(condition);
        waiting.insert(waiting.end(), inner.rbegin(), inner.rend());
      } else if (IsCall(condition, "Negation") && Contains(condition, pm)) {
        for (const int64_t sign : {1, -1}) {
          conditions.push_back(identities_.Substitute(condition, {{pm, pool_.MakeWhole(sign)}}));
        }
      } else {
        conditions.push_back(condition);
      }
    }
    return pool_.MakeCall("And", conditions);
  }

  bool IsGroupOfConditions(TermId id) const {
    if (pool_[id].kind != TermKind::kTuple) return false;
    const std::vector<TermId> items = pool_.Arguments(id);
    return std::all_of(items.begin(), items.end(), [&](TermId item) {
      return pool_[item].kind == TermKind::kRelation || IsCall(item, "Eq") ||
             IsCall(item, "Negation") || IsCall(item, "And");
    });
  }

  AnswerValue ReadConditions(TermId id) {
    const std::vector<TermId> conditions = pool_.Arguments(id);
    if (std::optional<AnswerValue> reals = IntervalWithoutPoints(conditions)) return *reals;
    AnswerValue value;
    value.kind = Kind::kConditions;
    for (const TermId condition : conditions) value.items.push_back(Read(condition));
    if (std::optional<AnswerValue> reals = MeetOfHalfLines(conditions, value)) return *reals;
    return value;
  }

  // (-5, 2) & Negation(k = -1/3)
  std::optional<AnswerValue> IntervalWithoutPoints(const std::vector<TermId>& conditions) {
    AnswerValue reals;
    reals.kind = Kind::kReals;
    bool has_set = false;
    TermId variable = kNoTerm;
    for (const TermId condition : conditions) {
      const bool is_interval = IntervalOf(condition, true).has_value();
      if (!has_set && (is_interval || IsCall(condition, "Union"))) {
        has_set = true;
        if (!AddPiece(condition, &reals)) return std::nullopt;
        continue;
      }
      if (!IsCall(condition, "Negation") || pool_[condition].num_arguments != 1) {
        return std::nullopt;
      }
      const TermId inner = pool_.Argument(condition, 0);
      if (!IsCall(inner, "Eq") || pool_[inner].num_arguments != 2) return std::nullopt;
      const TermId left = pool_.Argument(inner, 0);
      if (pool_[left].kind != TermKind::kSymbol || IsCoordinate(pool_, left) ||
          (variable != kNoTerm && variable != left)) {
        return std::nullopt;
      }
      variable = left;
      reals.removed.push_back(pool_.Argument(inner, 1));
    }
    if (!has_set || reals.removed.empty()) return std::nullopt;
    return reals;
  }

  // 0 < e <= 1: conditions on one variable are one interval.
  std::optional<AnswerValue> MeetOfHalfLines(const std::vector<TermId>& conditions,
                                             const AnswerValue& value) {
    std::vector<TermId> variables;
    Interval meet{pool_.MakeConstant(TermKind::kNegativeInfinity),
                  pool_.MakeConstant(TermKind::kInfinity), false, false};
    for (size_t i = 0; i < conditions.size(); ++i) {
      if (pool_[conditions[i]].kind != TermKind::kRelation || value.items[i].kind != Kind::kReals) {
        return std::nullopt;
      }
      for (const TermId symbol : identities_.SymbolsOf(conditions[i])) {
        if (pool_[symbol].kind == TermKind::kSymbol) variables.push_back(symbol);
      }
      // Each side may be bounded once; else an intersection would have to be worked out.
      const Interval& half = value.items[i].intervals.front();
      const bool bounds_low = !IsInfinite(half.low);
      TermId& end = bounds_low ? meet.low : meet.high;
      if (!IsInfinite(end)) return std::nullopt;
      end = bounds_low ? half.low : half.high;
      (bounds_low ? meet.low_closed : meet.high_closed) =
          bounds_low ? half.low_closed : half.high_closed;
    }
    std::sort(variables.begin(), variables.end());
    if (variables.empty() || variables.front() != variables.back()) return std::nullopt;
    AnswerValue reals;
    reals.kind = Kind::kReals;
    reals.intervals.push_back(meet);
    return reals;
  }

  TermPool& pool_;
  Identities& identities_;
};

}  // namespace

bool IsCoordinate(const TermPool& pool, TermId id) {
  if (pool[id].kind != TermKind::kSymbol) return false;
  const std::string& name = pool.Text(pool[id].label);
  return name == "x" || name == "y";
}

AnswerValue ValueOf(TermId id, TermPool* pool, Identities* identities) {
  return ValueReader(pool, identities).Read(id);
}

}  // namespace ckv::conic
