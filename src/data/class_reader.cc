// Sentences with one label each: tables, and trees with a label at every node (SST).
#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "data/sentences.h"

namespace ckv {
namespace {

// A column by number or by its name in the header.
size_t FindColumn(const std::string& column, const std::vector<std::string>& header,
                  const char* key, const std::string& path) {
  const auto found = std::find(header.begin(), header.end(), column);
  if (found != header.end()) return static_cast<size_t>(found - header.begin());
  char* end = nullptr;
  const long number = std::strtol(column.c_str(), &end, 10);
  if (column.empty() || *end != '\0' || number < 0) {
    std::string names;
    for (const std::string& name : header) names += (names.empty() ? "" : ", ") + name;
    throw ConfigError("", Str("'data.", key, "' is '", column, "', which ", path, " does not have",
                              names.empty() ? "" : " (it has ", names, names.empty() ? "" : ")"));
  }
  return static_cast<size_t>(number);
}

// (3 (2 It) (4 (2 's) (2 fine)))
class LabelTreeParser {
 public:
  LabelTreeParser(std::string_view text, const std::string& path, int64_t line, bool phrases,
                  const EmitSentence& emit)
      : text_(text), path_(path), line_(line), phrases_(phrases), emit_(emit) {}

  void Parse() {
    Node(/*depth=*/0);
    SkipBlanks();
    if (at_ != text_.size()) Fail("something stands behind the tree");
  }

 private:
  static constexpr int kMaxDepth = 1000;

  [[noreturn]] void Fail(const char* what) const {
    throw FormatError(path_, Str("line ", line_, ", column ", at_ + 1), what);
  }
  void SkipBlanks() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }
  void Expect(char c, const char* what) {
    SkipBlanks();
    if (at_ >= text_.size() || text_[at_] != c) Fail(what);
    ++at_;
  }
  std::string Token() {
    SkipBlanks();
    const size_t begin = at_;
    while (at_ < text_.size() && text_[at_] != ' ' && text_[at_] != '(' && text_[at_] != ')') ++at_;
    if (at_ == begin) Fail("a label or word is missing");
    return std::string(text_.substr(begin, at_ - begin));
  }

  void Node(int depth) {
    if (depth > kMaxDepth) Fail("the tree is too deep");
    Expect('(', "a tree must begin with (");
    Sentence sentence;
    sentence.labels = {{Token()}};
    const size_t first_word = words_.size();
    SkipBlanks();
    if (at_ < text_.size() && text_[at_] != '(') {
      words_.push_back(Token());
    } else {
      while (SkipBlanks(), at_ < text_.size() && text_[at_] == '(') Node(depth + 1);
    }
    Expect(')', "a tree must end with )");
    if (words_.size() == first_word) Fail("a tree without words");
    if (!phrases_ && depth > 0) return;
    sentence.words.assign(words_.begin() + static_cast<std::ptrdiff_t>(first_word), words_.end());
    emit_(std::move(sentence));
  }

  std::string_view text_;
  const std::string& path_;
  int64_t line_;
  bool phrases_;
  const EmitSentence& emit_;
  size_t at_ = 0;
  std::vector<std::string> words_;
};

}  // namespace

void ReadClassTable(const std::string& path, const SentenceFormat& format,
                    const EmitSentence& emit) {
  bool started = false;
  size_t text = 0, label = 0;
  std::string header_label;  // where columns have numbers, so that the header is not known by name
  ForEachLine(path, [&](std::string_view line, int64_t number) {
    const std::vector<std::string> fields = SplitAt(line, '\t');
    if (!started) {
      started = true;
      const std::vector<std::string> header = format.header ? fields : std::vector<std::string>();
      text = FindColumn(format.text_column, header, "text_column", path);
      label = FindColumn(format.label_column, header, "label_column", path);
      if (format.header && label < fields.size() && fields[label] != format.label_column) {
        header_label = fields[label];
      }
      if (format.header) return;
    }
    if (line.empty()) return;
    if (fields.size() <= std::max(text, label)) {
      throw FormatError(path, Str("line ", number),
                        Str("has ", fields.size(), fields.size() == 1 ? " column" : " columns",
                            " between tabs, but text and label are in columns ", text, " and ",
                            label, ", counted from 0"));
    }
    if (fields[label].empty()) throw FormatError(path, Str("line ", number), "has no label");
    if (!header_label.empty() && fields[label] == header_label) {
      throw FormatError(path, Str("line ", number),
                        Str("has the label '", header_label,
                            "' of line 1, which is no header then (data.header: false)"));
    }
    Sentence sentence;
    sentence.words = SplitWords(fields[text]);
    if (sentence.words.empty()) throw FormatError(path, Str("line ", number), "has no words");
    sentence.labels = {{fields[label]}};
    emit(std::move(sentence));
  });
}

void ReadClassTrees(const std::string& path, const SentenceFormat& format,
                    const EmitSentence& emit) {
  ForEachLine(path, [&](std::string_view line, int64_t number) {
    if (line.empty()) return;
    LabelTreeParser(line, path, number, format.phrases, emit).Parse();
  });
}

// Lines of words. Where a line holds a paragraph, a sentence ends at ".", "!" or "?".
void ReadPlainSentences(const std::string& path, const SentenceFormat& format,
                        const EmitSentence& emit) {
  Sentence sentence;
  const auto finish = [&] {
    if (!sentence.words.empty()) emit(std::move(sentence));
    sentence = Sentence();
  };
  ForEachLine(path, [&](std::string_view line, int64_t) {
    for (std::string& word : SplitWords(line)) {
      const bool end = format.split_sentences && (word == "." || word == "!" || word == "?");
      sentence.words.push_back(std::move(word));
      const bool full =
          format.max_words > 0 && static_cast<int64_t>(sentence.words.size()) >= format.max_words;
      if (end || full) finish();
    }
    finish();
  });
}

}  // namespace ckv
