#include "conic/lexer.h"

#include <algorithm>
#include <cstring>

#include "base/str.h"
#include "conic/char_class.h"
#include "text/utf8.h"

namespace ckv::conic {
namespace {

bool IsAsciiDigit(char c) { return c >= '0' && c <= '9'; }

// The white space in front of `text`, in bytes.
size_t SpaceAt(std::string_view text, size_t at) {
  size_t end = at;
  while (end < text.size()) {
    const auto c = static_cast<unsigned char>(text[end]);
    if (c < 0x80) {
      if (!IsSpace(c)) break;
      ++end;
      continue;
    }
    const Utf8Step step = NextCodePoint(text.substr(end));
    if (!step.valid || !IsSpace(step.code_point)) break;
    end += step.length;
  }
  return end - at;
}

bool StartsWith(std::string_view text, size_t at, std::string_view prefix) {
  return text.compare(at, prefix.size(), prefix) == 0;
}

class Rewriter {
 public:
  explicit Rewriter(std::string_view line) : line_(line) {}

  RewrittenLine Run() {
    result_.text.reserve(line_.size() + 8);
    result_.offsets.reserve(line_.size() + 9);
    while (at_ < line_.size()) Step();
    result_.offsets.push_back(static_cast<uint32_t>(line_.size()));
    return std::move(result_);
  }

 private:
  void Put(std::string_view text, size_t length) {
    result_.text += text;
    result_.offsets.insert(result_.offsets.end(), text.size(), static_cast<uint32_t>(at_));
    at_ += length;
  }

  void Step() {
    switch (line_[at_]) {
      case '^':
        return Put("**", 1);
      case '=': {
        if (StartsWith(line_, at_, "==>")) return Put(">>", 3);
        const size_t blanks = SpaceAt(line_, at_ + 1);
        if (StartsWith(line_, at_ + 1 + blanks, "True")) return Put("", 5 + blanks);
        break;
      }
      case '<':
        if (StartsWith(line_, at_, "<==")) return Put("<<", 3);
        break;
      case 'l':
        if (StartsWith(line_, at_, "lambda")) return Put("lbd_", 6);
        break;
      case '_':
        if (const size_t digits = SubscriptDigits(); digits > 0) {
          Put("_", 2);
          while (IsAsciiDigit(line_[at_])) Put(line_.substr(at_, 1), 1);
          ++at_;
          return;
        }
        break;
      default:
        break;
    }
    Put(line_.substr(at_, 1), 1);
  }

  // The digits of "_{digits}" behind a letter; 0 if this is none.
  size_t SubscriptDigits() const {
    if (at_ == 0 || !StartsWith(line_, at_, "_{")) return 0;
    const auto before = static_cast<unsigned char>(line_[at_ - 1]);
    if (!((before | 32u) >= 'a' && (before | 32u) <= 'z')) return 0;
    size_t end = at_ + 2;
    while (end < line_.size() && IsAsciiDigit(line_[end])) ++end;
    return end < line_.size() && line_[end] == '}' ? end - at_ - 2 : 0;
  }

  std::string_view line_;
  size_t at_ = 0;
  RewrittenLine result_;
};

class Tokenizer {
 public:
  Tokenizer(const RewrittenLine& line, bool join_spaced, std::vector<Token>* tokens,
            ReadFault* fault)
      : line_(line), text_(line.text), join_(join_spaced), tokens_(tokens), fault_(fault) {}

  bool Run() {
    tokens_->clear();
    for (;;) {
      while (at_ < text_.size() && IsBlank(text_[at_])) ++at_;
      if (at_ == text_.size() || text_[at_] == '#') break;
      if (!Next()) return false;
    }
    at_ = text_.size();
    Emit(TokenKind::kEnd, 0);
    return true;
  }

 private:
  // White space between tokens; any other is a character that the language does not have.
  static bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\f'; }

  void Emit(TokenKind kind, size_t length) {
    tokens_->push_back({kind, line_.OffsetOf(at_), text_.substr(at_, length)});
    at_ += length;
  }

  bool Fail(size_t at, std::string what) {
    *fault_ = {line_.OffsetOf(at), std::move(what)};
    return false;
  }

  bool Next() {
    const char c = text_[at_];
    if (IsAsciiDigit(c) || (c == '.' && at_ + 1 < text_.size() && IsAsciiDigit(text_[at_ + 1]))) {
      return NextNumber();
    }
    const Utf8Step step = NextCodePoint(text_.substr(at_));
    if (step.valid && (ClassesOf(step.code_point) & CharClass::kNameStart) != 0) {
      Emit(TokenKind::kName, NameLength());
      return true;
    }
    return NextSign(step);
  }

  size_t NameLength() const {
    size_t end = at_;
    while (end < text_.size()) {
      const Utf8Step step = NextCodePoint(text_.substr(end));
      if (!step.valid || (ClassesOf(step.code_point) & CharClass::kNameContinue) == 0) break;
      end += step.length;
    }
    return end - at_;
  }

  size_t Digits(size_t at) const {
    size_t end = at;
    while (end < text_.size() && IsAsciiDigit(text_[end])) ++end;
    return end - at;
  }

  bool NextNumber() {
    const size_t start = at_;
    size_t end = at_ + Digits(at_);
    const size_t whole_digits = end - at_;
    bool decimal = false;
    size_t point = end;
    if (join_) point += SpaceAt(text_, end);
    const bool joins = point > end && point + 1 < text_.size() && text_[point] == '.' &&
                       IsAsciiDigit(text_[point + 1]);
    if (joins) return FinishNumber(point + 1 + Digits(point + 1));
    if (end < text_.size() && text_[end] == '.') {
      decimal = true;
      ++end;
      end += Digits(end);
    }
    if (end < text_.size() && (text_[end] == 'e' || text_[end] == 'E')) {
      size_t exponent = end + 1;
      if (exponent < text_.size() && (text_[exponent] == '+' || text_[exponent] == '-')) ++exponent;
      if (const size_t digits = Digits(exponent); digits > 0) {
        decimal = true;
        end = exponent + digits;
      }
    }
    if (!decimal && whole_digits > 1 && text_[start] == '0' &&
        text_.find_first_not_of('0', start) < end) {
      return Fail(start, "a whole number must not begin with 0");
    }
    return FinishNumber(end);
  }

  bool FinishNumber(size_t end) {
    if (end < text_.size()) {
      const Utf8Step step = NextCodePoint(text_.substr(end));
      if (step.valid && (ClassesOf(step.code_point) & CharClass::kNameContinue) != 0) {
        return Fail(end, "a name right after a number; write '*' between them");
      }
    }
    Emit(TokenKind::kNumber, end - at_);
    return true;
  }

  bool NextSign(const Utf8Step& step) {
    const char c = text_[at_];
    if (std::strchr("()[]{},=<>+-*/%@&|~!", c) == nullptr || c == '\0') {
      const std::string found(text_.substr(at_, std::min<size_t>(step.length, 4)));
      return Fail(at_, step.valid && step.code_point >= 0x20
                           ? Str("'", found, "' is no character of the language")
                           : "a byte that is no character of the language");
    }
    // Doubled signs; "* *" and "/ /" are one sign also with blanks between.
    size_t second = at_ + 1;
    if (c == '*' || c == '/' || (join_ && (c == '<' || c == '>'))) {
      while (second < text_.size() && IsBlank(text_[second])) ++second;
    }
    const char next = second < text_.size() ? text_[second] : '\0';
    const bool near = second == at_ + 1;
    const char* sign = nullptr;
    if (c == '*' && next == '*') sign = "**";
    if (c == '/' && next == '/') sign = "//";
    if (c == '<' && next == '=') sign = "<=";
    if (c == '>' && next == '=') sign = ">=";
    if (c == '<' && next == '<' && near) sign = "<<";
    if (c == '>' && next == '>' && near) sign = ">>";
    if (c == '=' && next == '=') sign = "==";
    if (c == '!' && next == '=') sign = "!=";
    if (sign == nullptr) {
      Emit(TokenKind::kSign, 1);
      return true;
    }
    tokens_->push_back({TokenKind::kSign, line_.OffsetOf(at_), sign});
    at_ = second + 1;
    return true;
  }

  const RewrittenLine& line_;
  std::string_view text_;
  bool join_;
  std::vector<Token>* tokens_;
  ReadFault* fault_;
  size_t at_ = 0;
};

}  // namespace

RewrittenLine Rewrite(std::string_view line) { return Rewriter(line).Run(); }

bool Tokenize(const RewrittenLine& line, bool join_spaced, std::vector<Token>* tokens,
              ReadFault* fault) {
  return Tokenizer(line, join_spaced, tokens, fault).Run();
}

}  // namespace ckv::conic
