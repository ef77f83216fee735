#include "eval/eval_text.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "data/text_reader.h"

namespace ckv {

void TextCounter::Add(std::string_view text) {
  counts_.bytes += static_cast<int64_t>(text.size());
  for (const char c : text) {
    const bool space = c == ' ' || (c >= '\t' && c <= '\r');
    counts_.words += !space && !in_word_ ? 1 : 0;
    in_word_ = !space;
    *counts_.line_ends += c == '\n' ? 1 : 0;
    in_line_ = c != '\n';
  }
}

void TextCounter::EndDocument() {
  *counts_.line_ends += in_line_ ? 1 : 0;
  in_word_ = false;
  in_line_ = false;
}

EvalText::EvalText(std::shared_ptr<const TokenDataset> data)
    : data_(std::move(data)), counts_{data_->counts().bytes, data_->counts().words, std::nullopt} {}

EvalText::EvalText(std::vector<int32_t> tokens, std::vector<int64_t> starts,
                   const TextCounts& counts)
    : tokens_(std::move(tokens)), starts_(std::move(starts)), counts_(counts) {}

int64_t EvalText::num_tokens() const {
  return data_ != nullptr ? data_->num_tokens() : static_cast<int64_t>(tokens_.size());
}

void EvalText::Read(int64_t begin, int64_t count, int64_t* out) const {
  if (data_ != nullptr) {
    data_->Read(begin, count, out);
    return;
  }
  CKV_CHECK(begin >= 0 && count >= 0 && begin <= num_tokens() - count, "tokens ", begin, " + ",
            count, " of ", num_tokens());
  std::copy_n(tokens_.begin() + begin, count, out);
}

std::vector<int64_t> EvalText::DocumentStarts(int64_t begin, int64_t end) const {
  if (data_ != nullptr) return data_->DocumentStarts(begin, end);
  const auto first = std::lower_bound(starts_.begin(), starts_.end(), begin);
  return {first, std::lower_bound(first, starts_.end(), end)};
}

TextCounts EvalText::CountTokens(int64_t begin, int64_t end, const Tokenizer& tokenizer) const {
  constexpr int64_t kBlock = 1 << 16;
  TextCounter counter;
  std::vector<int64_t> ids;
  bool at_start = false;  // no byte of the document has come yet
  if (begin > 0 && !DocumentStarts(begin - 1, begin).empty()) {
    int64_t first = 0;
    Read(begin - 1, 1, &first);
    at_start = tokenizer.TokenBytes(static_cast<int32_t>(first)).empty();  // <s>
  }
  for (int64_t at = begin; at < end; at += kBlock) {
    ids.resize(static_cast<size_t>(std::min(kBlock, end - at)));
    Read(at, static_cast<int64_t>(ids.size()), ids.data());
    const std::vector<int64_t> starts = DocumentStarts(at, at + static_cast<int64_t>(ids.size()));
    auto start = starts.begin();
    for (size_t i = 0; i < ids.size(); ++i) {
      if (start != starts.end() && *start == at + static_cast<int64_t>(i)) {
        counter.EndDocument();
        at_start = true;
        ++start;
      }
      std::string_view bytes = tokenizer.TokenBytes(static_cast<int32_t>(ids[i]));
      if (bytes.empty()) continue;
      // The space that the tokenizer puts before a text is none of the text's.
      if (at_start && tokenizer.strips_first_space() && bytes[0] == ' ') bytes.remove_prefix(1);
      at_start = false;
      counter.Add(bytes);
    }
  }
  if (end == num_tokens()) counter.EndDocument();
  return counter.counts();
}

std::optional<TextCounts> EvalText::CountsOfTargets(int64_t num_targets,
                                                    const Tokenizer* tokenizer) const {
  if (num_targets < num_tokens() - 1) {
    if (tokenizer == nullptr) return std::nullopt;
    return CountTokens(1, 1 + num_targets, *tokenizer);
  }
  TextCounts counts = counts_;
  if (!counts.line_ends.has_value() && tokenizer != nullptr) {
    counts.line_ends = CountTokens(0, num_tokens(), *tokenizer).line_ends;
  }
  return counts;
}

EvalText ReadEvalText(const std::string& path, const Tokenizer& tokenizer, bool bos) {
  if (bos && tokenizer.bos_id() < 0) throw ConfigError("--bos", "the tokenizer has no <s>");
  TextReader reader(TextReaderOptions(), ExpandInputs({path}));
  std::vector<int32_t> tokens;
  std::vector<int64_t> starts;
  TextCounter counter;
  TextPart part;
  while (reader.Next(&part)) {
    if (part.first) {
      starts.push_back(static_cast<int64_t>(tokens.size()));
      if (bos) tokens.push_back(tokenizer.bos_id());
    }
    const std::vector<int32_t> ids =
        part.first ? tokenizer.Encode(part.text) : tokenizer.EncodeAfterNewline(part.text);
    tokens.insert(tokens.end(), ids.begin(), ids.end());
    counter.Add(part.text);
    if (!part.last) continue;
    if (tokenizer.eos_id() >= 0) tokens.push_back(tokenizer.eos_id());
    counter.EndDocument();
  }
  if (starts.empty()) throw FormatError(path, "", "has no text");
  return EvalText(std::move(tokens), std::move(starts), counter.counts());
}

}  // namespace ckv
