// Command-line options from the keys of a config struct, so that its Visit stays the only list of
// them: `text_field` becomes --text-field, with the same help, default and checks.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "config/config.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace ckv {

class ConfigOptions {
 public:
  // Adds one option a key. Requires a struct of plain keys. This object must outlive the parser.
  template <typename T>
  void Add(CLI::App& command, const T& defaults) {
    AddRows(command, HelpTable(defaults));
  }

  // Puts what was given into `config`. Throws ConfigError that names the option.
  template <typename T>
  void Read(T& config) const {
    ReadConfig(Given(), config);
  }

 private:
  struct Item {
    std::string key;
    std::string name;
    std::string text;
    CLI::Option* option = nullptr;
  };

  void AddRows(CLI::App& command, const std::vector<HelpRow>& rows);
  ConfigValue Given() const;

  std::deque<Item> items_;  // the parser keeps pointers to their texts
};

}  // namespace ckv
