#include "tasks/python_text.h"

#include "base/error.h"
#include "text/utf8.h"

namespace ckv {
namespace {

bool Between(char32_t c, char32_t low, char32_t high) { return low <= c && c <= high; }

// Letters that stand in pairs of upper case (even) and lower case (odd), or the other way round.
bool EvenIsUpper(char32_t c) {
  return Between(c, 0x100, 0x137) || Between(c, 0x14A, 0x177) || Between(c, 0x460, 0x481) ||
         Between(c, 0x48A, 0x4BF) || Between(c, 0x4D0, 0x52F) || Between(c, 0x1E00, 0x1E95);
}
bool OddIsUpper(char32_t c) { return Between(c, 0x139, 0x148) || Between(c, 0x179, 0x17E); }

char32_t LowerOf(char32_t c) {
  if (Between(c, 'A', 'Z')) return c + 32;
  if (Between(c, 0xC0, 0xDE) && c != 0xD7) return c + 32;
  if (c == 0x130 || c == 0x131 || c == 0x138) return c;  // no pairs
  if (c == 0x178) return 0xFF;
  if (EvenIsUpper(c)) return c | 1;
  if (OddIsUpper(c)) return c % 2 == 1 ? c + 1 : c;
  if (Between(c, 0x391, 0x3A9) && c != 0x3A2) return c + 32;
  if (Between(c, 0x400, 0x40F)) return c + 80;
  if (Between(c, 0x410, 0x42F)) return c + 32;
  return c;
}

char32_t UpperOf(char32_t c) {
  if (Between(c, 'a', 'z')) return c - 32;
  if (Between(c, 0xE0, 0xFE) && c != 0xF7) return c - 32;
  if (c == 0xFF) return 0x178;
  if (c == 0x130 || c == 0x131 || c == 0x138) return c;
  if (EvenIsUpper(c)) return c & ~char32_t{1};
  if (OddIsUpper(c)) return c % 2 == 0 ? c - 1 : c;
  if (c == 0x3C2) return 0x3A3;  // final sigma
  if (Between(c, 0x3B1, 0x3C9)) return c - 32;
  if (Between(c, 0x430, 0x44F)) return c - 32;
  if (Between(c, 0x450, 0x45F)) return c - 80;
  return c;
}

// Maps every code point; what is not UTF-8 stays.
template <typename Map>
std::string Mapped(std::string_view text, Map map) {
  std::string result;
  result.reserve(text.size());
  size_t index = 0;
  while (!text.empty()) {
    const Utf8Step step = NextCodePoint(text);
    if (step.valid) {
      AppendUtf8(map(step.code_point, index), &result);
    } else {
      result.append(text.substr(0, step.length));
    }
    text.remove_prefix(step.length);
    ++index;
  }
  return result;
}

}  // namespace

bool IsPythonSpace(char32_t c) {
  return Between(c, 9, 13) || Between(c, 28, 32) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         Between(c, 0x2000, 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

std::string_view StripLeft(std::string_view text) {
  while (!text.empty()) {
    const Utf8Step step = NextCodePoint(text);
    if (!step.valid || !IsPythonSpace(step.code_point)) break;
    text.remove_prefix(step.length);
  }
  return text;
}

std::string_view StripRight(std::string_view text) {
  size_t end = 0;  // behind the last character that is no space
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = NextCodePoint(text.substr(at));
    at += step.length;
    if (!step.valid || !IsPythonSpace(step.code_point)) end = at;
  }
  return text.substr(0, end);
}

std::string_view Strip(std::string_view text) { return StripRight(StripLeft(text)); }

std::string LowerCase(std::string_view text) {
  return Mapped(text, [](char32_t c, size_t) { return LowerOf(c); });
}

std::string UpperCase(std::string_view text) {
  return Mapped(text, [](char32_t c, size_t) { return UpperOf(c); });
}

std::string Capitalized(std::string_view text) {
  return Mapped(text,
                [](char32_t c, size_t index) { return index == 0 ? UpperOf(c) : LowerOf(c); });
}

std::string ReplaceAll(std::string_view text, std::string_view from, std::string_view to) {
  CKV_CHECK(!from.empty(), "nothing to replace");
  std::string result;
  size_t at = 0;
  while (true) {
    const size_t next = text.find(from, at);
    result.append(text.substr(at, next == std::string_view::npos ? next : next - at));
    if (next == std::string_view::npos) return result;
    result.append(to);
    at = next + from.size();
  }
}

int64_t NumCodePoints(std::string_view text) {
  int64_t count = 0;
  for (; !text.empty(); ++count) text.remove_prefix(NextCodePoint(text).length);
  return count;
}

int64_t NumSplitWords(std::string_view text) {
  int64_t count = 1;
  bool in_space = false;
  while (!text.empty()) {
    const Utf8Step step = NextCodePoint(text);
    const bool space = step.valid && IsPythonSpace(step.code_point);
    count += space && !in_space ? 1 : 0;
    in_space = space;
    text.remove_prefix(step.length);
  }
  return count;
}

}  // namespace ckv
