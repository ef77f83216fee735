// CoNLL-U, and the columns of older CoNLL tasks.
#include <cctype>
#include <cstdlib>

#include "base/error.h"
#include "data/sentences.h"

namespace ckv {
namespace {

constexpr size_t kConlluColumns = 10;

size_t ConlluColumn(const std::string& name) {
  if (name == "upos") return 3;
  if (name == "xpos") return 4;
  if (name == "feats") return 5;
  CKV_CHECK(name == "deprel", "CoNLL-U column ", name);
  return 7;
}

// A token that stands for itself: not a range (2-3) nor an empty node (2.1).
bool IsPlainId(const std::string& id) {
  for (const char c : id) {
    if (std::isdigit(static_cast<unsigned char>(c)) == 0) return false;
  }
  return !id.empty();
}

bool IsSpecialId(const std::string& id) {
  const size_t at = id.find_first_of("-.");
  return at != std::string::npos && IsPlainId(id.substr(0, at)) && IsPlainId(id.substr(at + 1));
}

}  // namespace

void ReadConllu(const std::string& path, const SentenceFormat& format, const EmitSentence& emit) {
  const size_t column = ConlluColumn(format.column);
  Sentence sentence;
  const auto finish = [&] {
    if (!sentence.words.empty()) emit(std::move(sentence));
    sentence = Sentence();
    sentence.labels.resize(1);
  };
  finish();
  ForEachLine(path, [&](std::string_view line, int64_t number) {
    if (line.empty()) return finish();
    if (line[0] == '#') return;
    const std::vector<std::string> fields = SplitAt(line, '\t');
    if (fields.size() != kConlluColumns) {
      throw FormatError(path, Str("line ", number),
                        Str("has ", fields.size(), fields.size() == 1 ? " column" : " columns",
                            ", but CoNLL-U has ", kConlluColumns, " between tabs"));
    }
    if (IsSpecialId(fields[0])) return;
    if (!IsPlainId(fields[0])) {
      throw FormatError(path, Str("line ", number),
                        Str("'", fields[0], "' is no id of a CoNLL-U token"));
    }
    if (fields[1].empty()) throw FormatError(path, Str("line ", number), "has no word form");
    sentence.words.push_back(fields[1]);
    sentence.labels[0].push_back(fields[column]);
  });
  finish();
}

void ReadConllColumns(const std::string& path, const SentenceFormat& format,
                      const EmitSentence& emit) {
  char* end = nullptr;
  const bool by_name = format.column.empty() || format.column == "xpos";  // the default: last
  const long column = by_name ? -1 : std::strtol(format.column.c_str(), &end, 10);
  if (!by_name && *end != '\0') {
    throw ConfigError("", Str("'data.column' is '", format.column,
                              "', but must be the number of a column for format: conll"));
  }
  int64_t first_line = 0;
  long columns = 0;
  Sentence sentence;
  const auto finish = [&] {
    if (!sentence.words.empty()) emit(std::move(sentence));
    sentence = Sentence();
    sentence.labels.resize(1);
  };
  finish();
  ForEachLine(path, [&](std::string_view line, int64_t number) {
    const std::vector<std::string> fields = SplitWords(line);
    if (fields.empty()) return finish();
    if (fields[0] == "-DOCSTART-") return;
    const long count = static_cast<long>(fields.size());
    if (first_line == 0) {
      first_line = number;
      columns = count;
    }
    if (count != columns) {  // the last column would be another one
      throw FormatError(path, Str("line ", number),
                        Str("has ", count, count == 1 ? " column" : " columns", ", but line ",
                            first_line, " has ", columns));
    }
    const long at = column < 0 ? count + column : column;
    if (at < 1 || at >= count) {
      throw FormatError(path, Str("line ", number),
                        Str("has ", count, count == 1 ? " column" : " columns",
                            ": there is no label in column ", column));
    }
    sentence.words.push_back(fields[0]);
    sentence.labels[0].push_back(fields[static_cast<size_t>(at)]);
  });
  finish();
}

}  // namespace ckv
