#include "config/value.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <system_error>

#include "base/error.h"
#include "config/yaml_writer.h"

namespace ckv {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

bool IsNullText(const std::string& text) {
  return text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL";
}

std::optional<bool> BoolOf(const std::string& text) {
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  return std::nullopt;
}

// "+1_000" -> "1000"; nothing if it is not written like an integer.
std::optional<std::string> IntegerDigits(const std::string& text) {
  size_t begin = 0;
  std::string digits;
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    if (text[0] == '-') digits = "-";
    begin = 1;
  }
  if (begin == text.size()) return std::nullopt;
  if (text[begin] == '0' && text.size() > begin + 1) return std::nullopt;
  for (size_t i = begin; i < text.size(); ++i) {
    if (IsDigit(text[i])) {
      digits += text[i];
    } else if (text[i] != '_' || i == begin || i + 1 == text.size() || !IsDigit(text[i - 1])) {
      return std::nullopt;
    }
  }
  return digits;
}

size_t SkipDigits(const std::string& text, size_t i) {
  while (i < text.size() && IsDigit(text[i])) ++i;
  return i;
}

// "+1.5e3" -> "1.5e3"; nothing if it is not written like a decimal fraction.
std::optional<std::string> FractionText(const std::string& text) {
  size_t i = !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0;
  const size_t whole_end = SkipDigits(text, i);
  size_t num_digits = whole_end - i;
  i = whole_end;
  if (i < text.size() && text[i] == '.') {
    const size_t end = SkipDigits(text, i + 1);
    num_digits += end - i - 1;
    i = end;
  }
  if (num_digits == 0) return std::nullopt;
  if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    ++i;
    if (i < text.size() && (text[i] == '-' || text[i] == '+')) ++i;
    const size_t end = SkipDigits(text, i);
    if (end == i) return std::nullopt;
    i = end;
  }
  if (i != text.size()) return std::nullopt;
  return text[0] == '+' ? text.substr(1) : text;
}

// The number in `text`, which all of it must be; nothing if it does not fit.
template <typename Number>
std::optional<Number> ParseNumber(const std::string& text) {
  Number number{};
  const auto result = std::from_chars(text.data(), text.data() + text.size(), number);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size()) return std::nullopt;
  return number;
}

const std::string* PlainText(const ConfigValue& value) {
  if (value.kind() != ConfigValue::Kind::kScalar || value.quoted()) return nullptr;
  return &value.text();
}

}  // namespace

ConfigValue ConfigValue::NoValue() {
  ConfigValue value;
  value.no_value_ = true;
  return value;
}

ConfigValue ConfigValue::Scalar(std::string text, bool quoted) {
  ConfigValue value;
  value.kind_ = Kind::kScalar;
  value.text_ = std::move(text);
  value.quoted_ = quoted;
  return value;
}

ConfigValue ConfigValue::List(std::vector<ConfigValue> items) {
  ConfigValue value;
  value.kind_ = Kind::kList;
  value.items_ = std::move(items);
  return value;
}

ConfigValue ConfigValue::Map(std::vector<Entry> entries) {
  ConfigValue value;
  value.kind_ = Kind::kMap;
  value.entries_ = std::move(entries);
  return value;
}

const ConfigValue* ConfigValue::Find(const std::string& key) const {
  for (const Entry& entry : entries_) {
    if (entry.first == key) return &entry.second;
  }
  return nullptr;
}

ConfigValue* ConfigValue::Find(const std::string& key) {
  for (Entry& entry : entries_) {
    if (entry.first == key) return &entry.second;
  }
  return nullptr;
}

std::string ConfigValue::Describe() const {
  switch (kind_) {
    case Kind::kNull:
      return "null";
    case Kind::kList:
      return "a list";
    case Kind::kMap:
      return "a map";
    case Kind::kScalar:
      break;
  }
  if (quoted_) return IsTypedScalar(text_) ? "a quoted string" : "a string";
  if (IsNullText(text_)) return "null";
  if (BoolOf(text_)) return "a bool";
  if (IntegerDigits(text_)) return "an integer";
  if (FractionText(text_)) return "a number";
  return "a string";
}

bool ConfigValue::operator==(const ConfigValue& other) const {
  if (kind_ != other.kind_) return false;
  if (kind_ == Kind::kScalar) {
    return text_ == other.text_ && (quoted_ == other.quoted_ || !IsTypedScalar(text_));
  }
  return items_ == other.items_ && entries_ == other.entries_;
}

void ThrowWrongType(const ConfigValue& value, const std::string& name, const std::string& must) {
  std::string is = "is " + value.Describe();
  if (value.has_no_value()) {
    is = "has no value";
  } else if (value.kind() == ConfigValue::Kind::kScalar) {
    is = Str("is '", ShortText(value.text()), "' (", value.Describe(), ")");
  }
  throw ConfigError(value.origin(), Str("'", name, "' ", is, ", but must be ", must));
}

bool IsTypedScalar(const std::string& text) {
  return IsNullText(text) || BoolOf(text) || IntegerDigits(text) || FractionText(text);
}

bool AsBool(const ConfigValue& value, const std::string& name) {
  const std::string* text = PlainText(value);
  const std::optional<bool> result = text != nullptr ? BoolOf(*text) : std::nullopt;
  if (!result) ThrowWrongType(value, name, "true or false");
  return *result;
}

int64_t AsInt(const ConfigValue& value, const std::string& name) {
  const std::string* text = PlainText(value);
  const std::optional<std::string> digits = text != nullptr ? IntegerDigits(*text) : std::nullopt;
  if (!digits) ThrowWrongType(value, name, "an integer");
  const std::optional<int64_t> result = ParseNumber<int64_t>(*digits);
  if (!result) ThrowWrongType(value, name, "an integer of at most 64 bits");
  return *result;
}

double AsDouble(const ConfigValue& value, const std::string& name) {
  const std::string* text = PlainText(value);
  std::optional<std::string> number = text != nullptr ? IntegerDigits(*text) : std::nullopt;
  if (!number && text != nullptr) number = FractionText(*text);
  if (!number) ThrowWrongType(value, name, "a number");
  const std::optional<double> result = ParseNumber<double>(*number);
  if (!result) ThrowWrongType(value, name, "a number that a double can hold");
  return *result;
}

std::string AsString(const ConfigValue& value, const std::string& name) {
  if (value.kind() != ConfigValue::Kind::kScalar) ThrowWrongType(value, name, "a string");
  return value.text();
}

}  // namespace ckv
