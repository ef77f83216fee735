#include "conic/identity.h"

#include <algorithm>
#include <string>

namespace ckv::conic {

uint64_t Identities::NextRandom() {
  state_ += 0x9e3779b97f4a7c15ull;
  uint64_t value = state_;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
  return value ^ (value >> 31);
}

TermId Identities::RandomNumber(int sign) {
  const auto num = static_cast<int64_t>(1'000'003 + NextRandom() % 3'000'000);
  const auto den = static_cast<int64_t>(1'000'000 + NextRandom() % 1'000'000);
  return pool_.MakeRationalTerm(*MakeRational(sign < 0 ? -num : num, den));
}

// pi but for some of the digits behind the fiftieth.
TermId Identities::NearPi() {
  std::string digits = "3.14159265358979323846264338327950288419716939937510";
  for (int i = 0; i < 12; ++i) digits += static_cast<char>('0' + NextRandom() % 10);
  return pool_.MakeNumber(ReadLiteral(digits + "7"));
}

TermId Identities::Minus(TermId a, TermId b) {
  const TermId negative = pool_.Make(TermKind::kProduct, kNoLabel, {pool_.MakeWhole(-1), b});
  return pool_.Make(TermKind::kSum, kNoLabel, {a, negative});
}

TermId Identities::Times(TermId a, TermId b) {
  return pool_.Make(TermKind::kProduct, kNoLabel, {a, b});
}

std::vector<TermId> Identities::SymbolsOf(TermId id) const {
  std::vector<TermId> symbols;
  std::vector<TermId> stack{id};
  while (!stack.empty()) {
    const TermId top = stack.back();
    stack.pop_back();
    const TermKind kind = pool_[top].kind;
    if (kind == TermKind::kSymbol || kind == TermKind::kPi) symbols.push_back(top);
    for (uint32_t i = 0; i < pool_[top].num_arguments; ++i) {
      stack.push_back(pool_.Argument(top, i));
    }
  }
  std::sort(symbols.begin(), symbols.end());
  symbols.erase(std::unique(symbols.begin(), symbols.end()), symbols.end());
  return symbols;
}

TermId Identities::Substitute(TermId id, const Point& images) {
  const auto image = images.find(id);
  if (image != images.end()) return image->second;
  const Term term = pool_[id];
  if (term.num_arguments == 0) return id;
  std::vector<TermId> arguments = pool_.Arguments(id);
  for (TermId& argument : arguments) argument = Substitute(argument, images);
  return pool_.Make(term.kind, term.label, arguments);
}

Identities::Point Identities::PointFor(const std::vector<TermId>& symbols, int round) {
  Point point;
  for (const TermId symbol : symbols) {
    if (pool_[symbol].kind == TermKind::kPi) {
      point.emplace(symbol, NearPi());
      continue;
    }
    // All positive, all negative, then mixed.
    const int sign = round == 0 ? 1 : round == 1 ? -1 : NextRandom() % 2 == 0 ? 1 : -1;
    point.emplace(symbol, RandomNumber(sign));
  }
  return point;
}

Verdict Identities::IsZeroAt(TermId id, const Point& point) {
  return arithmetic_.IsZero(pool_, Substitute(id, point));
}

bool Identities::IsZero(TermId id) {
  const std::vector<TermId> symbols = SymbolsOf(id);
  if (symbols.empty()) return arithmetic_.IsZero(pool_, id) == Verdict::kYes;
  int round = 0;
  for (int tries = 0; tries < kMaxTries && round < kRounds; ++tries) {
    const Verdict verdict = IsZeroAt(id, PointFor(symbols, round));
    if (verdict == Verdict::kNo) return false;
    if (verdict == Verdict::kYes) ++round;
  }
  return round == kRounds;
}

bool Identities::AreProportional(TermId f, TermId g, const std::vector<TermId>& moving) {
  std::vector<TermId> symbols = SymbolsOf(f);
  const std::vector<TermId> others = SymbolsOf(g);
  symbols.insert(symbols.end(), others.begin(), others.end());
  std::sort(symbols.begin(), symbols.end());
  symbols.erase(std::unique(symbols.begin(), symbols.end()), symbols.end());
  std::vector<TermId> moved;
  std::vector<TermId> parameters;
  for (const TermId symbol : symbols) {
    const bool moves = std::find(moving.begin(), moving.end(), symbol) != moving.end();
    (moves ? moved : parameters).push_back(symbol);
  }
  int round = 0;
  for (int tries = 0; tries < kMaxTries && round < kRounds; ++tries) {
    const Point fixed = PointFor(parameters, round);
    Point here = fixed;
    Point there = fixed;
    for (const auto& [symbol, value] : PointFor(moved, round)) here.emplace(symbol, value);
    for (const auto& [symbol, value] : PointFor(moved, kRounds)) there.emplace(symbol, value);
    const TermId f_here = Substitute(f, here);
    const TermId g_here = Substitute(g, here);
    if (arithmetic_.IsZero(pool_, f_here) != Verdict::kNo ||
        arithmetic_.IsZero(pool_, g_here) != Verdict::kNo) {
      continue;
    }
    const Verdict verdict = arithmetic_.IsZero(
        pool_, Minus(Times(f_here, Substitute(g, there)), Times(Substitute(f, there), g_here)));
    if (verdict == Verdict::kNo) return false;
    if (verdict == Verdict::kYes) ++round;
  }
  return round == kRounds;
}

int Identities::SignOfRatio(TermId f, TermId g) {
  std::vector<TermId> all = SymbolsOf(f);
  const std::vector<TermId> others = SymbolsOf(g);
  all.insert(all.end(), others.begin(), others.end());
  // pi is a number, not a variable.
  all.erase(std::remove_if(all.begin(), all.end(),
                           [&](TermId id) { return pool_[id].kind == TermKind::kPi; }),
            all.end());
  if (!AreProportional(f, g, all)) return 0;
  for (int tries = 0; tries < kMaxTries; ++tries) {
    const Point point = PointFor(all, tries % kRounds);
    const std::optional<int> sign =
        arithmetic_.Sign(pool_, Times(Substitute(f, point), Substitute(g, point)));
    if (sign.has_value()) return *sign;
  }
  return 0;
}

}  // namespace ckv::conic
