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

  ConfigValue() = default;  // null
  static ConfigValue Scalar(std::string text, bool quoted = false);
  static ConfigValue List(std::vector<ConfigValue> items = {});
  static ConfigValue Map(std::vector<Entry> entries = {});

  Kind kind() const { return kind_; }
  bool is_null() const { return kind_ == Kind::kNull; }

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

  // "a string", "a list", ... for messages.
  std::string Describe() const;

  // Equality of content; origins and quoting style do not count, but 'quoted' scalars differ from
  // plain ones where the plain one would be a number, a bool or null.
  bool operator==(const ConfigValue& other) const;
  bool operator!=(const ConfigValue& other) const { return !(*this == other); }

 private:
  Kind kind_ = Kind::kNull;
  std::string text_;
  bool quoted_ = false;
  std::vector<ConfigValue> items_;
  std::vector<Entry> entries_;
  std::string origin_;
  std::string key_origin_;
};

// Typed views of a scalar; each throws ConfigError(origin, "'name' ...") if the value is of another
// type. `name` is the dotted key for the message. AsInt takes plain
// decimal integers, optionally with underscores between digits.
bool AsBool(const ConfigValue& value, const std::string& name);
int64_t AsInt(const ConfigValue& value, const std::string& name);
double AsDouble(const ConfigValue& value,
                const std::string& name);  // integers too, inf, nan refused
std::string AsString(const ConfigValue& value, const std::string& name);

}  // namespace ckv
