#include "eval/token_stream.h"

#include <algorithm>

#include "base/error.h"

namespace ckv {

TextTokens::TextTokens(const std::string& path, const Tokenizer& tokenizer, bool bos)
    : tokenizer_(tokenizer), bos_(bos), reader_(TextReaderOptions(), ExpandInputs({path})) {
  if (bos && tokenizer.bos_id() < 0) throw ConfigError("--bos", "the tokenizer has no <s>");
}

std::vector<int32_t> TextTokens::Next(int64_t most) {
  while (taken_ == waiting_.size() && ReadPart()) {
  }
  const size_t count = std::min(static_cast<size_t>(most), waiting_.size() - taken_);
  const auto begin = waiting_.begin() + static_cast<std::ptrdiff_t>(taken_);
  taken_ += count;
  return {begin, begin + static_cast<std::ptrdiff_t>(count)};
}

// Replaces what waits, all of which is taken, by the next part of the text; false at its end.
bool TextTokens::ReadPart() {
  waiting_.clear();
  taken_ = 0;
  TextPart part;
  if (!reader_.Next(&part)) return false;
  if (part.first && bos_) waiting_.push_back(tokenizer_.bos_id());
  const std::vector<int32_t> ids =
      part.first ? tokenizer_.Encode(part.text) : tokenizer_.EncodeAfterNewline(part.text);
  waiting_.insert(waiting_.end(), ids.begin(), ids.end());
  if (part.last && tokenizer_.eos_id() >= 0) waiting_.push_back(tokenizer_.eos_id());
  return true;
}

}  // namespace ckv
