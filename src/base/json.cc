#include "base/json.h"

#include <set>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"

namespace ckv {
namespace {

// Watches depth and keys while nlohmann's parser builds the value.
class StrictCallback {
 public:
  StrictCallback(const std::string& path, int max_depth) : path_(path), max_depth_(max_depth) {}

  bool operator()(int depth, Json::parse_event_t event, Json& value) {
    if (depth > max_depth_) {
      throw FormatError(path_, "", Str("JSON is nested deeper than ", max_depth_, " levels"));
    }
    if (event == Json::parse_event_t::object_start) {
      keys_.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      keys_.pop_back();
    } else if (event == Json::parse_event_t::key) {
      const std::string& key = value.get_ref<const std::string&>();
      if (!keys_.back().insert(key).second) {
        throw FormatError(path_, "", Str("JSON key '", key, "' occurs twice in one object"));
      }
    }
    return true;
  }

 private:
  const std::string& path_;
  int max_depth_;
  std::vector<std::set<std::string>> keys_;
};

std::string LineAndColumn(std::string_view text, size_t byte) {
  size_t line = 1;
  size_t column = 1;
  for (size_t i = 0; i + 1 < byte && i < text.size(); ++i) {
    ++column;
    if (text[i] == '\n') {
      ++line;
      column = 1;
    }
  }
  return Str("line ", line, ", column ", column);
}

// nlohmann's text without its "[json.exception...] parse error at line 1, column 2: " prefix.
std::string Reason(const std::string& what) {
  const size_t colon = what.find(": ");
  return colon == std::string::npos ? what : what.substr(colon + 2);
}

}  // namespace

Json ParseJson(std::string_view text, const std::string& path, int max_depth) {
  // nlohmann's parser takes a NUL byte for the end and leaves what follows unread.
  const size_t nul = text.find('\0');
  if (nul != std::string_view::npos) {
    throw FormatError(path, LineAndColumn(text, nul + 1), "not valid JSON: a NUL byte");
  }
  StrictCallback callback(path, max_depth);
  try {
    return Json::parse(text.begin(), text.end(), std::ref(callback));
  } catch (const Json::parse_error& error) {
    throw FormatError(path, LineAndColumn(text, error.byte),
                      Str("not valid JSON: ", Reason(error.what())));
  } catch (const Json::exception& error) {
    throw FormatError(path, "", Str("not valid JSON: ", Reason(error.what())));
  }
}

Json ReadJsonFile(const std::string& path) { return ParseJson(ReadFile(path), path); }

}  // namespace ckv
