// Documents out of text files: .txt and .jsonl, plain or compressed, one after another.
//
// A document comes in parts of about a megabyte, each but the last ending with a line end, so that
// memory does not depend on the length of documents or files; only a single line must fit. Line
// ends "\r\n" become "\n", and a byte order mark at the start of a file is dropped. Documents of
// nothing but white space are left out.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "config/visitor.h"
#include "data/byte_stream.h"

namespace ckv {

struct TextReaderOptions {
  std::string format = "auto";
  std::string text_field = "text";
  std::string documents = "separator";
  std::string document_separator = "<|endoftext|>";
  std::string invalid_utf8 = "refuse";
  int64_t max_line_bytes = int64_t{64} << 20;
  int64_t part_bytes = int64_t{1} << 20;

  void Visit(ConfigVisitor& v) {
    v.Choice("format", format, {"auto", "text", "jsonl"},
             "auto | text | jsonl; auto: JSON lines if the name says .jsonl, .ndjson or .json");
    v.Field("text_field", text_field, "the field of a JSON line that holds the text");
    v.Choice("documents", documents, {"separator", "blank_line", "line"},
             "what ends a document in text files: separator | blank_line | line");
    v.Field("document_separator", document_separator,
            "a line that holds only this ends a document; without such a line, or if empty, a file "
            "is one document");
    v.Choice("invalid_utf8", invalid_utf8, {"refuse", "replace"},
             "bytes that are not UTF-8: refuse | replace by U+FFFD");
    v.Field("max_line_bytes", max_line_bytes, "longer lines are an error, for memory is bounded");
    v.Require(max_line_bytes >= 1, "must be >= 1");
    v.Field("part_bytes", part_bytes, "longer documents are worked on in parts of this size");
    v.Require(part_bytes >= 1, "must be >= 1");
  }
};

// A piece of one document.
struct TextPart {
  std::string text;
  bool first = false;  // starts a document
  bool last = false;   // ends it
};

// The files that paths and patterns (*, ?, [...]) name, those of a pattern sorted. Throws IoError
// if one names nothing and ConfigError for folders.
std::vector<std::string> ExpandInputs(const std::vector<std::string>& inputs);

class TextReader {
 public:
  // Opens files as it comes to them.
  TextReader(TextReaderOptions options, std::vector<std::string> files);
  ~TextReader();

  // The next part; false at the end of the last file. Throws IoError and, with path and line,
  // FormatError: broken compression, bytes that are not UTF-8, a line that is too long or no JSON
  // object with the text field.
  bool Next(TextPart* part);

  // Bytes of all files, and of those taken so far (compressed, if they are).
  uint64_t total_bytes() const { return total_bytes_; }
  uint64_t bytes_read() const;

 private:
  class LineReader;

  bool NextOfTextFile(TextPart* part);
  bool NextOfJsonLines(TextPart* part);
  bool TakePart(bool last, TextPart* part);

  TextReaderOptions options_;
  std::vector<std::string> files_;
  size_t file_ = 0;
  std::unique_ptr<LineReader> lines_;
  bool is_json_ = false;

  std::string pending_;        // of the document being read, not yet given
  size_t pending_at_ = 0;      // JSON lines: how much of it was given
  bool has_document_ = false;  // JSON lines: pending_ is a document
  bool in_document_ = false;   // a part of the document was given
  uint64_t total_bytes_ = 0;
  uint64_t finished_bytes_ = 0;
};

}  // namespace ckv
