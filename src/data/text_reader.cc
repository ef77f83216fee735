#include "data/text_reader.h"

#include <glob.h>

#include <cstring>
#include <string_view>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "text/utf8.h"

namespace ckv {
namespace {

constexpr size_t kReadBytes = size_t{1} << 18;

bool IsBlankText(std::string_view text) {
  return text.find_first_not_of(" \t\r\n\v\f") == std::string_view::npos;
}

bool NameEndsIn(std::string_view name, std::string_view suffix) {
  return name.size() >= suffix.size() && name.substr(name.size() - suffix.size()) == suffix;
}

bool NamesJsonLines(std::string_view name) {
  for (const char* packed : {".gz", ".zst"}) {
    if (NameEndsIn(name, packed)) name.remove_suffix(std::strlen(packed));
  }
  return NameEndsIn(name, ".jsonl") || NameEndsIn(name, ".ndjson") || NameEndsIn(name, ".json");
}

std::string TextOfJsonLine(const std::string& line, const std::string& field,
                           const std::string& path, int64_t line_number) {
  Json value;
  try {
    value = Json::parse(line);
  } catch (const Json::parse_error& error) {
    throw FormatError(path, Str("line ", line_number, ", byte ", error.byte),
                      "is not valid JSON; each line must be one JSON object");
  }
  const std::string where = Str("line ", line_number);
  if (!value.is_object()) {
    throw FormatError(path, where, Str("is a JSON ", value.type_name(), ", not an object"));
  }
  const auto found = value.find(field);
  if (found == value.end()) {
    std::string keys;
    for (const auto& item : value.items()) keys += (keys.empty() ? "" : ", ") + item.key();
    throw FormatError(path, where,
                      Str("has no field '", field, "' (it has: ", keys.empty() ? "none" : keys,
                          "); text_field names another"));
  }
  if (!found->is_string()) {
    throw FormatError(path, where,
                      Str("field '", field, "' is a ", found->type_name(), ", not a string"));
  }
  return std::move(found->get_ref<std::string&>());
}

}  // namespace

// The lines of one file, checked and without their ends.
class TextReader::LineReader {
 public:
  LineReader(const std::string& path, const TextReaderOptions& options)
      : path_(path), options_(options), stream_(OpenByteStream(path)), buffer_(kReadBytes) {}

  // False at the end. `has_end` says whether the line was ended rather than cut off by the end of
  // the file.
  bool Next(std::string* line, bool* has_end) {
    line->clear();
    ++number_;
    *has_end = false;
    while (!*has_end) {
      if (begin_ == end_ && !Refill()) break;
      const char* start = buffer_.data() + begin_;
      const size_t available = end_ - begin_;
      const void* found = std::memchr(start, '\n', available);
      *has_end = found != nullptr;
      const size_t length =
          *has_end ? static_cast<size_t>(static_cast<const char*>(found) - start) : available;
      if (line->size() + length > static_cast<size_t>(options_.max_line_bytes)) {
        throw FormatError(
            path_, Str("line ", number_),
            Str("is longer than the ", options_.max_line_bytes, " bytes allowed (max_line_bytes)"));
      }
      line->append(start, length);
      begin_ += length + (*has_end ? 1 : 0);
    }
    if (line->empty() && !*has_end) return false;
    if (*has_end && !line->empty() && line->back() == '\r') line->pop_back();
    if (number_ == 1) CheckMark(line);
    CheckUtf8(line);
    return true;
  }

  const std::string& path() const { return path_; }
  int64_t number() const { return number_; }
  uint64_t file_bytes() const { return stream_->file_bytes(); }

 private:
  bool Refill() {
    begin_ = 0;
    end_ = stream_->Read(buffer_.data(), buffer_.size());
    return end_ > 0;
  }

  void CheckMark(std::string* line) const {
    if (line->compare(0, 3, "\xEF\xBB\xBF") == 0) line->erase(0, 3);
    const bool utf16 = line->compare(0, 2, "\xFF\xFE") == 0 || line->compare(0, 2, "\xFE\xFF") == 0;
    if (utf16) throw FormatError(path_, "", "starts like UTF-16; convert it to UTF-8 first");
  }

  void CheckUtf8(std::string* line) const {
    const size_t bad = FirstInvalidUtf8(*line);
    if (bad == std::string::npos) return;
    if (options_.invalid_utf8 == "replace") {
      *line = ReplaceInvalidUtf8(*line);
      return;
    }
    throw FormatError(path_, Str("line ", number_, ", byte ", bad + 1),
                      "is not UTF-8 (invalid_utf8: replace puts U+FFFD there)");
  }

  std::string path_;
  const TextReaderOptions& options_;
  std::unique_ptr<ByteStream> stream_;
  std::vector<char> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  int64_t number_ = 0;
};

std::vector<std::string> ExpandInputs(const std::vector<std::string>& inputs) {
  std::vector<std::string> files;
  for (const std::string& input : inputs) {
    if (!FileExists(input) && input.find_first_of("*?[") != std::string::npos) {
      glob_t found = {};
      const int result = ::glob(input.c_str(), 0, nullptr, &found);
      for (size_t i = 0; i < found.gl_pathc; ++i) files.emplace_back(found.gl_pathv[i]);
      ::globfree(&found);
      if (result == GLOB_NOMATCH) throw IoError(input, "no file matches the pattern");
      if (result != 0) throw IoError(input, "cannot look for files");
    } else {
      FileSize(input);  // throws if there is no such file
      files.push_back(input);
    }
  }
  for (const std::string& file : files) {
    if (IsDirectory(file)) {
      throw ConfigError(
          file, Str("is a folder; name files, or a pattern such as ", JoinPath(file, "*.txt")));
    }
  }
  return files;
}

TextReader::TextReader(TextReaderOptions options, std::vector<std::string> files)
    : options_(std::move(options)), files_(std::move(files)) {
  for (const std::string& file : files_) total_bytes_ += FileSize(file);
}

TextReader::~TextReader() = default;

uint64_t TextReader::bytes_read() const {
  return finished_bytes_ + (lines_ ? lines_->file_bytes() : 0);
}

bool TextReader::Next(TextPart* part) {
  while (file_ < files_.size()) {
    if (!lines_) {
      const std::string& path = files_[file_];
      lines_ = std::make_unique<LineReader>(path, options_);
      is_json_ = options_.format == "jsonl" || (options_.format == "auto" && NamesJsonLines(path));
    }
    if (is_json_ ? NextOfJsonLines(part) : NextOfTextFile(part)) return true;
    finished_bytes_ += lines_->file_bytes();
    lines_.reset();
    ++file_;
  }
  return false;
}

// Gives pending_ as the next part of the current document; false if that is a whole document of
// white space, which is dropped.
bool TextReader::TakePart(bool last, TextPart* part) {
  const bool drop = last && !in_document_ && IsBlankText(pending_);
  part->text = std::move(pending_);
  part->first = !in_document_;
  part->last = last;
  pending_.clear();
  in_document_ = !last;
  return !drop;
}

bool TextReader::NextOfTextFile(TextPart* part) {
  const bool by_line = options_.documents == "line";
  const bool by_blank_line = options_.documents == "blank_line";
  const bool by_separator =
      options_.documents == "separator" && !options_.document_separator.empty();
  std::string line;
  bool has_end = false;
  while (lines_->Next(&line, &has_end)) {
    if (by_line) {
      pending_ = std::move(line);
      if (TakePart(/*last=*/true, part)) return true;
      continue;
    }
    const bool ends = (by_separator && line == options_.document_separator) ||
                      (by_blank_line && IsBlankText(line));
    if (ends) {
      // The line end in front of a separator belongs to the separator.
      if (!pending_.empty()) pending_.pop_back();
      if (TakePart(/*last=*/true, part)) return true;
      continue;
    }
    // A part is given only once the document is known to go on.
    const bool full = pending_.size() >= static_cast<size_t>(options_.part_bytes);
    if (full) TakePart(/*last=*/false, part);
    pending_ += line;
    if (has_end) pending_ += '\n';
    if (full) return true;
  }
  if (pending_.empty()) return false;
  if (by_blank_line && pending_.back() == '\n') pending_.pop_back();
  return TakePart(/*last=*/true, part);
}

bool TextReader::NextOfJsonLines(TextPart* part) {
  while (!has_document_) {
    std::string line;
    bool has_end = false;
    if (!lines_->Next(&line, &has_end)) return false;
    if (IsBlankText(line)) continue;
    pending_ = TextOfJsonLine(line, options_.text_field, lines_->path(), lines_->number());
    pending_at_ = 0;
    has_document_ = !IsBlankText(pending_);
  }
  // Cut at the first line end from part_bytes on, if something follows it.
  const size_t newline =
      pending_.find('\n', pending_at_ + static_cast<size_t>(options_.part_bytes) - 1);
  const bool last = newline == std::string::npos || newline + 1 == pending_.size();
  const size_t end = last ? pending_.size() : newline + 1;
  part->text = pending_.substr(pending_at_, end - pending_at_);
  part->first = pending_at_ == 0;
  part->last = last;
  pending_at_ = end;
  has_document_ = !last;
  if (last) pending_.clear();
  return true;
}

}  // namespace ckv
