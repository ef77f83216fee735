#include "config/load.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <system_error>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "config/yaml_reader.h"
#include "config/yaml_writer.h"

namespace ckv {
namespace {

constexpr const char* kBaseKey = "base";
constexpr int kMaxFiles = 100;

// Reads a file after its bases.
class BaseLoader {
 public:
  ConfigValue Load(const std::string& path) {
    if (++num_files_ > kMaxFiles) {
      throw ConfigError(path, Str("more than ", kMaxFiles, " files are read through 'base'"));
    }
    chain_.push_back({path, Identity(path)});
    ConfigValue file = ReadYamlFile(path);
    if (file.is_null()) file = EmptyMapAt(file.origin());
    if (file.kind() != ConfigValue::Kind::kMap) {
      throw ConfigError(file.origin(),
                        Str("a config file holds keys and values, not ", file.Describe()));
    }
    const ConfigValue bases = TakeBases(file);
    ConfigValue merged = EmptyMapAt(file.origin());
    if (bases.kind() == ConfigValue::Kind::kScalar) {
      MergeBase(merged, path, bases);
    } else if (bases.kind() == ConfigValue::Kind::kList) {
      for (const ConfigValue& item : bases.items()) MergeBase(merged, path, item);
    } else if (bases.kind() == ConfigValue::Kind::kMap) {
      ThrowWrongType(bases, kBaseKey, "a path or a list of paths");
    }
    MergeConfig(merged, std::move(file));
    chain_.pop_back();
    return merged;
  }

 private:
  struct Link {
    std::string path;
    std::string identity;
  };

  static ConfigValue EmptyMapAt(const std::string& origin) {
    ConfigValue map = ConfigValue::Map();
    map.set_origin(origin);
    return map;
  }

  // The same for all paths that lead to one file.
  static std::string Identity(const std::string& path) {
    std::error_code error;
    const std::filesystem::path canonical = std::filesystem::weakly_canonical(path, error);
    return error ? path : canonical.string();
  }

  static ConfigValue TakeBases(ConfigValue& file) {
    auto& entries = file.entries();
    for (size_t i = 0; i < entries.size(); ++i) {
      if (entries[i].first != kBaseKey) continue;
      ConfigValue bases = std::move(entries[i].second);
      entries.erase(entries.begin() + static_cast<std::ptrdiff_t>(i));
      return bases;
    }
    return ConfigValue();
  }

  void MergeBase(ConfigValue& merged, const std::string& path, const ConfigValue& base) {
    const std::string name = AsString(base, kBaseKey);
    if (name.empty()) ThrowWrongType(base, kBaseKey, "a path");
    const std::string base_path = JoinPath(DirName(path), name);
    const std::string shown = std::filesystem::path(base_path).lexically_normal().string();
    CheckLoop(shown, base);
    if (!FileExists(base_path) || IsDirectory(base_path)) {
      throw ConfigError(base.origin(), Str("base file '", shown, "' does not exist"));
    }
    MergeConfig(merged, Load(shown));
  }

  void CheckLoop(const std::string& path, const ConfigValue& base) const {
    const std::string identity = Identity(path);
    std::string loop;
    for (const Link& link : chain_) {
      if (!loop.empty() || link.identity == identity) loop += link.path + " -> ";
    }
    if (!loop.empty()) {
      throw ConfigError(base.origin(), Str("base files form a loop: ", loop, path));
    }
  }

  std::vector<Link> chain_;
  int num_files_ = 0;
};

std::vector<std::string> SplitKey(const std::string& dotted_key) {
  std::vector<std::string> parts;
  size_t begin = 0;
  while (true) {
    const size_t dot = dotted_key.find('.', begin);
    parts.push_back(dotted_key.substr(begin, dot - begin));
    if (dot == std::string::npos) return parts;
    begin = dot + 1;
  }
}

std::optional<size_t> ParseIndex(const std::string& text) {
  size_t index = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), index);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size()) return std::nullopt;
  return index;
}

size_t DepthOf(const ConfigValue& value) {
  size_t depth = 0;
  for (const ConfigValue& item : value.items()) depth = std::max(depth, DepthOf(item) + 1);
  for (const auto& entry : value.entries()) depth = std::max(depth, DepthOf(entry.second) + 1);
  return depth;
}

// The entry of `parent` that `part` names, made if it is a map's and missing.
ConfigValue& EnterPart(ConfigValue& parent, const std::string& name, const std::string& part,
                       const std::string& origin) {
  if (parent.kind() == ConfigValue::Kind::kList) {
    const std::optional<size_t> index = ParseIndex(part);
    const size_t size = parent.items().size();
    if (!index || *index >= size) {
      throw ConfigError(origin, Str("'", name, "' is a list of ", size, " items; '", part,
                                    "' is not an index of it"));
    }
    return parent.items()[*index];
  }
  if (parent.kind() != ConfigValue::Kind::kMap) {
    const std::string key_origin = parent.key_origin();
    parent = ConfigValue::Map();
    parent.set_origin(origin);
    parent.set_key_origin(key_origin.empty() ? origin : key_origin);
  }
  if (ConfigValue* found = parent.Find(part)) return *found;
  ConfigValue value = ConfigValue::NoValue();
  value.set_origin(origin);
  value.set_key_origin(origin);
  parent.entries().emplace_back(part, std::move(value));
  return parent.entries().back().second;
}

}  // namespace

ConfigValue LoadConfig(const std::string& path, const std::vector<std::string>& sets) {
  ConfigValue tree = BaseLoader().Load(path);
  for (const std::string& item : sets) ApplySet(tree, item);
  return tree;
}

void MergeConfig(ConfigValue& below, ConfigValue above) {
  const bool is_section = below.kind() == ConfigValue::Kind::kMap;
  if (is_section && above.has_no_value()) return;
  if (!is_section || above.kind() != ConfigValue::Kind::kMap) {
    below = std::move(above);
    return;
  }
  std::unordered_map<std::string, size_t> places;
  for (size_t i = 0; i < below.entries().size(); ++i) places[below.entries()[i].first] = i;
  for (ConfigValue::Entry& entry : above.entries()) {
    const auto found = places.find(entry.first);
    if (found == places.end()) {
      below.entries().push_back(std::move(entry));
    } else {
      MergeConfig(below.entries()[found->second].second, std::move(entry.second));
    }
  }
  below.set_origin(above.origin());
  below.set_key_origin(above.key_origin());
}

void ApplySet(ConfigValue& tree, const std::string& item) {
  const size_t line_break = item.find_first_of("\r\n");
  if (line_break != std::string::npos) {
    throw ConfigError("--set", Str("a line break follows '", ShortText(item.substr(0, line_break)),
                                   "'; give each key its own --set"));
  }
  const std::string origin = "--set " + item;
  const size_t equals = item.find('=');
  if (equals == std::string::npos) throw ConfigError(origin, "must look like key=value");
  const std::vector<std::string> parts = SplitKey(item.substr(0, equals));
  if (equals > YamlLimits::kMaxKeyBytes) {
    throw ConfigError("--set", Str("a key of more than ", YamlLimits::kMaxKeyBytes, " bytes"));
  }
  if (FindInvalidUtf8(item) != std::string::npos) {
    throw ConfigError("--set", Str("'", ShortText(item), "' is not UTF-8"));
  }
  if (parts.front() == kBaseKey) throw ConfigError(origin, "'base' can only be given in a file");

  ConfigValue value = ReadYamlText(item.substr(equals + 1), origin);
  value.set_key_origin(origin);
  if (parts.size() + DepthOf(value) > static_cast<size_t>(YamlLimits::kMaxDepth)) {
    throw ConfigError("--set", Str("nested deeper than ", YamlLimits::kMaxDepth, " levels"));
  }

  ConfigValue* target = &tree;
  std::string name = "the config";
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts[i].empty()) throw ConfigError(origin, "the key has an empty part");
    target = &EnterPart(*target, name, parts[i], origin);
    name = i == 0 ? parts[i] : name + "." + parts[i];
  }
  MergeConfig(*target, std::move(value));
}

const ConfigValue* FindKey(const ConfigValue& tree, const std::string& dotted_key) {
  const ConfigValue* value = &tree;
  for (const std::string& part : SplitKey(dotted_key)) {
    if (value->kind() == ConfigValue::Kind::kList) {
      const std::optional<size_t> index = ParseIndex(part);
      if (!index || *index >= value->items().size()) return nullptr;
      value = &value->items()[*index];
    } else {
      value = value->Find(part);
      if (value == nullptr) return nullptr;
    }
  }
  return value;
}

std::string OriginOf(const ConfigValue& tree, const std::string& dotted_key) {
  const ConfigValue* value = FindKey(tree, dotted_key);
  return value == nullptr ? "" : value->origin();
}

}  // namespace ckv
