#include "tasks/template.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "tasks/filters.h"

namespace ckv {
namespace {

// For messages.
std::string OnOneLine(std::string_view text) {
  std::string line;
  for (const char c : text) c == '\n' ? line += "\\n" : line += c;
  return line;
}

// A path of fields, or a literal.
struct Operand {
  std::vector<std::string> path;
  std::optional<Json> literal;
  std::string text;  // as written
};

struct FilterCall {
  const Filter* filter = nullptr;
  std::vector<Operand> arguments;
};

// Reads what stands between "{{" and "}}".
class PlaceParser {
 public:
  PlaceParser(std::string_view text, const std::string& origin) : text_(text), origin_(origin) {}

  Operand ParseOperand() {
    SkipBlanks();
    Operand operand;
    const size_t begin = at_;
    if (at_ < text_.size() && (text_[at_] == '\'' || text_[at_] == '"')) {
      operand.literal = ParseQuoted();
    } else if (at_ < text_.size() &&
               (text_[at_] == '-' || std::isdigit(static_cast<unsigned char>(text_[at_])))) {
      operand.literal = ParseNumber();
    } else {
      operand.path = ParsePath();
    }
    operand.text = std::string(text_.substr(begin, at_ - begin));
    return operand;
  }

  std::vector<FilterCall> ParseFilters() {
    std::vector<FilterCall> calls;
    while (Take('|')) {
      SkipBlanks();
      const std::string name = ParseName();
      FilterCall call;
      call.filter = FindFilter(name);
      if (call.filter == nullptr) Fail(Str("there is no filter '", name, "'"));
      if (Take('(')) {
        do {
          call.arguments.push_back(ParseOperand());
        } while (Take(','));
        if (!Take(')')) Fail("a ')' is missing");
      }
      if (call.arguments.size() != call.filter->num_arguments) {
        Fail(Str("the filter '", name, "' takes ", call.filter->num_arguments, " arguments, not ",
                 call.arguments.size()));
      }
      calls.push_back(std::move(call));
    }
    SkipBlanks();
    if (at_ != text_.size()) Fail(Str("'", OnOneLine(text_.substr(at_)), "' is not understood"));
    return calls;
  }

 private:
  [[noreturn]] void Fail(const std::string& what) const {
    throw ConfigError(origin_, Str("in '{{", OnOneLine(text_), "}}': ", what));
  }

  void SkipBlanks() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }

  bool Take(char c) {
    SkipBlanks();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  std::string ParseName() {
    const size_t begin = at_;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) ||
                                  text_[at_] == '_' || text_[at_] == '-')) {
      ++at_;
    }
    if (begin == at_) Fail("a name is missing");
    return std::string(text_.substr(begin, at_ - begin));
  }

  std::vector<std::string> ParsePath() {
    std::vector<std::string> path;
    do {
      if (at_ < text_.size() && text_[at_] == '*') {
        path.emplace_back("*");
        ++at_;
      } else {
        path.push_back(ParseName());
      }
    } while (at_ < text_.size() && text_[at_] == '.' && ++at_ > 0);
    return path;
  }

  Json ParseQuoted() {
    const char quote = text_[at_++];
    std::string text;
    while (at_ < text_.size() && text_[at_] != quote) {
      if (text_[at_] == '\\' && at_ + 1 < text_.size()) {
        ++at_;
        text.push_back(text_[at_] == 'n' ? '\n' : text_[at_] == 't' ? '\t' : text_[at_]);
      } else {
        text.push_back(text_[at_]);
      }
      ++at_;
    }
    if (at_ == text_.size()) Fail(Str("a ", quote, " is missing"));
    ++at_;
    return text;
  }

  Json ParseNumber() {
    const size_t begin = at_++;
    while (at_ < text_.size() && std::isdigit(static_cast<unsigned char>(text_[at_]))) ++at_;
    const std::string digits(text_.substr(begin, at_ - begin));
    if (digits == "-" || digits.size() > 18) Fail(Str("'", digits, "' is no integer"));
    return static_cast<int64_t>(std::stoll(digits));
  }

  std::string_view text_;
  const std::string& origin_;
  size_t at_ = 0;
};

std::string NamesOf(const Json& object) {
  std::string names;
  for (const auto& item : object.items()) names += (names.empty() ? "" : ", ") + item.key();
  return names;
}

Json Lookup(const Json& value, const std::vector<std::string>& path, size_t depth) {
  if (depth == path.size()) return value;
  const std::string& name = path[depth];
  if (name == "*") {
    if (!value.is_array()) throw std::string("is no list, which '*' needs");
    Json list = Json::array();
    for (const Json& item : value) list.push_back(Lookup(item, path, depth + 1));
    return list;
  }
  if (value.is_array() &&
      std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isdigit(c); }) &&
      name.size() < 9) {
    const size_t index = std::stoul(name);
    if (index >= value.size()) throw Str("has ", value.size(), " items, so none numbered ", name);
    return Lookup(value[index], path, depth + 1);
  }
  if (!value.is_object()) throw Str("has no field '", name, "': it is no object");
  const auto found = value.find(name);
  if (found == value.end())
    throw Str("has no field '", name, "' (there are: ", NamesOf(value), ")");
  return Lookup(*found, path, depth + 1);
}

Json ValueOf(const Operand& operand, const Json& document) {
  return operand.literal.has_value() ? *operand.literal : Lookup(document, operand.path, 0);
}

}  // namespace

struct Template::Place {
  Operand operand;
  std::vector<FilterCall> calls;

  Json Value(const Json& document) const {
    Json value = ValueOf(operand, document);
    for (const FilterCall& call : calls) {
      std::vector<Json> arguments;
      for (const Operand& argument : call.arguments)
        arguments.push_back(ValueOf(argument, document));
      value = call.filter->apply(value, arguments);
    }
    return value;
  }
};

// Text, or a place.
struct Template::Part {
  std::string text;
  std::optional<Place> place;
};

Template::Template(const std::string& text, const std::string& origin) {
  size_t at = 0;
  while (at < text.size()) {
    const size_t open = text.find("{{", at);
    if (open != at) parts_.push_back({text.substr(at, open - at), std::nullopt});
    if (open == std::string::npos) return;
    const size_t close = text.find("}}", open + 2);
    if (close == std::string::npos) {
      throw ConfigError(origin,
                        Str("'", OnOneLine(std::string_view(text).substr(open)), "' has no '}}'"));
    }
    const std::string inside = text.substr(open + 2, close - open - 2);
    PlaceParser parser(inside, origin);
    Place place;
    place.operand = parser.ParseOperand();
    place.calls = parser.ParseFilters();
    parts_.push_back({inside, std::move(place)});
    at = close + 2;
  }
}

Template::~Template() = default;
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;

std::string Template::Render(const Json& document, const std::string& where) const {
  std::string text;
  for (const Part& part : parts_) {
    if (!part.place.has_value()) {
      text += part.text;
      continue;
    }
    try {
      text += TextOfValue(part.place->Value(document));
    } catch (const std::string& what) {
      throw FormatError(where, "", Str("'{{", OnOneLine(part.text), "}}' ", what));
    }
  }
  return text;
}

Json Template::Value(const Json& document, const std::string& where) const {
  if (parts_.size() != 1 || !parts_[0].place.has_value()) return Render(document, where);
  try {
    return parts_[0].place->Value(document);
  } catch (const std::string& what) {
    throw FormatError(where, "", Str("'{{", OnOneLine(parts_[0].text), "}}' ", what));
  }
}

std::vector<std::pair<std::string, std::string>> TemplateFilters() {
  std::vector<std::pair<std::string, std::string>> filters;
  for (const Filter& filter : AllFilters()) filters.emplace_back(filter.name, filter.help);
  return filters;
}

}  // namespace ckv
