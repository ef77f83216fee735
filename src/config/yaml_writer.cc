#include "config/yaml_writer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>

#include "base/error.h"

namespace ckv {
namespace {

bool IsAsciiLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// Words that some version of YAML reads as a bool or null.
bool IsReservedWord(const std::string& text) {
  std::string lower = text;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  constexpr std::array<const char*, 9> kWords = {"true", "false", "null", "yes", "no",
                                                 "on",   "off",   "y",    "n"};
  return std::find(kWords.begin(), kWords.end(), lower) != kWords.end();
}

// Deliberately narrow: whatever YAML might give a meaning is quoted.
bool IsPlainString(const std::string& text) {
  if (text.empty() || IsReservedWord(text)) return false;
  if (!IsAsciiLetter(text[0]) && text[0] != '_' && text[0] != '/') return false;
  if (text.back() == ' ') return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    return IsAsciiLetter(c) || (c >= '0' && c <= '9') || c == '_' || c == '/' || c == '.' ||
           c == '-' || c == ' ';
  });
}

// Decodes the character at `i` of well-formed UTF-8; sets its length.
uint32_t DecodeUtf8(const std::string& text, size_t i, size_t* length) {
  const auto byte = [&](size_t k) { return static_cast<uint32_t>(static_cast<uint8_t>(text[k])); };
  const uint32_t lead = byte(i);
  *length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (*length == 1) return lead;
  uint32_t code = lead & (0xffu >> (*length + 1));
  for (size_t k = 1; k < *length; ++k) code = (code << 6) | (byte(i + k) & 0x3fu);
  return code;
}

std::string HexDigits(uint32_t code, int num_digits) {
  std::string text;
  for (int shift = 4 * (num_digits - 1); shift >= 0; shift -= 4) {
    text += "0123456789abcdef"[(code >> shift) & 0xfu];
  }
  return text;
}

// Characters that YAML wants escaped, or that editors and other readers take for line ends.
bool NeedsEscape(uint32_t code) {
  return code < 0x20 || (code >= 0x7f && code <= 0xa0) || code == 0x2028 || code == 0x2029 ||
         code == 0xfeff || code == 0xfffe || code == 0xffff;
}

std::string Escape(uint32_t code) {
  switch (code) {
    case '\n':
      return "\\n";
    case '\t':
      return "\\t";
    case '\r':
      return "\\r";
    default:
      return code < 0x100 ? "\\x" + HexDigits(code, 2) : "\\u" + HexDigits(code, 4);
  }
}

void AppendFlow(const ConfigValue& value, std::string* out) {
  switch (value.kind()) {
    case ConfigValue::Kind::kNull:
      *out += "null";
      return;
    case ConfigValue::Kind::kScalar: {
      const bool bare = !value.quoted() && !value.text().empty() && IsTypedScalar(value.text());
      *out += bare ? value.text() : StringYaml(value.text());
      return;
    }
    case ConfigValue::Kind::kList: {
      *out += '[';
      const char* separator = "";
      for (const ConfigValue& item : value.items()) {
        *out += separator;
        AppendFlow(item, out);
        separator = ", ";
      }
      *out += ']';
      return;
    }
    case ConfigValue::Kind::kMap: {
      *out += '{';
      const char* separator = "";
      for (const ConfigValue::Entry& entry : value.entries()) {
        *out += separator + StringYaml(entry.first) + ": ";
        AppendFlow(entry.second, out);
        separator = ", ";
      }
      *out += '}';
      return;
    }
  }
}

// The length of the well-formed character at the start of `text`; 0 if there is none.
size_t Utf8CharLength(std::string_view text) {
  const auto byte = [&](size_t k) { return static_cast<uint8_t>(text[k]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  const size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (text.size() < length) return 0;
  for (size_t k = 1; k < length; ++k) {
    if ((byte(k) & 0xc0) != 0x80) return 0;
  }
  // Overlong forms, surrogates, and what lies beyond U+10FFFF.
  if (lead == 0xe0 && byte(1) < 0xa0) return 0;
  if (lead == 0xed && byte(1) > 0x9f) return 0;
  if (lead == 0xf0 && byte(1) < 0x90) return 0;
  if (lead == 0xf4 && byte(1) > 0x8f) return 0;
  return length;
}

}  // namespace

std::string StringYaml(const std::string& text) {
  if (IsPlainString(text)) return text;
  if (FindInvalidUtf8(text) != std::string::npos) {
    throw ConfigError("", Str("'", ShortText(text), "' is not UTF-8, so YAML cannot hold it"));
  }
  std::string out = "\"";
  size_t length = 0;
  for (size_t i = 0; i < text.size(); i += length) {
    const uint32_t code = DecodeUtf8(text, i, &length);
    if (code == '"' || code == '\\') {
      out += '\\';
      out += text[i];
    } else if (NeedsEscape(code)) {
      out += Escape(code);
    } else {
      out.append(text, i, length);
    }
  }
  return out + '"';
}

std::string DoubleYaml(double number) {
  CKV_CHECK(std::isfinite(number), "a config holds finite numbers only, not ", number);
  std::array<char, 40> buffer;
  const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), number);
  std::string text(buffer.data(), result.ptr);
  const size_t exponent = text.find('e');
  if (exponent == std::string::npos) {
    return text.find('.') == std::string::npos ? text + ".0" : text;
  }
  // "1e+05" -> "1e5", "3e-04" -> "3e-4".
  size_t digits = exponent + 1;
  if (text[digits] == '+') text.erase(digits, 1);
  if (text[digits] == '-') ++digits;
  while (text[digits] == '0' && digits + 1 < text.size()) text.erase(digits, 1);
  return text;
}

std::string FlowYaml(const ConfigValue& value) {
  std::string out;
  AppendFlow(value, &out);
  return out;
}

std::string ShortText(const std::string& text, size_t max_bytes) {
  std::string out;
  size_t length = 0;
  for (size_t i = 0; i < text.size(); i += length) {
    if (out.size() >= max_bytes) return out + "...";
    length = Utf8CharLength(std::string_view(text).substr(i));
    if (length == 0) {
      length = 1;
      out += Escape(static_cast<uint8_t>(text[i]));
      continue;
    }
    const uint32_t code = DecodeUtf8(text, i, &length);
    out += NeedsEscape(code) ? Escape(code) : text.substr(i, length);
  }
  return out;
}

size_t FindInvalidUtf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const size_t length = Utf8CharLength(text.substr(i));
    if (length == 0) return i;
    i += length;
  }
  return std::string_view::npos;
}

}  // namespace ckv
