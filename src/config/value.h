// A YAML value with the place it came from: the tree that configuration is read from and merged in.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace ckv {

class ConfigValue {
 public:
  enum class Kind { kNull, kScalar, kList, kMap };
  using Entry = std::pair<std::string, ConfigValue>;

  ConfigValue() = default;       // null
  static ConfigValue NoValue();  // the null of "key:" with nothing behind it
  static ConfigValue Scalar(std::string text, bool quoted = false);
  static ConfigValue List(std::vector<ConfigValue> items = {});
  static ConfigValue Map(std::vector<Entry> entries = {});

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::kNull; }
  // A null that nobody wrote out. Where "null" asks for the default, this is a forgotten value.
  bool has_no_value() const { return no_value_; }

  // Of a scalar. Quoted text is never a number, a bool or null.
  const std::string& text() const { return text_; }
  bool quoted() const { return quoted_; }

  const std::vector<ConfigValue>& items() const { return items_; }  // of a list
  std::vector<ConfigValue>& items() { return items_; }
  const std::vector<Entry>& entries() const { return entries_; }  // of a map, in file order
  std::vector<Entry>& entries() { return entries_; }
  const ConfigValue* Find(const std::string& key) const;  // nullptr: not there
  ConfigValue* Find(const std::string& key);

  // "a.yaml:12:7" or "--set a.b=3"; "" for a default.
  const std::string& origin() const { return origin_; }
  void set_origin(std::string origin) { origin_ = std::move(origin); }

  // For a map's keys: where the key itself stands, for messages about unknown keys.
  const std::string& key_origin() const { return key_origin_; }
  void set_key_origin(std::string origin) { key_origin_ = std::move(origin); }

  // "a string", "an integer", "a list", ... for messages.
  std::string Describe() const;

  // Equality of content; origins and quoting style do not count, but 'quoted' scalars differ from
  // plain ones where the plain one would be a number, a bool or null.
  bool operator==(const ConfigValue& other) const;
  bool operator!=(const ConfigValue& other) const { return !(*this == other); }

 private:
  Kind kind_ = Kind::kNull;
  bool no_value_ = false;
  std::string text_;
  bool quoted_ = false;
  std::vector<ConfigValue> items_;
  std::vector<Entry> entries_;
  std::string origin_;
  std::string key_origin_;
};

// Typed views of a scalar; each throws ConfigError(origin, "'name' is 'abc' (a string), but must be
// ...") if the value is of another type. `name` is the dotted key for the message.
//
// AsBool takes true and false (also True, TRUE, False, FALSE), not YAML 1.1's yes and on. AsInt
// takes decimal integers without leading zeros, optionally with underscores between digits.
// AsDouble takes those and decimal fractions, with or without exponent, but neither inf nor nan.
// AsString takes the text of any scalar, so `kv_sharing: 0_6_6` needs no quotes.
bool AsBool(const ConfigValue& value, const std::string& name);
int64_t AsInt(const ConfigValue& value, const std::string& name);
double AsDouble(const ConfigValue& value, const std::string& name);
std::string AsString(const ConfigValue& value, const std::string& name);

// Throws ConfigError at the value's place: "'name' is <what it is>, but must be <must>".
[[noreturn]] void ThrowWrongType(const ConfigValue& value, const std::string& name,
                                 const std::string& must);

// True if plain (unquoted) `text` is read as null, a bool or a number, not as a string.
bool IsTypedScalar(const std::string& text);

}  // namespace ckv
