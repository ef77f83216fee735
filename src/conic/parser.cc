#include "conic/parser.h"

#include <algorithm>
#include <vector>

#include "base/str.h"
#include "conic/operators.h"
#include "conic/rebuild.h"
#include "text/utf8.h"

namespace ckv::conic {
namespace {

// A term being read: whether a sum or product around it takes its parts as its own.
struct Part {
  TermId id = kNoTerm;
  bool merges = true;
};

class StatementParser {
 public:
  StatementParser(const std::vector<Token>& tokens, const Scope& scope, Mode mode, TermPool* pool,
                  ReadFault* fault)
      : tokens_(tokens),
        scope_(scope),
        strict_(mode == Mode::kStrict),
        pool_(*pool),
        fault_(*fault) {}

  std::optional<TermId> Run() {
    if (Is(TokenKind::kEnd)) {
      Fail("a statement is expected, but the line is empty");
      return std::nullopt;
    }
    std::vector<TermId> pieces;
    bool tuple = false;
    if (!Group("", &pieces, &tuple)) return std::nullopt;
    const TermId id = tuple ? pool_.Make(TermKind::kTuple, kNoLabel, pieces) : pieces.front();
    const TermKind kind = pool_[id].kind;
    if ((kind == TermKind::kTuple || kind == TermKind::kTruth) && !scope_.empty()) {
      at_ = 0;
      Fail(kind == TermKind::kTuple ? "a statement is expected, but this is only a tuple"
                                    : "a statement is expected, but this is only a truth value");
      return std::nullopt;
    }
    return id;
  }

 private:
  // --- tokens ------------------------------------------------------------------------------------

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
    if (Is(TokenKind::kEnd)) return "the end of the line";
    constexpr size_t kShown = 40;
    return Str("'", ReplaceInvalidUtf8(Now().text.substr(0, kShown)),
               Now().text.size() > kShown ? "...'" : "'");
  }

  bool Fail(std::string what) { return FailAt(at_, std::move(what)); }
  bool FailAt(size_t token, std::string what) {
    fault_ = {tokens_[token].offset, std::move(what)};
    return false;
  }

  // Guards every way of nesting.
  bool Made(TermId id, size_t token) {
    if (pool_[id].depth <= ReadLimits::kMaxDepth) return true;
    return FailAt(token, Str("nested deeper than ", ReadLimits::kMaxDepth, " terms"));
  }

  // --- groups ------------------------------------------------------------------------------------

  // The content of a bracket group, up to but without its closing bracket (one of `closers`; the
  // end of the line if empty). "=" makes one term of it all (compat) or of the pieces around it
  // (strict). `tuple` is set unless the group is a single term without a comma behind it.
  bool Group(std::string_view closers, std::vector<TermId>* pieces, bool* tuple) {
    const size_t begin = at_;
    bool equation = false;
    bool comma = false;
    size_t first_of_equation = 0;  // strict: where the pieces of the current equation begin
    bool open_equation = false;
    const auto close_equation = [&] {
      if (!strict_ || !open_equation) return;
      std::vector<TermId> sides(pieces->begin() + static_cast<std::ptrdiff_t>(first_of_equation),
                                pieces->end());
      pieces->resize(first_of_equation);
      pieces->push_back(pool_.MakeCall("Eq", sides));
      open_equation = false;
    };
    if (!AtEnd(closers)) {
      for (;;) {
        Part part;
        if (!Comparison(&part)) return false;
        pieces->push_back(part.id);
        if (AtEnd(closers)) break;
        if (Take("=")) {
          if (!open_equation) first_of_equation = pieces->size() - 1;
          open_equation = equation = true;
        } else if (Take(",")) {
          close_equation();
          comma = true;
        } else {
          return Fail(closers.empty()
                          ? Str("an operator, '=', ',' or the end is expected, found ", Found())
                          : Str("an operator, '=', ',' or '", closers[0], "' is expected, found ",
                                Found()));
        }
        if (AtEnd(closers)) break;  // a separator may stand at the end
      }
    }
    close_equation();
    *tuple = pieces->size() != 1 || comma;
    if (equation && !strict_) {
      const TermId all = pool_.MakeCall("Eq", *pieces);
      pieces->assign(1, all);
      *tuple = false;
    }
    return pieces->empty() || Made(pieces->back(), begin);
  }

  bool AtEnd(std::string_view closers) const {
    if (closers.empty()) return Is(TokenKind::kEnd);
    return Is(TokenKind::kSign) && Now().text.size() == 1 &&
           closers.find(Now().text[0]) != std::string_view::npos;
  }

  // Reads the group of the bracket that is next; the closing bracket goes to `closer`.
  bool Bracketed(std::string_view closers, std::vector<TermId>* pieces, bool* tuple, char* closer) {
    const size_t open = at_++;
    if (++num_brackets_ > ReadLimits::kMaxBrackets) {
      return FailAt(open, Str("more than ", ReadLimits::kMaxBrackets, " nested brackets"));
    }
    if (!Group(closers, pieces, tuple)) {
      if (Is(TokenKind::kEnd) && fault_.what.compare(0, 11, "an operator") == 0) {
        fault_.what = Str("'", closers[0], "' is expected, which closes '", tokens_[open].text,
                          "' at column ", tokens_[open].offset + 1, "; found the end of the line");
      }
      return false;
    }
    *closer = Now().text[0];
    ++at_;
    --num_brackets_;
    return true;
  }

  // --- operators, weakest first
  // --------------------------------------------------------------------

  static bool IsComparison(std::string_view sign) {
    return sign == "<" || sign == ">" || sign == "<=" || sign == ">=" || sign == "==" ||
           sign == "!=";
  }

  bool Comparison(Part* part) {
    if (!Bits(part)) return false;
    std::vector<TermId> relations;
    TermId left = part->id;
    while (Is(TokenKind::kSign) && IsComparison(Now().text)) {
      const size_t token = at_++;
      Part right;
      if (!Bits(&right)) return false;
      const std::string_view sign = tokens_[token].text;
      const TermId relation =
          sign == "==" ? pool_.MakeCall("Eq", {left, right.id})
                       : pool_.Make(TermKind::kRelation, pool_.Label(sign), {left, right.id});
      if (!Made(relation, token)) return false;
      relations.push_back(relation);
      left = right.id;
    }
    if (relations.empty()) return true;
    *part = {relations.front(), true};
    // A chain a > b > c is its first comparison; strict: all of them.
    if (strict_ && relations.size() > 1) part->id = pool_.MakeCall("And", relations);
    return true;
  }

  bool Bits(Part* part) {
    if (!Conjunction(part)) return false;
    while (Sign("|")) {
      const size_t token = at_++;
      Part right;
      if (!Conjunction(&right)) return false;
      *part = {pool_.Make(TermKind::kOpaque, pool_.Label("Or"), {part->id, right.id}), true};
      if (!Made(part->id, token)) return false;
    }
    return true;
  }

  bool Conjunction(Part* part) {
    if (!Shift(part)) return false;
    while (Sign("&")) {
      const size_t token = at_++;
      Part right;
      if (!Shift(&right)) return false;
      *part = {pool_.MakeCall("And", {part->id, right.id}), true};
      if (!Made(part->id, token)) return false;
    }
    return true;
  }

  bool Shift(Part* part) {
    if (!Sum(part)) return false;
    if (Sign("<<") || Sign(">>")) return Fail(Str("terms cannot be joined by ", Found()));
    return true;
  }

  bool Operand(const Part& part, size_t token) {
    if (pool_[part.id].kind != TermKind::kRelation) return true;
    return FailAt(token, Str("a comparison cannot be an operand of '", tokens_[token].text, "'"));
  }

  void AddParts(TermKind kind, const Part& part, std::vector<TermId>* parts) {
    if (part.merges && pool_[part.id].kind == kind) {
      const std::vector<TermId> inner = pool_.Arguments(part.id);
      parts->insert(parts->end(), inner.begin(), inner.end());
    } else {
      parts->push_back(part.id);
    }
  }

  bool Sum(Part* part) {
    if (!Product(part)) return false;
    if (!Sign("+") && !Sign("-")) return true;
    const size_t first = at_;
    std::vector<TermId> parts;
    AddParts(TermKind::kSum, *part, &parts);
    if (!Operand(*part, at_)) return false;
    while (Sign("+") || Sign("-")) {
      const size_t token = at_++;
      Part right;
      if (!Product(&right) || !Operand(right, token)) return false;
      if (tokens_[token].text == "+") {
        AddParts(TermKind::kSum, right, &parts);
      } else {
        parts.push_back(pool_.Make(TermKind::kProduct, kNoLabel, {pool_.MakeWhole(-1), right.id}));
      }
    }
    *part = {pool_.Make(TermKind::kSum, kNoLabel, parts), true};
    return Made(part->id, first);
  }

  bool IsProductSign() const { return Sign("*") || Sign("/") || Sign("//") || Sign("%"); }

  bool Product(Part* part) {
    if (!Signed(part)) return false;
    std::vector<TermId> parts;
    while (IsProductSign() || Sign("@")) {
      if (Sign("@")) return Fail("terms cannot be joined by '@'");
      const size_t token = at_++;
      Part right;
      if (!Operand(*part, token) || !Signed(&right) || !Operand(right, token)) return false;
      const std::string_view sign = tokens_[token].text;
      if (sign == "*" || sign == "/") {
        if (parts.empty()) AddParts(TermKind::kProduct, *part, &parts);
        if (sign == "*") {
          AddParts(TermKind::kProduct, right, &parts);
        } else {
          parts.push_back(pool_.Make(TermKind::kPower, kNoLabel, {right.id, pool_.MakeWhole(-1)}));
        }
        if (!Made(parts.back(), token)) return false;
        continue;
      }
      FinishProduct(&parts, part);
      *part = {pool_.Make(TermKind::kOpaque, pool_.Label(sign == "%" ? "Mod" : "floor"),
                          {part->id, right.id}),
               true};
      if (!Made(part->id, token)) return false;
    }
    FinishProduct(&parts, part);
    return Made(part->id, at_ - 1);
  }

  void FinishProduct(std::vector<TermId>* parts, Part* part) {
    if (parts->empty()) return;
    *part = {pool_.Make(TermKind::kProduct, kNoLabel, *parts), true};
    parts->clear();
  }

  // A run of signs, read without recursion, in front of a power.
  bool Signed(Part* part) {
    const size_t first = at_;
    while (Sign("-") || Sign("+") || Sign("~")) ++at_;
    const size_t behind = at_;
    if (!PowerTerm(part)) return false;
    for (size_t token = behind; token-- > first;) {
      const std::string_view sign = tokens_[token].text;
      const Term& term = pool_[part->id];
      part->merges = false;
      if (sign == "~") {
        part->id = pool_.Make(TermKind::kOpaque, pool_.Label("Not"), {part->id});
        if (!Made(part->id, token)) return false;
        continue;
      }
      if (term.kind == TermKind::kRelation || term.kind == TermKind::kTuple ||
          term.kind == TermKind::kTruth) {
        return FailAt(token, "a sign in front of what is no number");
      }
      if (sign == "-") part->id = Negate(part->id, &pool_);
      if (!Made(part->id, token)) return false;
    }
    return true;
  }

  bool PowerTerm(Part* part) {
    const size_t first = at_;
    if (!Factorial(part)) return false;
    if (!Sign("**")) return true;
    if (!Operand(*part, at_)) return false;
    if (++num_powers_ > ReadLimits::kMaxDepth) {
      return Fail(Str("nested deeper than ", ReadLimits::kMaxDepth, " powers"));
    }
    const size_t token = at_++;
    Part exponent;
    if (!Signed(&exponent) || !Operand(exponent, token)) return false;
    --num_powers_;
    *part = {pool_.Make(TermKind::kPower, kNoLabel, {part->id, exponent.id}), true};
    return Made(part->id, first);
  }

  bool Factorial(Part* part) {
    if (!Atom(part)) return false;
    while (Sign("!")) {
      const bool twice = tokens_[at_ + 1].kind == TokenKind::kSign && tokens_[at_ + 1].text == "!";
      const LabelId label = pool_.Label(twice ? "factorial2" : "factorial");
      *part = {pool_.Make(TermKind::kBuiltin, label, {part->id}), true};
      if (!Made(part->id, at_)) return false;
      at_ += twice ? 2 : 1;
    }
    return true;
  }

  // --- atoms -------------------------------------------------------------------------------------

  bool Atom(Part* part) {
    if (Is(TokenKind::kNumber)) {
      std::string digits(Now().text);
      digits.erase(std::remove_if(digits.begin(), digits.end(),
                                  [](char c) { return c == ' ' || c == '\t' || c == '\f'; }),
                   digits.end());
      part->id = pool_.MakeNumber(ReadLiteral(digits));
      ++at_;
      return AfterAtom();
    }
    if (Is(TokenKind::kName)) return Name(part);
    if (Sign("(") || Sign("[") || Sign("{")) return BracketAtom(part);
    return Fail(Str("a number, a name or a bracket is expected, found ", Found()));
  }

  // Two terms side by side are one fault, told where the second begins.
  bool AfterAtom() {
    if (Is(TokenKind::kNumber) || Is(TokenKind::kName)) {
      return Fail(Str("an operator is expected, found ", Found()));
    }
    if (Sign("(")) return Fail("only a name can be called");
    if (Sign("[") || Sign("{")) return Fail(Str("an operator is expected, found ", Found()));
    return true;
  }

  bool BracketAtom(Part* part) {
    const size_t open = at_;
    const char opener = Now().text[0];
    std::vector<TermId> pieces;
    bool tuple = false;
    char closer = '\0';
    if (!Bracketed(opener == '{' ? "}" : opener == '(' ? ")]" : "])", &pieces, &tuple, &closer)) {
      return false;
    }
    if (opener == '{') {
      part->id = pool_.MakeCall("set", pieces);
    } else if (opener == '(' && closer == ')') {
      part->id = tuple ? pool_.Make(TermKind::kTuple, kNoLabel, pieces) : pieces.front();
    } else {
      part->id = pool_.MakeCall(opener == '[' ? (closer == ']' ? "Interval_left_close_right_close"
                                                               : "Interval_left_close_right_open")
                                              : "Interval_left_open_right_close",
                                pieces);
    }
    return Made(part->id, open) && AfterAtom();
  }

  bool Name(Part* part) {
    const size_t token = at_++;
    const std::string_view name = tokens_[token].text;
    if (IsReservedWord(name)) {
      return FailAt(token, Str("'", name, "' is a reserved word and names nothing"));
    }
    if (Sign("(")) return Call(token, name, part);
    const auto declared = scope_.find(std::string(name));
    if (declared != scope_.end()) {
      part->id = declared->second;
    } else if (!PlainName(token, name, part)) {
      return false;
    }
    return AfterAtom();
  }

  bool PlainName(size_t token, std::string_view name, Part* part) {
    if (name == "True" || name == "False" || name == "None") {
      part->id = pool_.MakeTruth(name == "True");
      return true;
    }
    if (name == "pi" || name == "oo") {
      part->id = pool_.MakeConstant(name == "pi" ? TermKind::kPi : TermKind::kInfinity);
      return true;
    }
    if ((name == "E" || name == "I") && !strict_) {
      part->id = pool_.MakeConstant(name == "E" ? TermKind::kEuler : TermKind::kImaginary);
      return true;
    }
    const bool letter_like = name == "E1" || name == "gamma" || name == "deg" || name == "Ci" ||
                             name == "Li" || name == "Si" || name == "Or" || name == "Expr";
    if (CannotStandAlone(name) && !(strict_ && letter_like)) {
      return FailAt(token, Str("'", name, "' cannot stand alone; '(' is expected behind it"));
    }
    part->id = pool_.MakeSymbol(name);
    return true;
  }

  bool Call(size_t token, std::string_view name, Part* part) {
    std::vector<TermId> arguments;
    bool tuple = false;
    char closer = '\0';
    if (!Bracketed(")", &arguments, &tuple, &closer)) return false;
    const bool declared = scope_.find(std::string(name)) != scope_.end();
    const bool constant = name == "True" || name == "False" || name == "None" || name == "pi" ||
                          name == "oo" || (!strict_ && (name == "E" || name == "I"));
    if (!declared && (constant || CannotBeCalled(name))) {
      return FailAt(token, Str("'", name, "' cannot be called"));
    }
    const std::string_view builtin = declared ? std::string_view() : BuiltinName(name);
    if (builtin.empty()) {
      part->id = pool_.MakeCall(name, arguments);
    } else if (arguments.size() != 1 && !(builtin == "log" && arguments.size() == 2)) {
      return FailAt(token, Str("'", name, "' takes one argument, found ", arguments.size()));
    } else if (builtin == "sqrt" || builtin == "cbrt") {
      const TermId exponent = pool_.MakeRationalTerm({1, builtin == "sqrt" ? 2 : 3});
      part->id = pool_.Make(TermKind::kPower, kNoLabel, {arguments.front(), exponent});
    } else {
      part->id = pool_.Make(TermKind::kBuiltin, pool_.Label(builtin), arguments);
    }
    return Made(part->id, token) && AfterAtom();
  }

  const std::vector<Token>& tokens_;
  const Scope& scope_;
  const bool strict_;
  TermPool& pool_;
  ReadFault& fault_;
  size_t at_ = 0;
  int num_brackets_ = 0;
  int num_powers_ = 0;
};

}  // namespace

std::optional<TermId> ReadStatement(std::string_view line, const Scope& scope, Mode mode,
                                    TermPool* pool, ReadFault* fault) {
  const RewrittenLine rewritten = Rewrite(line);
  std::vector<Token> tokens;
  if (!Tokenize(rewritten, mode == Mode::kStrict, &tokens, fault)) return std::nullopt;
  return StatementParser(tokens, scope, mode, pool, fault).Run();
}

}  // namespace ckv::conic
