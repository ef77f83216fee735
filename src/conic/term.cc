#include "conic/term.h"

#include <algorithm>

#include "base/error.h"

namespace ckv::conic {
namespace {

size_t Mix(size_t seed, size_t value) {
  return (seed ^ (value + 0x9e3779b97f4a7c15ull + (seed << 6) + (seed >> 2))) *
         0xff51afd7ed558ccdull;
}

std::string NumberText(const TermPool& pool, TermId id) {
  const Literal& literal = pool.Number(id);
  switch (pool[id].kind) {
    case TermKind::kDecimal:
      return "float:" + ShortestDouble(literal.value);
    case TermKind::kRational:
      return Str(literal.exact->num, "/", literal.exact->den);
    default:
      break;
  }
  const std::string& canonical = literal.canonical;
  const size_t exponent = canonical.find('e');
  if (exponent == std::string::npos) return canonical;
  const size_t zeros = std::stoul(canonical.substr(exponent + 1));
  return canonical.substr(0, exponent) + std::string(zeros, '0');
}

const char* HeadOf(TermKind kind) {
  switch (kind) {
    case TermKind::kSum:
      return "+";
    case TermKind::kProduct:
      return "*";
    case TermKind::kPower:
      return "^";
    case TermKind::kTuple:
      return "tuple";
    default:
      return "";
  }
}

void Append(const TermPool& pool, TermId id, std::string* text) {
  const Term& term = pool[id];
  switch (term.kind) {
    case TermKind::kWhole:
    case TermKind::kDecimal:
    case TermKind::kRational:
      *text += NumberText(pool, id);
      return;
    case TermKind::kInfinity:
      *text += "oo";
      return;
    case TermKind::kNegativeInfinity:
      *text += "-oo";
      return;
    case TermKind::kPi:
      *text += "pi";
      return;
    case TermKind::kEuler:
      *text += "E";
      return;
    case TermKind::kImaginary:
      *text += "I";
      return;
    case TermKind::kTruth:
      *text += "builtin.Boolean" + pool.Text(term.label);
      return;
    case TermKind::kSymbol:
      *text += pool.Text(term.label);
      if (term.concept_label != kNoLabel) *text += ":" + pool.Text(term.concept_label);
      return;
    default:
      break;
  }
  *text += "(";
  if (term.kind == TermKind::kBuiltin || term.kind == TermKind::kOpaque) *text += "builtin.";
  *text += term.label != kNoLabel ? pool.Text(term.label) : HeadOf(term.kind);
  for (uint32_t i = 0; i < term.num_arguments; ++i) {
    *text += " ";
    Append(pool, pool.Argument(id, i), text);
  }
  *text += ")";
}

}  // namespace

TermPool::TermPool() : index_(64, Hash{this}, Equal{this}) {}

size_t TermPool::Hash::operator()(TermId id) const {
  const Term& term = pool->terms_[id];
  size_t hash =
      Mix(static_cast<size_t>(term.kind) * 4 + static_cast<size_t>(term.side), term.label);
  hash = Mix(hash, term.concept_label);
  for (uint32_t i = 0; i < term.num_arguments; ++i) hash = Mix(hash, pool->Argument(id, i));
  return hash;
}

bool TermPool::Equal::operator()(TermId a, TermId b) const {
  const Term& left = pool->terms_[a];
  const Term& right = pool->terms_[b];
  if (left.kind != right.kind || left.side != right.side || left.label != right.label ||
      left.concept_label != right.concept_label || left.num_arguments != right.num_arguments) {
    return false;
  }
  for (uint32_t i = 0; i < left.num_arguments; ++i) {
    if (pool->Argument(a, i) != pool->Argument(b, i)) return false;
  }
  return true;
}

std::vector<TermId> TermPool::Arguments(TermId id) const {
  const auto begin = arguments_.begin() + terms_[id].first_argument;
  return {begin, begin + terms_[id].num_arguments};
}

LabelId TermPool::Label(std::string_view text) {
  const auto [entry, is_new] =
      labels_.emplace(std::string(text), static_cast<LabelId>(texts_.size()));
  if (is_new) texts_.emplace_back(text);
  return entry->second;
}

TermId TermPool::Intern(Term term, const std::vector<TermId>& arguments) {
  const auto id = static_cast<TermId>(terms_.size());
  term.first_argument = static_cast<uint32_t>(arguments_.size());
  term.num_arguments = static_cast<uint32_t>(arguments.size());
  for (const TermId argument : arguments) {
    const Term& inner = terms_[argument];
    term.plain = term.plain && inner.plain;
    term.hopeless = term.hopeless || inner.hopeless;
    term.has_symbol = term.has_symbol || inner.has_symbol;
    term.has_alignable = term.has_alignable || inner.has_alignable;
    term.depth = std::max<uint16_t>(term.depth, static_cast<uint16_t>(inner.depth + 1));
  }
  arguments_.insert(arguments_.end(), arguments.begin(), arguments.end());
  terms_.push_back(term);
  const auto [entry, is_new] = index_.insert(id);
  if (!is_new) {
    terms_.pop_back();
    arguments_.resize(arguments_.size() - arguments.size());
  }
  return *entry;
}

TermId TermPool::MakeNumber(const Literal& literal) {
  Term term;
  term.kind = literal.is_decimal ? TermKind::kDecimal : TermKind::kWhole;
  term.label = Label(literal.canonical);
  term.number = static_cast<uint32_t>(numbers_.size());
  const TermId id = Intern(term, {});
  if (terms_[id].number == numbers_.size()) numbers_.push_back(literal);
  return id;
}

TermId TermPool::MakeRationalTerm(const Rational& value) {
  if (value.den == 1) return MakeWhole(value.num);
  Literal literal;
  literal.canonical = Str(value.num, "/", value.den);
  literal.exact = value;
  literal.value = ToDouble(value);
  Term term;
  term.kind = TermKind::kRational;
  term.label = Label(literal.canonical);
  term.number = static_cast<uint32_t>(numbers_.size());
  const TermId id = Intern(term, {});
  if (terms_[id].number == numbers_.size()) numbers_.push_back(literal);
  return id;
}

TermId TermPool::MakeConstant(TermKind kind) {
  Term term;
  term.kind = kind;
  return Intern(term, {});
}

TermId TermPool::MakeTruth(bool value) {
  Term term;
  term.kind = TermKind::kTruth;
  term.plain = false;
  term.hopeless = true;
  term.label = Label(value ? "True" : "False");
  return Intern(term, {});
}

TermId TermPool::MakeSymbol(std::string_view name, LabelId concept_label, Side side) {
  Term term;
  term.kind = TermKind::kSymbol;
  term.label = Label(name);
  term.concept_label = concept_label;
  term.side = side;
  term.has_symbol = true;
  term.has_alignable = side != Side::kShared;
  return Intern(term, {});
}

TermId TermPool::Make(TermKind kind, LabelId label, const std::vector<TermId>& arguments) {
  Term term;
  term.kind = kind;
  term.label = label;
  term.hopeless = kind == TermKind::kOpaque;
  term.plain = kind == TermKind::kSum || kind == TermKind::kProduct || kind == TermKind::kPower;
  return Intern(term, arguments);
}

std::string ToText(const TermPool& pool, TermId id) {
  std::string text;
  Append(pool, id, &text);
  return text;
}

}  // namespace ckv::conic
