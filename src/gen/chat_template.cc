#include "gen/chat_template.h"

#include <utility>

#include "base/error.h"
#include "config/config.h"
#include "gen/stop_text.h"

namespace ckv {

ChatTemplate LoadChatTemplate(const std::string& path) {
  ChatTemplate chat_template;
  if (path.empty()) return chat_template;
  const ConfigValue tree = LoadConfig(path);
  ReadConfig(tree, chat_template);
  const std::string origin = OriginOf(tree, "stop");
  try {
    CheckStopStrings(chat_template.stop);
  } catch (const ConfigError&) {
    throw ConfigError(origin.empty() ? path : origin,
                      "'stop' holds a text that is empty or not UTF-8");
  }
  return chat_template;
}

// Token ids with a text behind them that is not encoded yet, so that neighbouring parts are encoded
// together.
class ChatEncoder::Text {
 public:
  Text(const std::vector<std::string>& pieces, const Tokenizer& tokenizer)
      : pieces_(pieces), tokenizer_(tokenizer) {}

  void AddMessage(const std::string& text) { pending_ += text; }

  // Text of the template, in which some pieces are tokens.
  void AddTemplate(const std::string& text) {
    size_t at = 0;
    while (at < text.size()) {
      size_t next = text.size();
      const std::string* found = nullptr;
      for (const std::string& piece : pieces_) {
        const size_t place = text.find(piece, at);
        const bool first =
            place < next || (place == next && found != nullptr && piece.size() > found->size());
        if (place == std::string::npos || !first) continue;
        next = place;
        found = &piece;
      }
      pending_.append(text, at, next - at);
      if (found == nullptr) return;
      AddIds({tokenizer_.PieceToId(*found)});
      at = next + found->size();
    }
  }

  void AddIds(const std::vector<int32_t>& ids) {
    Flush();
    ids_.insert(ids_.end(), ids.begin(), ids.end());
  }

  std::vector<int32_t> Take() {
    Flush();
    return std::move(ids_);
  }

 private:
  // Only the start of the whole text gets the space that some vocabularies put there.
  void Flush() {
    if (pending_.empty()) return;
    const std::vector<int32_t> ids =
        has_text_ ? tokenizer_.EncodeAfterNewline(pending_) : tokenizer_.Encode(pending_);
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    has_text_ = true;
    pending_.clear();
  }

  const std::vector<std::string>& pieces_;
  const Tokenizer& tokenizer_;
  std::vector<int32_t> ids_;
  std::string pending_;
  bool has_text_ = false;
};

ChatEncoder::ChatEncoder(ChatTemplate chat_template, const Tokenizer& tokenizer)
    : template_(std::move(chat_template)), tokenizer_(tokenizer) {
  for (const std::string& piece : template_.tokens) {
    if (piece.empty() || tokenizer.PieceToId(piece) < 0) {
      throw ConfigError("template", Str("'tokens' names '", piece,
                                        "', which the model's vocabulary does not have"));
    }
  }
}

const ChatRole& ChatEncoder::RoleOf(const std::string& role) const {
  if (role == "system") return template_.system;
  if (role == "user") return template_.user;
  CKV_CHECK(role == "assistant", "role ", role);
  return template_.assistant;
}

std::vector<int32_t> ChatEncoder::Encode(const std::vector<ChatMessage>& messages) const {
  Text text(template_.tokens, tokenizer_);
  text.AddTemplate(template_.begin);
  for (const ChatMessage& message : messages) {
    const ChatRole& role = RoleOf(message.role);
    text.AddTemplate(role.prefix);
    if (message.tokens.empty()) {
      text.AddMessage(message.content);
    } else {
      text.AddIds(message.tokens);
    }
    text.AddTemplate(role.suffix);
  }
  text.AddTemplate(template_.assistant.prefix);
  return text.Take();
}

}  // namespace ckv
