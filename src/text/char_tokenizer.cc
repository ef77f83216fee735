#include "text/char_tokenizer.h"

#include <algorithm>
#include <cstdio>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/hash.h"

namespace ckv {
namespace {

constexpr char kCharHeader[] = "ckv-char-vocabulary 1";
constexpr int32_t kCharUnk = 0;
constexpr int32_t kCharBos = 1;
constexpr int32_t kCharEos = 2;
constexpr int32_t kFirstChar = 3;

// The number on a line of the vocabulary file.
char32_t ParseCodePoint(std::string_view line, const std::string& path, int64_t line_number) {
  char32_t value = 0;
  bool good = !line.empty() && line.size() <= 6;
  for (const char c : line) {
    const bool digit = c >= '0' && c <= '9';
    const bool letter = c >= 'a' && c <= 'f';
    good = good && (digit || letter);
    value = value * 16 + static_cast<char32_t>(digit ? c - '0' : c - 'a' + 10);
  }
  good = good && value <= 0x10FFFF && (value < 0xD800 || value > 0xDFFF);
  if (!good) {
    throw FormatError(path, Str("line ", line_number),
                      Str("'", ReplaceInvalidUtf8(line.substr(0, 20)),
                          "' is not the hexadecimal number of a code point"));
  }
  return value;
}

class CharTokenizer : public Tokenizer {
 public:
  CharTokenizer(const std::string& path, std::string content) : content_(std::move(content)) {
    bytes_ = {"\xEF\xBF\xBD", "", ""};
    std::string_view rest = content_;
    for (int64_t line_number = 1; !rest.empty(); ++line_number) {
      const size_t end = rest.find('\n');
      if (end == std::string_view::npos) {
        throw FormatError(path, Str("line ", line_number), "the file ends within the line");
      }
      const std::string_view line = rest.substr(0, end);
      rest.remove_prefix(end + 1);
      if (line_number == 1) {
        CheckHeader(line, path);
        continue;
      }
      const char32_t code_point = ParseCodePoint(line, path, line_number);
      if (!ids_.emplace(code_point, static_cast<int32_t>(bytes_.size())).second) {
        throw FormatError(path, Str("line ", line_number), Str("'", line, "' occurs twice"));
      }
      bytes_.emplace_back();
      AppendUtf8(code_point, &bytes_.back());
    }
  }

  const char* kind() const override { return "char"; }
  int64_t vocab_size() const override { return static_cast<int64_t>(bytes_.size()); }
  int32_t bos_id() const override { return kCharBos; }
  int32_t eos_id() const override { return kCharEos; }
  int32_t unk_id() const override { return kCharUnk; }
  uint64_t Fingerprint() const override { return Fnv1a64(content_); }

  std::vector<int32_t> Encode(std::string_view text) const override {
    std::vector<int32_t> ids;
    ids.reserve(text.size());
    while (!text.empty()) {
      const Utf8Step step = NextCodePoint(text);
      const auto found = ids_.find(step.code_point);
      ids.push_back(found == ids_.end() ? kCharUnk : found->second);
      text.remove_prefix(step.length);
    }
    return ids;
  }

  const std::string& TokenBytes(int32_t id) const override {
    if (id < 0 || id >= vocab_size()) {
      throw ConfigError("", Str("token id ", id, " is outside the vocabulary of ", vocab_size()));
    }
    return bytes_[static_cast<size_t>(id)];
  }

  std::string IdToPiece(int32_t id) const override {
    if (id == kCharUnk) return "<unk>";
    if (id == kCharBos) return "<s>";
    if (id == kCharEos) return "</s>";
    return TokenBytes(id);
  }

  int32_t PieceToId(std::string_view piece) const override {
    for (int32_t id = 0; id < kFirstChar; ++id) {
      if (IdToPiece(id) == piece) return id;
    }
    if (piece.empty()) return -1;
    const Utf8Step step = NextCodePoint(piece);
    const auto found = ids_.find(step.code_point);
    return step.valid && step.length == piece.size() && found != ids_.end() ? found->second : -1;
  }

  std::string FileName() const override { return "tokenizer.char"; }
  const std::string& FileContent() const override { return content_; }

 private:
  static void CheckHeader(std::string_view line, const std::string& path) {
    if (line != kCharHeader) {
      throw FormatError(path, "line 1", Str("is '", line, "', not '", kCharHeader, "'"));
    }
  }

  std::vector<std::string> bytes_;  // by id
  std::unordered_map<char32_t, int32_t> ids_;
  std::string content_;
};

}  // namespace

std::unique_ptr<Tokenizer> NewCharTokenizer(const std::string& path, std::string content) {
  return std::make_unique<CharTokenizer>(path, std::move(content));
}

bool IsCharVocabulary(std::string_view content) {
  return content.substr(0, 20) == std::string_view(kCharHeader).substr(0, 20);
}

void CharVocabularyBuilder::Add(std::string_view text) {
  while (!text.empty()) {
    const Utf8Step step = NextCodePoint(text);
    ++counts_[step.code_point];
    text.remove_prefix(step.length);
  }
}

std::string CharVocabularyBuilder::Build(int64_t max_vocab) const {
  CKV_CHECK(max_vocab > kFirstChar, "no room for characters in a vocabulary of ", max_vocab);
  std::vector<std::pair<int64_t, char32_t>> order;  // minus the count, code point
  for (const auto& [code_point, count] : counts_) order.emplace_back(-count, code_point);
  std::sort(order.begin(), order.end());
  if (static_cast<int64_t>(order.size()) > max_vocab - kFirstChar) {
    order.resize(static_cast<size_t>(max_vocab - kFirstChar));
  }
  std::string content = Str(kCharHeader, "\n");
  for (const auto& [negative_count, code_point] : order) {
    char line[16];
    std::snprintf(line, sizeof(line), "%04x\n", static_cast<unsigned>(code_point));
    content += line;
  }
  return content;
}

}  // namespace ckv
