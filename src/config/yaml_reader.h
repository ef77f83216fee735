// YAML text to values that know their line and column.
//
// Only the part of YAML that configuration needs is taken: one document of maps with plain-text
// keys, lists and scalars, with anchors and aliases. Everything else (tags other than !!str, merge
// keys, several documents, duplicate keys, control characters) is refused with its place.
//
// The text may come from anywhere, so size, depth and number of values are bounded. yaml-cpp itself
// recurses once a level; its events are checked on the way down, before it goes deeper, and text
// that nests absurdly is refused before yaml-cpp sees it.
#pragma once

#include <cstddef>
#include <string>

#include "config/value.h"

namespace ckv {

struct YamlLimits {
  static constexpr size_t kMaxBytes = size_t{1} << 20;
  static constexpr int kMaxDepth = 64;
  static constexpr size_t kMaxNodes = 100000;  // aliases count as all that they stand for
  static constexpr size_t kMaxAliases = 100;
  static constexpr size_t kMaxAliasBytes = size_t{1} << 20;  // text copied by aliases
  static constexpr size_t kMaxKeyBytes = 512;
};

// The value of the document in `text`; null for an empty one. Each value's origin is
// "path:line:column", counted from 1, columns in bytes. Throws ConfigError with such an origin.
ConfigValue ReadYaml(const std::string& text, const std::string& path);

// ReadYaml over a file's content. Throws IoError if it cannot be read.
ConfigValue ReadYamlFile(const std::string& path);

// As ReadYaml, for text that is not a file ("--set a.b=[1, 2]"): every value's origin, and that of
// errors, is `origin` as it stands.
ConfigValue ReadYamlText(const std::string& text, const std::string& origin);

}  // namespace ckv
