// What the `Visit` functions of config structs are walked for: reading, the resolved config, the
// flat list that tells runs apart, and the table of keys for --help and the documentation.
//
//   TrainRun run;
//   const ConfigValue tree = LoadConfig("configs/train/tiny.yaml", {"train.optim.lr=1e-3"});
//   ReadConfig(tree, run);
//   WriteFileAtomically(dir + "/config.yaml", DumpYaml(run));
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "config/load.h"
#include "config/visitor.h"

namespace ckv {

// Calls `Visit` of some struct.
using ConfigVisit = std::function<void(ConfigVisitor&)>;

// Puts the tree's values into `config`. A key that the tree lacks, and one that is null (unless the
// key is optional), leaves the variable as it is. Throws ConfigError at the place of
//   - a key that no struct names: "a.yaml:2:3: unknown key 'train.optm' (did you mean
//     'train.optim'?)";
//   - a value of the wrong type: "a.yaml:3:7: 'train.lr' is 'abc' (a string), but must be a
//     number";
//   - a value that violates a Choice or Require; with the file alone as place if the value is a
//     default.
//
// `prefix` is the dotted key of the section that `tree` is, for messages.
void ReadConfigWith(const ConfigValue& tree, const ConfigVisit& visit, const std::string& prefix);
template <typename T>
void ReadConfig(const ConfigValue& tree, T& config, const std::string& prefix = "") {
  ReadConfigWith(
      tree, [&config](ConfigVisitor& v) { config.Visit(v); }, prefix);
}

// The resolved config as YAML: every key, defaults included. Reading it gives equal values, doubles
// to the last bit. With `with_help` each key carries its help as a comment.
std::string DumpYamlWith(const ConfigVisit& visit, bool with_help);
template <typename T>
std::string DumpYaml(const T& config, bool with_help = false) {
  T copy = config;
  return DumpYamlWith([&copy](ConfigVisitor& v) { copy.Visit(v); }, with_help);
}

// Every key with the YAML text of its value, in the order of `Visit`: ("train.optim.lr", "3e-4"),
// ("sources.0.path", "a.txt"). A list of structs also has an entry with its length: ("sources",
// "1 item").
using FlatConfig = std::vector<std::pair<std::string, std::string>>;
FlatConfig FlattenConfigWith(const ConfigVisit& visit);
template <typename T>
FlatConfig FlattenConfig(const T& config) {
  T copy = config;
  return FlattenConfigWith([&copy](ConfigVisitor& v) { copy.Visit(v); });
}

// A fingerprint of all keys and values. Drop entries of the flat list first to leave them out.
uint64_t ConfigHash(const FlatConfig& flat);

// A key with its values on both sides; empty text: that side lacks the key.
struct ConfigDifference {
  std::string key;
  std::string left;
  std::string right;
};

// In the order of `left`, then what only `right` has.
std::vector<ConfigDifference> DiffConfigs(const FlatConfig& left, const FlatConfig& right);

// A row of the table of keys. Items of a list of structs stand under "key[].sub" with the defaults
// of a new item.
struct HelpRow {
  std::string key;
  std::string type;           // "number", "integer or null", "cosine | linear", "section", ...
  std::string default_value;  // YAML text; empty for sections
  std::string help;
};
std::vector<HelpRow> HelpTableWith(const ConfigVisit& visit);
template <typename T>
std::vector<HelpRow> HelpTable(const T& config) {
  T copy = config;
  return HelpTableWith([&copy](ConfigVisitor& v) { copy.Visit(v); });
}

// The member of `candidates` that `word` was probably meant to be; "" if none is near.
std::string ClosestWord(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace ckv
