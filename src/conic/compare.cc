#include "conic/compare.h"

#include <string>
#include <utility>

#include "conic/operators.h"
#include "conic/rebuild.h"

namespace ckv::conic {

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
  if (strict_ && SameTurnedChain(a, b)) return true;
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

// Strict: a > b > 0 and 0 < b < a.
bool Comparer::SameTurnedChain(TermId a, TermId b) {
  const uint32_t n = pool_[a].num_arguments;
  if (pool_[a].kind != TermKind::kCall || pool_.Text(pool_[a].label) != "And" || n < 2 ||
      pool_[b].num_arguments != n) {
    return false;
  }
  for (uint32_t i = 0; i < n; ++i) {
    if (!SameFlipped(pool_.Argument(a, i), pool_.Argument(b, n - 1 - i))) return false;
  }
  return true;
}

// Calls as symbols, equal ones for equal calls: a multiple of an equation with a distance in it is
// one of an equation with a symbol.
TermId Comparer::WithoutCalls(TermId id, std::vector<std::pair<TermId, TermId>>* calls) {
  const Term term = pool_[id];
  if (term.plain || term.kind == TermKind::kTuple || term.kind == TermKind::kRelation) return id;
  if (term.kind == TermKind::kCall) {
    if (pool_.Text(term.label) == "Eq") return id;
    for (const auto& [known, symbol] : *calls) {
      if (Same(known, id)) return symbol;
    }
    calls->emplace_back(id, pool_.MakeSymbol(" call " + std::to_string(calls->size())));
    return calls->back().second;
  }
  if (term.num_arguments == 0) return id;
  std::vector<TermId> arguments = pool_.Arguments(id);
  for (TermId& argument : arguments) argument = WithoutCalls(argument, calls);
  return pool_.Make(term.kind, term.label, arguments);
}

// Strict: equations f = 0 and g = 0 with f a multiple of g that is free of x and y.
bool Comparer::SameEquation(TermId a, TermId b) {
  if (pool_[a].num_arguments != 2 || pool_[b].num_arguments != 2) return false;
  std::vector<std::pair<TermId, TermId>> calls;
  TermId sides[4];
  for (uint32_t i = 0; i < 4; ++i) {
    sides[i] = WithoutCalls(pool_.Argument(i < 2 ? a : b, i % 2), &calls);
    if (!pool_[sides[i]].plain) return false;
  }
  const TermId minus = pool_.MakeWhole(-1);
  const auto difference = [&](TermId left, TermId right) {
    const TermId negative = pool_.Make(TermKind::kProduct, kNoLabel, {minus, right});
    return pool_.Make(TermKind::kSum, kNoLabel, {left, negative});
  };
  const TermId f = difference(sides[0], sides[1]);
  const TermId g = difference(sides[2], sides[3]);
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
  // Where names coincide a difference of two may vanish, which says nothing of other alignments.
  const auto proportional = [this](const Value& f1, const Value& g1, const Value& f2,
                                   const Value& g2) {
    if (!f1.defined || !g1.defined || !f2.defined || !g2.defined) return optimistic_;
    const double tiny = 1e-10;
    if (std::abs(f1.value) < tiny * f1.size || std::abs(g1.value) < tiny * g1.size) {
      return optimistic_;
    }
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

}  // namespace ckv::conic
