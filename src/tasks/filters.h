// The filters of templates.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/json.h"

namespace ckv {

// Gets a value and the filter's arguments; throws std::string, what is wrong with them.
using FilterFn = Json (*)(const Json& value, const std::vector<Json>& arguments);

struct Filter {
  const char* name;
  size_t num_arguments;
  FilterFn apply;
  const char* help;
};

// nullptr: there is no such filter.
const Filter* FindFilter(std::string_view name);
const std::vector<Filter>& AllFilters();

// A value as Python's str() writes it. Throws std::string for lists and objects.
std::string TextOfValue(const Json& value);

// The texts of HellaSwag without the marks of their source, as lm-evaluation-harness cleans them.
std::string CleanHellaSwag(std::string_view text);

// WikiText as running text, as lm-evaluation-harness turns it back.
std::string DetokenizeWikiText(std::string_view text);

}  // namespace ckv
