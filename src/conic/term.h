// Terms of the formal language: trees whose equal parts are stored once.
//
// A pool owns the terms of one question, both sides of it. Equal trees get equal ids, so that two
// terms that are written alike compare by one comparison of numbers.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "conic/number.h"

namespace ckv::conic {

using TermId = uint32_t;
using LabelId = uint32_t;
constexpr TermId kNoTerm = UINT32_MAX;
constexpr LabelId kNoLabel = UINT32_MAX;

enum class TermKind : uint8_t {
  kWhole,     // a whole number
  kDecimal,   // a decimal
  kRational,  // 1/2 and 1/3, from sqrt and cbrt, and numbers folded by Rebuild
  kInfinity,
  kNegativeInfinity,
  kPi,
  kEuler,
  kImaginary,
  kSymbol,
  kCall,     // an operator
  kBuiltin,  // a function that has a value: Abs, log, sin, ...
  kSum,
  kProduct,
  kPower,
  kRelation,  // < > <= >= !=
  kTuple,
  kTruth,
  kOpaque,  // what is counted and matches nothing: a | b, ~a, a % b, a // b
};

// Whose name a symbol is: one that both sides share, or one of a side that is still to be aligned.
enum class Side : uint8_t { kShared, kGold, kPredicted };

struct Term {
  TermKind kind = TermKind::kWhole;
  Side side = Side::kShared;
  bool plain = true;           // no call, built-in function, tuple, relation or truth value inside
  bool hopeless = false;       // a truth value or an opaque term is inside
  bool has_symbol = false;     // a symbol is inside
  bool has_alignable = false;  // a symbol of a side is inside
  uint16_t depth = 1;
  LabelId label = kNoLabel;  // name of a symbol, operator, relation; canonical form of a number
  LabelId concept_label = kNoLabel;  // of a declared symbol
  uint32_t number = 0;               // index of the literal of a number
  uint32_t first_argument = 0;
  uint32_t num_arguments = 0;
};

class TermPool {
 public:
  TermPool();
  TermPool(const TermPool&) = delete;
  TermPool& operator=(const TermPool&) = delete;

  const Term& operator[](TermId id) const { return terms_[id]; }
  size_t size() const { return terms_.size(); }
  TermId Argument(TermId id, uint32_t i) const { return arguments_[terms_[id].first_argument + i]; }
  std::vector<TermId> Arguments(TermId id) const;

  LabelId Label(std::string_view text);
  const std::string& Text(LabelId label) const { return texts_[label]; }
  const Literal& Number(TermId id) const { return numbers_[terms_[id].number]; }

  TermId MakeNumber(const Literal& literal);
  TermId MakeWhole(int64_t value) { return MakeNumber(WholeLiteral(value)); }
  TermId MakeRationalTerm(const Rational& value);
  // kInfinity ... kImaginary.
  TermId MakeConstant(TermKind kind);
  TermId MakeTruth(bool value);
  TermId MakeSymbol(std::string_view name, LabelId concept_label = kNoLabel,
                    Side side = Side::kShared);
  TermId Make(TermKind kind, LabelId label, const std::vector<TermId>& arguments);
  TermId MakeCall(std::string_view name, const std::vector<TermId>& arguments) {
    return Make(TermKind::kCall, Label(name), arguments);
  }

  bool IsNumber(TermId id) const { return terms_[id].kind <= TermKind::kRational; }
  // A number or an infinity.
  bool IsExtendedNumber(TermId id) const { return terms_[id].kind <= TermKind::kNegativeInfinity; }

 private:
  struct Hash {
    const TermPool* pool;
    size_t operator()(TermId id) const;
  };
  struct Equal {
    const TermPool* pool;
    bool operator()(TermId a, TermId b) const;
  };
  // Takes the arguments behind the last term's.
  TermId Intern(Term term, const std::vector<TermId>& arguments);

  std::vector<Term> terms_;
  std::vector<TermId> arguments_;
  std::vector<Literal> numbers_;
  std::vector<std::string> texts_;
  std::unordered_map<std::string, LabelId> labels_;
  std::unordered_set<TermId, Hash, Equal> index_;
};

// Labels of relations.
constexpr const char* kRelationSigns[] = {"<", ">", "<=", ">=", "!="};

// The tree as an S-expression: (Eq (Focus G:Parabola) F), (* -1 (^ x 2)), float:0.5.
std::string ToText(const TermPool& pool, TermId id);

}  // namespace ckv::conic
