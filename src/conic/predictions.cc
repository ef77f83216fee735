#include "conic/predictions.h"

#include <algorithm>
#include <optional>
#include <unordered_set>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace ckv::conic {
namespace {

// The first of `keys` that the object has as a string, or null.
const std::string* StringUnder(const Json& row, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    const auto found = row.find(key);
    if (found != row.end() && found->is_string()) return &found->get_ref<const std::string&>();
  }
  return nullptr;
}

// Calls `use(line, number)` for each line that is not blank.
template <typename Use>
void ForEachLine(const std::string& text, Use use) {
  size_t begin = 0;
  size_t number = 1;
  while (begin < text.size()) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    use(std::string_view(text).substr(begin, end - begin), number);
    begin = end + 1;
    ++number;
  }
}

std::string LinePlace(size_t number) { return Str("line ", number); }

constexpr char kBlanks[] = " \t\r\n";

// The first character that is no white space, or NUL.
char FirstCharacter(const std::string& text) {
  const size_t at = text.find_first_not_of(kBlanks);
  return at == std::string::npos ? '\0' : text[at];
}

// Without the mark that some editors put in front of UTF-8.
std::string ReadText(const std::string& path) {
  constexpr std::string_view kMark = "\xef\xbb\xbf";
  std::string text = ReadFile(path);
  if (text.compare(0, kMark.size(), kMark) == 0) text.erase(0, kMark.size());
  return text;
}

// Predictions as a list of JSON in place of lines of it. "[1, 2] ..." may also be a statement.
std::optional<Json> AsList(const std::string& text) {
  if (FirstCharacter(text) != '[') return std::nullopt;
  Json list = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  const bool rows = list.is_array() && std::all_of(list.begin(), list.end(), [](const Json& row) {
                      return row.is_string() || row.is_object();
                    });
  return rows ? std::optional<Json>(std::move(list)) : std::nullopt;
}

// Whether lines are strings or objects in JSON; "{A, B} = ..." is a statement.
bool AreJsonLines(const std::string& text) {
  const size_t at = text.find_first_not_of(kBlanks);
  if (at == std::string::npos || text[at] == '"') return at != std::string::npos;
  const size_t next = text[at] == '{' ? text.find_first_not_of(kBlanks, at + 1) : at;
  return next != at && (next == std::string::npos || text[next] == '"' || text[next] == '}');
}

std::vector<GoldRow> GoldFromLines(const std::string& text, const std::string& path, Task task) {
  std::vector<GoldRow> rows;
  ForEachLine(text, [&](std::string_view line, size_t number) {
    if (Trim(line).empty()) return;
    const Json row = ParseJson(line, path + ", " + LinePlace(number));
    const std::string* gold = !row.is_object()         ? nullptr
                              : task == Task::kParsing ? StringUnder(row, {"gold", "statements"})
                                                       : StringUnder(row, {"gold", "answer"});
    if (gold == nullptr) {
      throw FormatError(path, LinePlace(number), "an object with a string 'gold' is expected");
    }
    const std::string* problem = StringUnder(row, {"text"});
    rows.push_back({*gold, problem != nullptr ? *problem : ""});
  });
  return rows;
}

// The index that an object names, checked; the next one in order without.
size_t IndexOf(const Json& row, size_t next, size_t num_gold, const std::string& path,
               size_t number) {
  const auto found = row.is_object() ? row.find("index") : row.end();
  if (!row.is_object() || found == row.end()) return next;
  if (!found->is_number_integer() || found->get<int64_t>() < 0 ||
      found->get<uint64_t>() >= num_gold) {
    throw FormatError(
        path, LinePlace(number),
        Str("'index' must be a row from 0 to ", num_gold - 1, ", found ", found->dump()));
  }
  return found->get<size_t>();
}

}  // namespace

std::vector<GoldRow> ReadGold(const std::string& path, Task task, bool spaced) {
  const std::string text = ReadText(path);
  if (FirstCharacter(text) != '[') return GoldFromLines(text, path, task);
  std::vector<GoldRow> rows;
  for (const Problem& problem : ReadProblems(path)) {
    const std::string statements =
        task != Task::kParsing ? std::string() : StatementString(problem);
    rows.push_back({task != Task::kParsing ? Trim(problem.answers)
                    : spaced               ? Trim(Spaced(statements))
                                           : statements,
                    problem.text});
  }
  return rows;
}

PredictionFile ReadPredictions(const std::string& path, size_t num_gold) {
  const std::string text = ReadText(path);
  PredictionFile file;
  file.rows.resize(num_gold);
  std::vector<bool> given(num_gold, false);
  size_t next = 0;
  bool indexed = false;
  const auto add = [&](std::string prediction, size_t index, size_t number) {
    if (index >= num_gold) {
      throw FormatError(path, LinePlace(number),
                        Str("more predictions than the ", num_gold, " gold rows"));
    }
    if (given[index]) {
      throw FormatError(path, LinePlace(number), Str("a second prediction for row ", index));
    }
    given[index] = true;
    file.rows[index] = std::move(prediction);
    next = index + 1;
  };
  const auto add_json = [&](const Json& row, size_t number) {
    const std::string* value = row.is_string() ? &row.get_ref<const std::string&>()
                               : row.is_object()
                                   ? StringUnder(row, {"pred", "prediction", "text", "output"})
                                   : nullptr;
    if (value == nullptr) {
      throw FormatError(path, LinePlace(number),
                        "a string, or an object with a string 'pred', is expected");
    }
    const size_t index = IndexOf(row, next, num_gold, path, number);
    indexed = indexed || (row.is_object() && row.contains("index"));
    add(*value, index, number);
  };
  if (const std::optional<Json> list = AsList(text)) {
    for (size_t i = 0; i < list->size(); ++i) add_json((*list)[i], i + 1);
  } else if (AreJsonLines(text)) {
    ForEachLine(text, [&](std::string_view line, size_t number) {
      if (Trim(line).empty()) return;
      add_json(ParseJson(line, path + ", " + LinePlace(number)), number);
    });
  } else {
    ForEachLine(
        text, [&](std::string_view line, size_t number) { add(std::string(line), next, number); });
  }
  file.missing = std::count(given.begin(), given.end(), false);
  if (file.missing > 0 && !indexed) {
    throw FormatError(path, "",
                      Str(num_gold - static_cast<size_t>(file.missing), " predictions for ",
                          num_gold, " gold rows; name rows by 'index' to leave some out"));
  }
  return file;
}

std::vector<bool> FindLeaked(const std::vector<GoldRow>& gold, const std::vector<Problem>& other) {
  std::unordered_set<std::string> texts;
  for (const Problem& problem : other) texts.insert(WithoutSpace(problem.text));
  std::vector<bool> leaked;
  leaked.reserve(gold.size());
  for (const GoldRow& row : gold) leaked.push_back(texts.count(WithoutSpace(row.text)) > 0);
  return leaked;
}

}  // namespace ckv::conic
