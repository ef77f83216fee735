#include "conic/answer_parser.h"

#include <algorithm>
#include <utility>

#include "base/str.h"
#include "conic/operators.h"
#include "conic/parser.h"
#include "conic/problems.h"
#include "conic/rebuild.h"
#include "text/utf8.h"

namespace ckv::conic {
namespace {

struct Replacement {
  std::string_view from;
  std::string_view to;
};
constexpr Replacement kReplacements[] = {
    {"，", ","}, {"；", ";"}, {"：", ":"}, {"（", "("}, {"）", ")"}, {"［", "["}, {"］", "]"},
    {"｛", "{"}, {"｝", "}"}, {"＝", "="}, {"－", "-"}, {"＋", "+"}, {"＜", "<"}, {"＞", ">"},
    {"、", ","}, {"−", "-"},  {"∞", "oo"}, {"×", "*"},  {"·", "*"},  {"÷", "/"},  {"**", "^"},
};

class AnswerParser {
 public:
  AnswerParser(const std::vector<Token>& tokens, TermPool* pool, ReadFault* fault)
      : tokens_(tokens), pool_(*pool), fault_(*fault) {}

  std::optional<TermId> Run() {
    if (Is(TokenKind::kEnd)) {
      Fail("an answer is expected, but there is none");
      return std::nullopt;
    }
    std::vector<TermId> pieces;
    if (!List("", &pieces)) return std::nullopt;
    return pieces.size() == 1 ? pieces.front() : pool_.MakeCall("list", pieces);
  }

 private:
  const Token& Now() const { return tokens_[at_]; }
  bool Is(TokenKind kind) const { return Now().kind == kind; }
  bool Sign(std::string_view sign) const {
    return Now().kind == TokenKind::kSign && Now().text == sign;
  }
  bool Take(std::string_view sign) {
    if (!Sign(sign)) return false;
    ++at_;
    return true;
  }
  std::string Found() const {
    if (Is(TokenKind::kEnd)) return "the end";
    return Str("'", ReplaceInvalidUtf8(Now().text.substr(0, 40)), "'");
  }
  bool Fail(std::string what) { return FailAt(at_, std::move(what)); }
  bool FailAt(size_t token, std::string what) {
    fault_ = {tokens_[token].offset, std::move(what)};
    return false;
  }
  bool Made(TermId id, size_t token) {
    if (pool_[id].depth <= ReadLimits::kMaxDepth) return true;
    return FailAt(token, Str("nested deeper than ", ReadLimits::kMaxDepth, " terms"));
  }

  bool AtEnd(std::string_view closers) const {
    if (closers.empty()) return Is(TokenKind::kEnd);
    return Is(TokenKind::kSign) && closers.find(Now().text) != std::string_view::npos &&
           Now().text.size() == 1;
  }

  // Values between commas, up to one of `closers`, which stays.
  bool List(std::string_view closers, std::vector<TermId>* pieces) {
    do {
      TermId id = kNoTerm;
      if (!Conditions(&id)) return false;
      pieces->push_back(id);
    } while (Take(","));
    if (AtEnd(closers)) return true;
    return Fail(Str(closers.empty() ? std::string("an operator, ',' or the end")
                                    : Str("an operator, ',' or '", closers[0], "'"),
                    " is expected, found ", Found()));
  }

  // Relations joined by "&".
  bool Conditions(TermId* id) {
    const size_t first = at_;
    std::vector<TermId> conditions;
    do {
      if (!Relation(&conditions)) return false;
    } while (Take("&"));
    *id = conditions.size() == 1 ? conditions.front() : pool_.MakeCall("And", conditions);
    return Made(*id, first);
  }

  // One value, an equation, or a chain of comparisons, which is several conditions.
  bool Relation(std::vector<TermId>* conditions) {
    TermId left = kNoTerm;
    if (!Sum(&left)) return false;
    int num_relations = 0;
    bool equation = false;
    while (Is(TokenKind::kSign) && IsRelation(Now().text)) {
      const size_t token = at_++;
      TermId right = kNoTerm;
      if (!Sum(&right)) return false;
      const std::string_view sign = tokens_[token].text;
      equation = equation || sign == "=" || sign == "==" || sign == "!=";
      if (++num_relations > 1 && equation) {
        return FailAt(token, "a chain may hold '<', '<=', '>' and '>=' only");
      }
      if (sign == "=" || sign == "==") {
        conditions->push_back(pool_.MakeCall("Eq", {left, right}));
      } else if (sign == "!=") {
        conditions->push_back(pool_.MakeCall("Negation", {pool_.MakeCall("Eq", {left, right})}));
      } else {
        // As "less" only: a > b is b < a.
        const bool less = sign[0] == '<';
        conditions->push_back(
            pool_.Make(TermKind::kRelation, pool_.Label(sign.size() == 1 ? "<" : "<="),
                       less ? std::vector<TermId>{left, right} : std::vector<TermId>{right, left}));
      }
      if (!Made(conditions->back(), token)) return false;
      left = right;
    }
    if (num_relations == 0) conditions->push_back(left);
    return true;
  }

  static bool IsRelation(std::string_view sign) {
    return sign == "=" || sign == "==" || sign == "!=" || sign == "<" || sign == ">" ||
           sign == "<=" || sign == ">=";
  }

  bool IsScalar(TermId id) const {
    const Term& term = pool_[id];
    if (term.kind == TermKind::kTuple || term.kind == TermKind::kRelation) return false;
    if (term.kind != TermKind::kCall) return true;
    const std::string& name = pool_.Text(term.label);
    return name != "set" && name != "Union" && name != "And" && name != "Eq" &&
           name != "Negation" && name != "list" && name.compare(0, 9, "Interval_") != 0;
  }
  bool Scalar(TermId id, size_t token) {
    return IsScalar(id) || FailAt(token, Str("'", tokens_[token].text, "' needs numbers"));
  }

  // A sum of numbers, or a union of sets.
  bool Sum(TermId* id) {
    const size_t first = at_;
    if (!Product(id)) return false;
    if (!Sign("+") && !Sign("-")) return true;
    std::vector<TermId> parts{*id};
    bool numbers = IsScalar(*id);
    while (Sign("+") || Sign("-")) {
      const size_t token = at_++;
      TermId right = kNoTerm;
      if (!Product(&right)) return false;
      const bool is_number = IsScalar(right);
      if (is_number != numbers || (!numbers && tokens_[token].text == "-")) {
        return FailAt(token, Str("'", tokens_[token].text, "' joins numbers, or '+' sets"));
      }
      parts.push_back(tokens_[token].text == "-" ? Negate(right, &pool_) : right);
    }
    *id = numbers ? pool_.Make(TermKind::kSum, kNoLabel, parts) : pool_.MakeCall("Union", parts);
    return Made(*id, first);
  }

  bool Product(TermId* id) {
    const size_t first = at_;
    if (!Signed(id)) return false;
    if (!Sign("*") && !Sign("/")) return true;
    std::vector<TermId> parts{*id};
    while (Sign("*") || Sign("/")) {
      const size_t token = at_++;
      TermId right = kNoTerm;
      if (!Scalar(parts.back(), token) || !Signed(&right) || !Scalar(right, token)) return false;
      parts.push_back(tokens_[token].text == "*" ? right : Inverse(right));
    }
    *id = pool_.Make(TermKind::kProduct, kNoLabel, parts);
    return Made(*id, first);
  }

  TermId Inverse(TermId id) {
    return pool_.Make(TermKind::kPower, kNoLabel, {id, pool_.MakeWhole(-1)});
  }

  bool Signed(TermId* id) {
    const size_t first = at_;
    bool negative = false;
    while (Sign("-") || Sign("+")) negative = (tokens_[at_++].text == "-") != negative;
    const size_t behind = at_;
    if (!PowerTerm(id)) return false;
    if (behind > first && !Scalar(*id, first)) return false;
    if (negative) *id = Negate(*id, &pool_);
    return true;
  }

  bool PowerTerm(TermId* id) {
    if (!Atom(id)) return false;
    if (!Sign("**")) return true;
    if (++num_nested_ > ReadLimits::kMaxBrackets) return Fail("too many nested powers");
    const size_t token = at_++;
    TermId exponent = kNoTerm;
    if (!Scalar(*id, token) || !Signed(&exponent) || !Scalar(exponent, token)) return false;
    --num_nested_;
    *id = pool_.Make(TermKind::kPower, kNoLabel, {*id, exponent});
    return Made(*id, token);
  }

  bool Atom(TermId* id) {
    if (Is(TokenKind::kNumber)) {
      *id = pool_.MakeNumber(ReadLiteral(Now().text));
      ++at_;
    } else if (Is(TokenKind::kName)) {
      if (!Name(id)) return false;
    } else if (Sign("(") || Sign("[") || Sign("{")) {
      if (!Bracket(id)) return false;
    } else {
      return Fail(Str("a number, a name or a bracket is expected, found ", Found()));
    }
    if (Is(TokenKind::kNumber) || Is(TokenKind::kName) || Sign("(") || Sign("[") || Sign("{")) {
      return Fail(Str("an operator is expected, found ", Found()));
    }
    return true;
  }

  bool Bracketed(std::string_view closers, std::vector<TermId>* pieces, char* closer) {
    const size_t open = at_++;
    if (++num_nested_ > ReadLimits::kMaxBrackets) {
      return FailAt(open, Str("more than ", ReadLimits::kMaxBrackets, " nested brackets"));
    }
    if (!List(closers, pieces)) return false;
    *closer = Now().text[0];
    ++at_;
    --num_nested_;
    return true;
  }

  bool Bracket(TermId* id) {
    const size_t open = at_;
    const char opener = Now().text[0];
    std::vector<TermId> pieces;
    char closer = '\0';
    if (opener == '{' && tokens_[at_ + 1].text == "}") {
      at_ += 2;
      *id = pool_.MakeCall("set", {});
      return true;
    }
    if (!Bracketed(opener == '{' ? "}" : opener == '(' ? ")]" : "])", &pieces, &closer)) {
      return false;
    }
    if (opener == '{') {
      *id = pool_.MakeCall("set", pieces);
    } else if (opener == '(' && closer == ')') {
      *id = pieces.size() == 1 ? pieces.front() : pool_.Make(TermKind::kTuple, kNoLabel, pieces);
    } else {
      if (pieces.size() != 2 || !IsScalar(pieces[0]) || !IsScalar(pieces[1])) {
        return FailAt(open, "an interval has two numbers");
      }
      *id = pool_.MakeCall(opener == '[' ? (closer == ']' ? "Interval_left_close_right_close"
                                                          : "Interval_left_close_right_open")
                                         : "Interval_left_open_right_close",
                           pieces);
    }
    return Made(*id, open);
  }

  bool Name(TermId* id) {
    const size_t token = at_++;
    const std::string name(tokens_[token].text);
    if (IsReservedWord(name)) return FailAt(token, Str("'", name, "' names nothing"));
    if (!Sign("(")) {
      if (name == "pi" || name == "oo") {
        *id = pool_.MakeConstant(name == "pi" ? TermKind::kPi : TermKind::kInfinity);
      } else {
        *id = pool_.MakeSymbol(name);
      }
      return true;
    }
    std::vector<TermId> arguments;
    char closer = '\0';
    if (tokens_[at_ + 1].text == ")") {
      at_ += 2;
    } else if (!Bracketed(")", &arguments, &closer)) {
      return false;
    }
    return Call(token, name, arguments, id) && Made(*id, token);
  }

  bool Call(size_t token, const std::string& name, const std::vector<TermId>& arguments,
            TermId* id) {
    const bool one_number = arguments.size() == 1 && IsScalar(arguments[0]);
    if (name == "sqrt" || name == "cbrt" || name == "Abs") {
      if (!one_number) return FailAt(token, Str("'", name, "' takes one number"));
      *id = name == "Abs"
                ? pool_.Make(TermKind::kBuiltin, pool_.Label("Abs"), arguments)
                : pool_.Make(TermKind::kPower, kNoLabel,
                             {arguments[0], pool_.MakeRationalTerm({1, name == "sqrt" ? 2 : 3})});
    } else if (name == "ApplyUnit") {
      const bool unit = arguments.size() == 2 && IsScalar(arguments[0]) &&
                        pool_[arguments[1]].kind == TermKind::kSymbol;
      const std::string text = unit ? pool_.Text(pool_[arguments[1]].label) : "";
      if (text == "degree") {
        *id = pool_.Make(
            TermKind::kProduct, kNoLabel,
            {arguments[0], pool_.MakeConstant(TermKind::kPi), pool_.MakeRationalTerm({1, 180})});
      } else if (text == "rad") {
        *id = arguments[0];
      } else {
        return FailAt(token, "'ApplyUnit' takes a number and degree or rad");
      }
    } else if (name == "list" || name == "Union") {
      return FailAt(token, Str("'", name, "' cannot be called"));
    } else {
      *id = pool_.MakeCall(name, arguments);
    }
    return true;
  }

  const std::vector<Token>& tokens_;
  TermPool& pool_;
  ReadFault& fault_;
  size_t at_ = 0;
  int num_nested_ = 0;
};

}  // namespace

std::string NormalizeAnswer(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const auto* found = std::find_if(
        std::begin(kReplacements), std::end(kReplacements),
        [&](const Replacement& one) { return text.substr(0, one.from.size()) == one.from; });
    if (found != std::end(kReplacements)) {
      result += found->to;
      text.remove_prefix(found->from.size());
    } else {
      result += text.front();
      text.remove_prefix(1);
    }
  }
  return Trim(result);
}

std::vector<std::string> AnswerParts(std::string_view text) {
  std::vector<std::string> parts(1);
  int64_t depth = 0;
  for (const char c : text) {
    if (c == '(' || c == '[' || c == '{') ++depth;
    if (c == ')' || c == ']' || c == '}') --depth;
    if ((c == ';' || c == '\n') && depth <= 0) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  for (std::string& part : parts) part = Trim(part);
  return parts;
}

std::optional<TermId> ReadAnswer(std::string_view part, TermPool* pool, ReadFault* fault) {
  const RewrittenLine rewritten = Rewrite(part);
  std::vector<Token> tokens;
  if (!Tokenize(rewritten, /*join_spaced=*/false, &tokens, fault)) return std::nullopt;
  return AnswerParser(tokens, pool, fault).Run();
}

}  // namespace ckv::conic
