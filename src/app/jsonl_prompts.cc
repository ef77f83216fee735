#include "app/jsonl_prompts.h"

#include <algorithm>
#include <limits>
#include <sstream>

#include <nlohmann/json.hpp>

#include "app/prompt_builder.h"
#include "base/error.h"
#include "base/json.h"
#include "text/stop_text.h"

namespace ckv {
namespace {

// One line, with what is wrong with it.
class PromptLine {
 public:
  PromptLine(const std::string& line, const std::string& path, const JsonlFields& fields)
      : line_(line), path_(path), fields_(fields), json_(ParseJson(line, path)) {
    if (!json_.is_object()) Refuse(Str("is a JSON ", json_.type_name(), ", not an object"));
  }

  JsonlPrompt Read() const {
    JsonlPrompt prompt;
    prompt.line = line_;
    ReadPrompt(&prompt);
    if (json_.contains(fields_.results)) {
      Refuse(Str("has a field '", fields_.results,
                 "', where the result is to stand; --result-field names another"));
    }
    if (const Json* value = Find("max_tokens"))
      prompt.max_tokens = ReadWhole(*value, "max_tokens", 1);
    if (const Json* value = Find("seed")) {
      prompt.seed = ReadWhole(*value, "seed", std::numeric_limits<int64_t>::min());
    }
    if (const Json* value = Find("stop")) prompt.stops = ReadStops(*value);
    return prompt;
  }

 private:
  [[noreturn]] void Refuse(const std::string& what) const { throw FormatError(path_, "", what); }

  // A field that may be left out; null is as good as that.
  const Json* Find(const char* name) const {
    const auto found = json_.find(name);
    return found == json_.end() || found->is_null() || name == fields_.prompt ? nullptr : &*found;
  }

  void ReadPrompt(JsonlPrompt* prompt) const {
    const auto found = json_.find(fields_.prompt);
    if (found == json_.end()) {
      std::string keys;
      for (const auto& item : json_.items()) keys += (keys.empty() ? "" : ", ") + item.key();
      Refuse(Str("has no field '", fields_.prompt, "' (it has: ", keys.empty() ? "none" : keys,
                 "); --prompt-field names another"));
    }
    if (found->is_string()) {
      prompt->text = found->get<std::string>();
      return;
    }
    if (!found->is_array()) {
      Refuse(Str("field '", fields_.prompt, "' is a ", found->type_name(),
                 ", not a string or a list of token ids"));
    }
    for (const Json& id : *found) {
      const bool fits =
          id.is_number_integer() && id >= 0 && id <= std::numeric_limits<int32_t>::max();
      if (!fits) Refuse(Str("field '", fields_.prompt, "' holds ", id.dump(), ", not a token id"));
      prompt->ids.push_back(id.get<int32_t>());
    }
  }

  int64_t ReadWhole(const Json& value, const char* name, int64_t least) const {
    const bool fits = value.is_number_integer() && value <= std::numeric_limits<int64_t>::max() &&
                      value.get<int64_t>() >= least;
    if (!fits) {
      Refuse(Str("field '", name, "' is ", value.dump(), ", but must be a whole number",
                 least == 1 ? " >= 1" : ""));
    }
    return value.get<int64_t>();
  }

  std::vector<std::string> ReadStops(const Json& value) const {
    const Json list = value.is_array() ? value : Json::array({value});
    std::vector<std::string> stops;
    for (const Json& stop : list) {
      if (!stop.is_string() || stop.get<std::string>().empty()) {
        Refuse(Str("field 'stop' holds ", stop.dump(), ", but must hold texts that are not empty"));
      }
      stops.push_back(stop.get<std::string>());
    }
    return stops;
  }

  const std::string& line_;
  std::string path_;
  const JsonlFields& fields_;
  Json json_;
};

bool IsBlankLine(const std::string& line) {
  return line.find_first_not_of(" \t\r") == std::string::npos;
}

}  // namespace

std::vector<JsonlPrompt> ReadJsonlPrompts(const std::string& path, const JsonlFields& fields) {
  std::istringstream in(ReadPromptFile(path));
  const std::string name = path == "-" ? "stdin" : path;
  std::vector<JsonlPrompt> prompts;
  std::string line;
  for (int64_t number = 1; std::getline(in, line); ++number) {
    if (IsBlankLine(line)) continue;
    prompts.push_back(PromptLine(line, Str(name, ":", number), fields).Read());
  }
  return prompts;
}

}  // namespace ckv
