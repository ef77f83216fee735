#include "gen/text_stream.h"

#include <utility>

#include "base/str.h"

namespace ckv {

std::string IdsText(const std::vector<int32_t>& ids) {
  std::string text;
  for (const int32_t id : ids) text += Str(text.empty() ? "" : " ", id);
  return text;
}

TextStream::TextStream(const Tokenizer* tokenizer, const std::vector<int32_t>& prompt,
                       std::vector<std::string> stops)
    : stop_(std::move(stops)) {
  if (tokenizer == nullptr) {
    prompt_text_ = IdsText(prompt);
    return;
  }
  decoder_ = std::make_unique<StreamingDecoder>(*tokenizer);
  for (const int32_t id : prompt) prompt_text_ += decoder_->Push(id);
}

std::string TextStream::Push(int32_t id) {
  return stop_.Push(decoder_ != nullptr ? decoder_->Push(id) : Str(" ", id));
}

std::string TextStream::Finish() {
  std::string text;
  if (decoder_ != nullptr) text = stop_.Push(decoder_->Finish());
  return text + stop_.Finish();
}

}  // namespace ckv
