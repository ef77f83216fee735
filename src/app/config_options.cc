#include "app/config_options.h"

#include <algorithm>

#include <CLI/CLI.hpp>

namespace ckv {
namespace {

std::string OptionName(std::string key) {
  std::replace(key.begin(), key.end(), '_', '-');
  return "--" + key;
}

// "a | b" as CLI11 writes choices, "{a,b}"; other types are one word in capitals.
std::string OptionType(const std::string& type) {
  if (type.find(" | ") == std::string::npos) {
    return type == "integer" ? "INT" : type == "number" ? "FLOAT" : "TEXT";
  }
  std::string choices;
  for (size_t i = 0; i < type.size(); ++i) {
    if (type.compare(i, 3, " | ") == 0) {
      choices += ',';
      i += 2;
    } else {
      choices += type[i];
    }
  }
  return "{" + choices + "}";
}

}  // namespace

void ConfigOptions::AddRows(CLI::App& command, const std::vector<HelpRow>& rows) {
  for (const HelpRow& row : rows) {
    Item& item = items_.emplace_back();
    item.key = row.key;
    item.name = OptionName(row.key);
    item.option = command.add_option(item.name, item.text, row.help)
                      ->type_name(OptionType(row.type))
                      ->default_str(row.default_value);
  }
}

ConfigValue ConfigOptions::Given() const {
  std::vector<ConfigValue::Entry> entries;
  for (const Item& item : items_) {
    if (item.option->count() == 0) continue;
    ConfigValue value = ConfigValue::Scalar(item.text);
    value.set_origin(item.name);
    entries.emplace_back(item.key, std::move(value));
  }
  return ConfigValue::Map(std::move(entries));
}

}  // namespace ckv
