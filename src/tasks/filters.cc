#include "tasks/filters.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "base/str.h"
#include "tasks/python_text.h"

namespace ckv {
namespace {

std::string TextBefore(const std::string& text, const std::string& mark) {
  const size_t at = text.find(mark);
  if (mark.empty() || at == std::string::npos) throw Str("has no '", mark, "'");
  return text.substr(0, at);
}

std::string TextAfter(const std::string& text, const std::string& mark) {
  const size_t at = text.find(mark);
  if (mark.empty() || at == std::string::npos) throw Str("has no '", mark, "'");
  return text.substr(at + mark.size());
}

int64_t ToInteger(const Json& value) {
  if (value.is_boolean()) return value.get<bool>() ? 1 : 0;
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_string()) {
    const std::string text(Strip(value.get<std::string>()));
    char* end = nullptr;
    errno = 0;
    const long long number = std::strtoll(text.c_str(), &end, 10);
    if (!text.empty() && *end == '\0' && errno == 0) return number;
  }
  throw Str("is ", value.dump(-1, ' ', false, Json::error_handler_t::replace), ", no integer");
}

Json IndexIn(const Json& value, const Json& list) {
  if (!list.is_array()) throw std::string("index(...) needs a list");
  const auto at = std::find(list.begin(), list.end(), value);
  if (at == list.end()) {
    throw Str("is ", value.dump(-1, ' ', false, Json::error_handler_t::replace),
              ", which is not among ", list.dump(-1, ' ', false, Json::error_handler_t::replace));
  }
  return at - list.begin();
}

Json ItemAt(const Json& value, const Json& index) {
  const int64_t at = ToInteger(index);
  if (!value.is_array()) throw std::string("is no list");
  if (at < 0 || at >= static_cast<int64_t>(value.size())) {
    throw Str("has ", value.size(), " items, so none numbered ", at);
  }
  return value[static_cast<size_t>(at)];
}

// Applies a filter of texts to a text, or to each item of a list.
template <typename Map>
Json EachText(const Json& value, Map map) {
  if (!value.is_array()) return map(TextOfValue(value));
  Json list = Json::array();
  for (const Json& item : value) list.push_back(map(TextOfValue(item)));
  return list;
}

using Arguments = const std::vector<Json>&;

const std::vector<Filter>& Table() {
  static const std::vector<Filter> table = {
      {"strip", 0,
       [](const Json& value, Arguments) {
         return EachText(value, [](const std::string& text) { return std::string(Strip(text)); });
       },
       "without white space at both ends"},
      {"lstrip", 0,
       [](const Json& value, Arguments) {
         return EachText(value,
                         [](const std::string& text) { return std::string(StripLeft(text)); });
       },
       "without white space at the start"},
      {"rstrip", 0,
       [](const Json& value, Arguments) {
         return EachText(value,
                         [](const std::string& text) { return std::string(StripRight(text)); });
       },
       "without white space at the end"},
      {"lower", 0, [](const Json& value, Arguments) { return EachText(value, LowerCase); },
       "in lower case"},
      {"upper", 0, [](const Json& value, Arguments) { return EachText(value, UpperCase); },
       "in upper case"},
      {"capitalize", 0, [](const Json& value, Arguments) { return EachText(value, Capitalized); },
       "the first letter in upper case, the others in lower case"},
      {"replace", 2,
       [](const Json& value, Arguments arguments) {
         const std::string from = TextOfValue(arguments[0]);
         if (from.empty()) throw std::string("replace(...) needs a text to look for");
         const std::string to = TextOfValue(arguments[1]);
         return EachText(value,
                         [&](const std::string& text) { return ReplaceAll(text, from, to); });
       },
       "with every occurrence of the first text replaced by the second"},
      {"prefix", 1,
       [](const Json& value, Arguments arguments) {
         const std::string front = TextOfValue(arguments[0]);
         return EachText(value, [&](const std::string& text) { return front + text; });
       },
       "with a text in front"},
      {"before", 1,
       [](const Json& value, Arguments arguments) {
         return Json(TextBefore(TextOfValue(value), TextOfValue(arguments[0])));
       },
       "what stands before the first occurrence of a text"},
      {"after", 1,
       [](const Json& value, Arguments arguments) {
         return Json(TextAfter(TextOfValue(value), TextOfValue(arguments[0])));
       },
       "what stands behind the first occurrence of a text"},
      {"last_word", 0,
       [](const Json& value, Arguments) {
         const std::string text = TextOfValue(value);
         const size_t at = text.rfind(' ');
         return Json(at == std::string::npos ? text : text.substr(at + 1));
       },
       "what stands behind the last blank"},
      {"but_last_word", 0,
       [](const Json& value, Arguments) {
         const std::string text = TextOfValue(value);
         const size_t at = text.rfind(' ');
         return Json(at == std::string::npos ? "" : text.substr(0, at));
       },
       "what stands before the last blank"},
      {"int", 0, [](const Json& value, Arguments) { return Json(ToInteger(value)); },
       "a text or truth value as an integer"},
      {"add", 1,
       [](const Json& value, Arguments arguments) {
         return Json(ToInteger(value) + ToInteger(arguments[0]));
       },
       "the sum of two integers"},
      {"index", 1,
       [](const Json& value, Arguments arguments) { return IndexIn(value, arguments[0]); },
       "where the value stands in a list, from 0"},
      {"item", 1,
       [](const Json& value, Arguments arguments) { return ItemAt(value, arguments[0]); },
       "an item of a list, from 0"},
      {"hellaswag", 0,
       [](const Json& value, Arguments) {
         return EachText(value, [](const std::string& text) { return CleanHellaSwag(text); });
       },
       "without the marks [title], [step] of HellaSwag's source"},
      {"wikitext", 0,
       [](const Json& value, Arguments) {
         return EachText(value, [](const std::string& text) { return DetokenizeWikiText(text); });
       },
       "WikiText's tokens as running text"},
  };
  return table;
}

// Between `open` and the next `close`: without the white space at the ends.
std::string TrimInside(const std::string& text, char open, char close) {
  std::string result;
  size_t at = 0;
  while (true) {
    const size_t begin = text.find(open, at);
    const size_t end = begin == std::string::npos ? begin : text.find(close, begin + 1);
    if (end == std::string::npos) return result.append(text, at, std::string::npos);
    result.append(text, at, begin + 1 - at);
    result.append(Strip(std::string_view(text).substr(begin + 1, end - begin - 1)));
    result.push_back(close);
    at = end + 1;
  }
}

}  // namespace

const std::vector<Filter>& AllFilters() { return Table(); }

const Filter* FindFilter(std::string_view name) {
  for (const Filter& filter : Table()) {
    if (filter.name == name) return &filter;
  }
  return nullptr;
}

std::string TextOfValue(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "True" : "False";
  if (value.is_null()) return "None";
  if (value.is_number()) return value.dump();
  throw Str("is ", value.is_array() ? "a list" : "an object", ", but must be a text");
}

// Source: lm-evaluation-harness, tasks/hellaswag/utils.py.
std::string CleanHellaSwag(std::string_view text) {
  const std::string marked = ReplaceAll(Strip(text), " [title]", ". ");
  std::string clean;
  size_t at = 0;
  while (at < marked.size()) {
    const size_t end = marked[at] == '[' ? marked.find(']', at) : std::string::npos;
    // A mark does not go over a line end.
    if (end != std::string::npos && marked.find('\n', at) >= end) {
      at = end + 1;
    } else {
      clean.push_back(marked[at++]);
    }
  }
  return ReplaceAll(clean, "  ", " ");
}

// Source: lm-evaluation-harness, tasks/wikitext/preprocess_wikitext.py.
std::string DetokenizeWikiText(std::string_view text) {
  std::string result = ReplaceAll(text, "s '", "s'");
  // The harness has slashes in this pattern, so that it finds them only.
  for (char digit = '0'; digit <= '9'; ++digit) {
    result = ReplaceAll(result, Str("/' ", digit, "/"), "/'[0-9]/");
  }
  for (const auto& [from, to] :
       {std::pair(" @-@ ", "-"), std::pair(" @,@ ", ","), std::pair(" @.@ ", "."),
        std::pair(" : ", ": "), std::pair(" ; ", "; "), std::pair(" . ", ". "),
        std::pair(" ! ", "! "), std::pair(" ? ", "? "), std::pair(" , ", ", ")}) {
    result = ReplaceAll(result, from, to);
  }
  result = TrimInside(result, '(', ')');
  result = TrimInside(result, '[', ']');
  result = TrimInside(result, '{', '}');
  result = TrimInside(result, '"', '"');
  result = TrimInside(result, '\'', '\'');
  for (const auto& [from, to] :
       {std::pair("= = = =", "===="), std::pair("= = =", "==="), std::pair("= =", "=="),
        std::pair(" \xC2\xB0 ", "\xC2\xB0"), std::pair(" \n", "\n"), std::pair("\n ", "\n"),
        std::pair(" N ", " 1 "), std::pair(" 's", "'s")}) {
    result = ReplaceAll(result, from, to);
  }
  return result;
}

}  // namespace ckv
