// From files and `--set` items to the one tree that a run is configured by.
//
// A file may name others under `base:` (a path or a list of paths, relative to the file that names
// them). They are read first, in their order, then the file itself, then the `--set` items: what
// comes later wins. Maps merge key by key; lists and scalars replace what was there.
//
// `key: null` forgets everything below it, so that the key has its default again (for an optional
// key: none). A key with nothing behind it leaves a section as it is, so a file may comment out all
// of a section's keys; for anything but a section it is an error when the config is read.
#pragma once

#include <string>
#include <vector>

#include "config/value.h"

namespace ckv {

// The merged tree of a file, its bases and `sets` ("a.b.c=value"), without the key `base`. Throws
// ConfigError, or IoError if `path` cannot be read.
ConfigValue LoadConfig(const std::string& path, const std::vector<std::string>& sets = {});

// Merges `above` into `below`; `above` wins.
void MergeConfig(ConfigValue& below, ConfigValue above);

// Applies one "a.b.c=value": the value is YAML (3, [1, 2], {x: y}, text) and merges like a file's;
// its origin is "--set a.b.c=value". A part of the key that names a list's item is its index.
void ApplySet(ConfigValue& tree, const std::string& item);

// The value at a dotted key ("a.b", "sources.0.path"); nullptr if neither a file nor `--set` gave
// it.
const ConfigValue* FindKey(const ConfigValue& tree, const std::string& dotted_key);
inline bool IsExplicit(const ConfigValue& tree, const std::string& dotted_key) {
  return FindKey(tree, dotted_key) != nullptr;
}

// Where the value at a dotted key comes from, for ConfigError; "" if it is a default.
std::string OriginOf(const ConfigValue& tree, const std::string& dotted_key);

}  // namespace ckv
