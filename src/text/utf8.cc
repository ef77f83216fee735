#include "text/utf8.h"

#include "base/error.h"

namespace ckv {
namespace {

constexpr char kReplacementBytes[] = "\xEF\xBF\xBD";

// What may follow a lead byte: how many continuation bytes, and the range of the first of them,
// which is where longer forms than needed, surrogates and too large values are told apart.
struct LeadByte {
  int continuations = -1;  // -1: cannot start a sequence
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
};

LeadByte ClassifyLead(unsigned char lead) {
  if (lead < 0x80) return {0};
  if (lead < 0xC2) return {};
  if (lead < 0xE0) return {1};
  if (lead == 0xE0) return {2, 0xA0, 0xBF};
  if (lead == 0xED) return {2, 0x80, 0x9F};
  if (lead < 0xF0) return {2};
  if (lead == 0xF0) return {3, 0x90, 0xBF};
  if (lead < 0xF4) return {3};
  if (lead == 0xF4) return {3, 0x80, 0x8F};
  return {};
}

}  // namespace

Utf8Step NextCodePoint(std::string_view text) {
  CKV_CHECK(!text.empty(), "no code point in an empty text");
  const auto lead = static_cast<unsigned char>(text[0]);
  const LeadByte kind = ClassifyLead(lead);
  if (kind.continuations == 0) return {lead, 1, true, false};
  if (kind.continuations < 0) return {kReplacementCharacter, 1, false, false};

  char32_t code_point = lead & (0x3F >> kind.continuations);
  for (int i = 1; i <= kind.continuations; ++i) {
    const auto at = static_cast<size_t>(i);
    if (at == text.size()) return {kReplacementCharacter, at, false, true};
    const auto byte = static_cast<unsigned char>(text[at]);
    const unsigned char low = i == 1 ? kind.low : 0x80;
    const unsigned char high = i == 1 ? kind.high : 0xBF;
    if (byte < low || byte > high) return {kReplacementCharacter, at, false, false};
    code_point = (code_point << 6) | (byte & 0x3F);
  }
  return {code_point, static_cast<size_t>(kind.continuations) + 1, true, false};
}

size_t FirstInvalidUtf8(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    if (static_cast<unsigned char>(text[at]) < 0x80) {
      ++at;
      continue;
    }
    const Utf8Step step = NextCodePoint(text.substr(at));
    if (!step.valid) return at;
    at += step.length;
  }
  return std::string_view::npos;
}

std::string ReplaceInvalidUtf8(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const size_t bad = FirstInvalidUtf8(text);
    result.append(text.substr(0, bad));
    if (bad == std::string_view::npos) break;
    text.remove_prefix(bad);
    result.append(kReplacementBytes);
    text.remove_prefix(NextCodePoint(text).length);
  }
  return result;
}

void AppendUtf8(char32_t code_point, std::string* text) {
  CKV_CHECK(code_point <= 0x10FFFF && (code_point < 0xD800 || code_point > 0xDFFF),
            static_cast<uint32_t>(code_point), " is no code point of a text");
  const auto tail = [&](int shift) {
    text->push_back(static_cast<char>(0x80 | ((code_point >> shift) & 0x3F)));
  };
  if (code_point < 0x80) {
    text->push_back(static_cast<char>(code_point));
  } else if (code_point < 0x800) {
    text->push_back(static_cast<char>(0xC0 | (code_point >> 6)));
    tail(0);
  } else if (code_point < 0x10000) {
    text->push_back(static_cast<char>(0xE0 | (code_point >> 12)));
    tail(6);
    tail(0);
  } else {
    text->push_back(static_cast<char>(0xF0 | (code_point >> 18)));
    tail(12);
    tail(6);
    tail(0);
  }
}

std::string Utf8Stream::Push(std::string_view bytes) {
  std::string text = held_;
  text.append(bytes);
  held_.clear();

  std::string result;
  std::string_view rest = text;
  while (!rest.empty()) {
    const size_t bad = FirstInvalidUtf8(rest);
    result.append(rest.substr(0, bad));
    if (bad == std::string_view::npos) break;
    rest.remove_prefix(bad);
    const Utf8Step step = NextCodePoint(rest);
    if (step.truncated) {
      held_ = rest;
      break;
    }
    result.append(kReplacementBytes);
    rest.remove_prefix(step.length);
  }
  return result;
}

std::string Utf8Stream::Finish() {
  const bool unfinished = !held_.empty();
  held_.clear();
  return unfinished ? kReplacementBytes : "";
}

}  // namespace ckv
