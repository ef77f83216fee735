#include "sweep/expression.h"

#include <cctype>
#include <cmath>
#include <cstdlib>
#include <variant>

#include "base/error.h"

namespace ckv {
namespace {

using ExprValue = std::variant<double, bool, std::string>;

struct OperatorLevel {
  const char* symbols[6];
};

// From the loosest to the tightest.
constexpr OperatorLevel kLevels[] = {{{"or", "||"}},
                                     {{"and", "&&"}},
                                     {{"==", "!=", "<=", ">=", "<", ">"}},
                                     {{"+", "-"}},
                                     {{"*", "/", "%"}}};
constexpr size_t kNumLevels = sizeof(kLevels) / sizeof(kLevels[0]);
constexpr int kMaxExprDepth = 64;

bool IsKeyCharacter(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '.';
}

ExprValue ValueOfYaml(const std::string& text) {
  if (text == "true") return true;
  if (text == "false") return false;
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  if (!text.empty() && *end == '\0') return number;
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') {
    return text.substr(1, text.size() - 2);
  }
  return text;
}

}  // namespace

struct Expression::Node {
  std::string op;  // "": a value; "key": looked up; else an operator
  ExprValue value;
  std::unique_ptr<Node> left;
  std::unique_ptr<Node> right;
};

namespace {

using NodePtr = std::unique_ptr<Expression::Node>;

class ExprParser {
 public:
  ExprParser(const std::string& text, const std::string& origin) : text_(text), origin_(origin) {}

  NodePtr Parse() {
    NodePtr node = ParseLevel(0);
    SkipSpace();
    if (at_ != text_.size()) Fail(Str("'", text_.substr(at_), "' is not understood"));
    return node;
  }

 private:
  [[noreturn]] void Fail(const std::string& what) const {
    throw ConfigError(origin_, Str("in '", text_, "': ", what));
  }

  void SkipSpace() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
  }

  bool Take(const std::string& symbol) {
    SkipSpace();
    if (text_.compare(at_, symbol.size(), symbol) != 0) return false;
    const size_t end = at_ + symbol.size();
    const bool word = std::isalpha(static_cast<unsigned char>(symbol[0])) != 0;
    if (word && end < text_.size() && IsKeyCharacter(text_[end])) return false;
    at_ = end;
    return true;
  }

  std::string TakeOperator(size_t level) {
    for (const char* symbol : kLevels[level].symbols) {
      if (symbol != nullptr && Take(symbol)) return symbol;
    }
    return "";
  }

  NodePtr ParseLevel(size_t level) {
    if (level == kNumLevels) return ParseUnary();
    NodePtr left = ParseLevel(level + 1);
    std::string op;
    while (!(op = TakeOperator(level)).empty()) {
      auto node = std::make_unique<Expression::Node>();
      node->op = op == "||" ? "or" : op == "&&" ? "and" : op;
      node->left = std::move(left);
      node->right = ParseLevel(level + 1);
      left = std::move(node);
    }
    return left;
  }

  NodePtr ParseUnary() {
    if (++depth_ > kMaxExprDepth) Fail("it is nested too deeply");
    auto node = std::make_unique<Expression::Node>();
    const bool no = Take("not") || (text_.compare(at_, 2, "!=") != 0 && Take("!"));
    if (no || Take("-")) {
      node->op = no ? "not" : "negative";
      node->left = ParseUnary();
    } else if (Take("(")) {
      node = ParseLevel(0);
      if (!Take(")")) Fail("a ')' is missing");
    } else {
      ParseAtom(*node);
    }
    --depth_;
    return node;
  }

  void ParseAtom(Expression::Node& node) {
    SkipSpace();
    if (at_ == text_.size()) Fail("it ends where a value is needed");
    const char c = text_[at_];
    if (c == '\'' || c == '"') {
      const size_t end = text_.find(c, at_ + 1);
      if (end == std::string::npos) Fail(Str("a ", c, " is missing"));
      node.value = text_.substr(at_ + 1, end - at_ - 1);
      at_ = end + 1;
    } else if (std::isdigit(static_cast<unsigned char>(c)) != 0) {
      char* end = nullptr;
      node.value = std::strtod(text_.c_str() + at_, &end);
      at_ = static_cast<size_t>(end - text_.c_str());
    } else if (IsKeyCharacter(c)) {
      const size_t begin = at_;
      while (at_ < text_.size() && IsKeyCharacter(text_[at_])) ++at_;
      const std::string word = text_.substr(begin, at_ - begin);
      if (word == "true" || word == "false") {
        node.value = word == "true";
      } else {
        node.op = "key";
        node.value = word;
      }
    } else {
      Fail(Str("'", text_.substr(at_), "' is no value"));
    }
  }

  const std::string& text_;
  const std::string& origin_;
  size_t at_ = 0;
  int depth_ = 0;
};

// Evaluates; throws std::string, what is wrong.
class Evaluator {
 public:
  explicit Evaluator(const Expression::Lookup& lookup) : lookup_(lookup) {}

  ExprValue Of(const Expression::Node& node) const {
    if (node.op.empty()) return node.value;
    if (node.op == "key") {
      const auto& key = std::get<std::string>(node.value);
      const std::optional<std::string> text = lookup_(key);
      if (!text.has_value()) throw Str("there is no key '", key, "'");
      return ValueOfYaml(*text);
    }
    if (node.op == "not") return !Truth(Of(*node.left));
    if (node.op == "negative") return -Number(Of(*node.left));
    if (node.op == "and") return Truth(Of(*node.left)) && Truth(Of(*node.right));
    if (node.op == "or") return Truth(Of(*node.left)) || Truth(Of(*node.right));
    const ExprValue left = Of(*node.left);
    const ExprValue right = Of(*node.right);
    if (node.op == "==") return left == right;
    if (node.op == "!=") return left != right;
    if (node.op == "<" || node.op == ">" || node.op == "<=" || node.op == ">=") {
      if (left.index() != right.index()) throw std::string("a number and a text have no order");
      if (node.op == "<") return left < right;
      if (node.op == ">") return left > right;
      return node.op == "<=" ? left <= right : left >= right;
    }
    return Arithmetic(node.op[0], Number(left), Number(right));
  }

  static bool Truth(const ExprValue& value) {
    if (const bool* truth = std::get_if<bool>(&value)) return *truth;
    throw std::string("a condition is needed where a number or text stands");
  }

 private:
  static double Number(const ExprValue& value) {
    if (const double* number = std::get_if<double>(&value)) return *number;
    throw std::string("a number is needed where a text or condition stands");
  }

  static double Arithmetic(char op, double left, double right) {
    if (op == '+') return left + right;
    if (op == '-') return left - right;
    if (op == '*') return left * right;
    if (right == 0.0) throw std::string("it divides by zero");
    return op == '/' ? left / right : std::fmod(left, right);
  }

  const Expression::Lookup& lookup_;
};

}  // namespace

Expression::Expression(const std::string& text, const std::string& origin)
    : text_(text), origin_(origin), root_(ExprParser(text, origin).Parse()) {}
Expression::~Expression() = default;
Expression::Expression(Expression&&) noexcept = default;
Expression& Expression::operator=(Expression&&) noexcept = default;

bool Expression::Holds(const Lookup& lookup) const {
  try {
    return Evaluator::Truth(Evaluator(lookup).Of(*root_));
  } catch (const std::string& what) {
    throw ConfigError(origin_, Str("in '", text_, "': ", what));
  }
}

}  // namespace ckv
