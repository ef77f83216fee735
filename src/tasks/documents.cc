#include "tasks/documents.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "data/byte_stream.h"
#include "data/text_reader.h"
#include "tasks/python_text.h"
#include "text/utf8.h"

namespace ckv {
namespace {

constexpr size_t kMaxDocumentBytes = size_t{1} << 30;

std::string ReadWhole(const std::string& path) {
  const std::unique_ptr<ByteStream> stream = OpenByteStream(path);
  std::string content;
  std::vector<char> block(size_t{1} << 16);
  while (const size_t count = stream->Read(block.data(), block.size())) {
    content.append(block.data(), count);
    if (content.size() > kMaxDocumentBytes) {
      throw FormatError(path, "", Str("holds more than ", kMaxDocumentBytes, " bytes"));
    }
  }
  const size_t invalid = FirstInvalidUtf8(content);
  if (invalid != std::string_view::npos) {
    throw FormatError(path, Str("byte ", invalid), "is not UTF-8");
  }
  return content;
}

std::vector<std::string> SplitLines(const std::string& content) {
  std::vector<std::string> lines;
  size_t at = 0;
  while (at < content.size()) {
    size_t end = content.find('\n', at);
    if (end == std::string::npos) end = content.size();
    lines.push_back(content.substr(at, end - at));
    if (!lines.back().empty() && lines.back().back() == '\r') lines.back().pop_back();
    at = end + 1;
  }
  return lines;
}

bool EndsWith(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

std::string FormatOf(const std::string& path, const std::string& content) {
  std::string name = BaseName(path);
  for (const char* packed : {".zst", ".gz"}) {
    if (EndsWith(name, packed)) name.resize(name.size() - std::string(packed).size());
  }
  if (EndsWith(name, ".txt")) return "text";
  if (EndsWith(name, ".jsonl") || EndsWith(name, ".ndjson")) return "jsonl";
  if (EndsWith(name, ".json")) {
    const size_t first = content.find_first_not_of(" \t\r\n");
    return first != std::string::npos && content[first] == '[' ? "json" : "jsonl";
  }
  throw FormatError(path, "",
                    "its name does not say what it is (.jsonl, .json, .txt; .gz, .zst); set "
                    "'format' in the task");
}

void AddJsonLines(const std::string& path, const std::string& content, std::vector<Json>* items) {
  const std::vector<std::string> lines = SplitLines(content);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (Strip(lines[i]).empty()) continue;
    Json item = ParseJson(lines[i], Str(path, ":", i + 1));
    if (!item.is_object()) throw FormatError(path, Str("line ", i + 1), "is no JSON object");
    items->push_back(std::move(item));
  }
}

void AddJsonList(const std::string& path, const std::string& content, std::vector<Json>* items) {
  Json list = ParseJson(content, path);
  if (!list.is_array()) throw FormatError(path, "", "is no list of JSON objects");
  for (size_t i = 0; i < list.size(); ++i) {
    if (!list[i].is_object()) throw FormatError(path, Str("item ", i), "is no JSON object");
    items->push_back(std::move(list[i]));
  }
}

// True for " = Title = ", but not for the headings below it.
bool BeginsArticle(const std::string& line) {
  const std::string heading = ReplaceAll(ReplaceAll(line, "= = =", "==="), "= =", "==");
  const std::string_view text = Strip(heading);
  return text.size() >= 4 && text.substr(0, 2) == "= " && text.substr(text.size() - 2) == " =";
}

// An article holds its lines and the line ends between them, as the document-level release of
// WikiText does.
void AddArticles(const std::string& content, std::vector<Json>* items) {
  std::string page;
  bool empty = true;  // no line yet
  const auto finish = [&] {
    if (!Strip(page).empty()) items->push_back(Json{{"page", page}});
    page.clear();
    empty = true;
  };
  size_t at = 0;
  while (at <= content.size()) {
    size_t end = content.find('\n', at);
    if (end == std::string::npos) end = content.size();
    const std::string line = content.substr(at, end - at);
    if (BeginsArticle(line)) finish();
    if (!empty) page.push_back('\n');
    page += line;
    empty = false;
    at = end + 1;
  }
  finish();
}

Json LabelOf(const std::string& line) {
  const std::string text(Strip(line));
  const bool digits =
      !text.empty() && text.size() < 10 &&
      std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (digits) return std::stol(text);
  return text;
}

void AddLabels(const std::string& labels, const std::vector<std::string>& folders,
               Documents* documents) {
  const bool needed = std::any_of(documents->items.begin(), documents->items.end(),
                                  [](const Json& item) { return !item.contains("label"); });
  if (!needed) return;
  const std::string path = FindTaskFiles({labels}, folders).front();
  const std::string content = ReadWhole(path);
  documents->fingerprint = Fnv1a64(content, documents->fingerprint);
  std::vector<std::string> lines = SplitLines(content);
  while (!lines.empty() && Strip(lines.back()).empty()) lines.pop_back();
  if (lines.size() != documents->items.size()) {
    throw FormatError(path, "",
                      Str("has ", lines.size(), " labels, but there are ", documents->items.size(),
                          " documents"));
  }
  for (size_t i = 0; i < lines.size(); ++i) {
    Json& item = documents->items[i];
    if (!item.contains("label")) item["label"] = LabelOf(lines[i]);
  }
}

}  // namespace

std::vector<std::string> FindTaskFiles(const std::vector<std::string>& patterns,
                                       const std::vector<std::string>& folders) {
  for (const std::string& pattern : patterns) {
    for (const std::string& folder : folders) {
      try {
        return ExpandInputs({JoinPath(folder, pattern)});
      } catch (const IoError&) {  // names nothing there
      }
    }
  }
  std::string wanted;
  for (const std::string& pattern : patterns) wanted += (wanted.empty() ? "" : ", ") + pattern;
  std::string places;
  for (const std::string& folder : folders) places += (places.empty() ? "" : ", ") + folder;
  throw IoError(wanted, Str("not found in ", places, " (name the data's folder with --data-dir)"));
}

Documents ReadDocuments(const std::vector<std::string>& patterns,
                        const std::vector<std::string>& folders, const std::string& format,
                        const std::string& labels) {
  Documents documents;
  documents.files = FindTaskFiles(patterns, folders);
  documents.fingerprint = Fnv1a64("");
  for (const std::string& path : documents.files) {
    const std::string content = ReadWhole(path);
    documents.fingerprint = Fnv1a64(content, documents.fingerprint);
    const std::string kind = format == "auto" ? FormatOf(path, content) : format;
    if (kind == "jsonl") {
      AddJsonLines(path, content, &documents.items);
    } else if (kind == "json") {
      AddJsonList(path, content, &documents.items);
    } else if (kind == "wikitext") {
      AddArticles(content, &documents.items);
    } else {
      documents.items.push_back(Json{{"text", content}});
    }
  }
  if (documents.items.empty()) throw FormatError(documents.files.front(), "", "has no documents");
  if (!labels.empty()) AddLabels(labels, folders, &documents);
  return documents;
}

}  // namespace ckv
