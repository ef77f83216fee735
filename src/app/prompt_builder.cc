#include "app/prompt_builder.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>

#include "base/error.h"
#include "base/file.h"

namespace ckv {

PromptBuilder::PromptBuilder(const LoadedModel& model, const std::string& bos) : model_(model) {
  const DecoderConfig& config = model.decoder->config();
  bos_ = config.bos_token_id.value_or(-1);
  eos_ = config.eos_token_id.value_or(-1);
  if (model.tokenizer != nullptr) {
    if (model.tokenizer->bos_id() >= 0) bos_ = model.tokenizer->bos_id();
    if (model.tokenizer->eos_id() >= 0) eos_ = model.tokenizer->eos_id();
  }
  begins_with_bos_ = bos == "yes" || (bos == "auto" && model.begins_with_bos);
  if (begins_with_bos_ && bos_ < 0) throw ConfigError("--bos", "the model has no <s>");
}

std::vector<int32_t> PromptBuilder::OfText(const std::string& text) const {
  std::vector<int32_t> ids = model_.NeedTokenizer().Encode(text);
  if (begins_with_bos_) ids.insert(ids.begin(), static_cast<int32_t>(bos_));
  if (!ids.empty()) return ids;
  const int64_t start = eos_ >= 0 ? eos_ : bos_;
  if (start < 0) {
    throw ConfigError("--prompt", "is needed: the model has neither <s> nor </s> to start from");
  }
  return {static_cast<int32_t>(start)};
}

std::vector<int32_t> PromptBuilder::EndIds() const {
  const std::optional<int64_t>& configured = model_.decoder->config().eos_token_id;
  std::vector<int32_t> ids;
  if (eos_ >= 0) ids.push_back(static_cast<int32_t>(eos_));
  if (configured.has_value() && *configured != eos_) {
    ids.push_back(static_cast<int32_t>(*configured));
  }
  return ids;
}

std::vector<int32_t> ParseIds(const std::string& text, const std::string& option) {
  std::vector<int32_t> ids;
  size_t at = 0;
  while ((at = text.find_first_not_of(", ", at)) != std::string::npos) {
    const size_t end = std::min(text.find_first_of(", ", at), text.size());
    const std::string word = text.substr(at, end - at);
    if (word.size() > 9 || word.find_first_not_of("0123456789") != std::string::npos) {
      throw ConfigError(option, Str("'", word, "' is not a token id"));
    }
    ids.push_back(std::stoi(word));
    at = end;
  }
  return ids;
}

std::string ReadPromptFile(const std::string& path) {
  std::string text;
  if (path == "-") {
    std::array<char, 1 << 16> piece;
    size_t count = 0;
    while ((count = std::fread(piece.data(), 1, piece.size(), stdin)) > 0) {
      text.append(piece.data(), count);
    }
    if (std::ferror(stdin) != 0) throw IoError("stdin", "cannot read", errno);
  } else {
    text = ReadFile(path);
  }
  if (!text.empty() && text.back() == '\n') text.pop_back();
  if (!text.empty() && text.back() == '\r') text.pop_back();
  return text;
}

}  // namespace ckv
