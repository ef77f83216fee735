#include "text/chat_template.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "config/config.h"
#include "text/stop_text.h"

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
  // `inside`: it goes on behind other text.
  Text(const std::vector<std::string>& pieces, const Tokenizer& tokenizer, bool inside = false)
      : pieces_(pieces), tokenizer_(tokenizer), has_text_(inside) {}

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
  bool has_text_;
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

std::vector<int32_t> ChatEncoder::EncodeFirst(const std::string& message) const {
  std::vector<ChatMessage> messages;
  if (!template_.system_text.empty()) messages.push_back({"system", template_.system_text, {}});
  messages.push_back({"user", message, {}});
  return Encode(messages);
}

// Whether a word that follows the template's text needs a blank.
bool ChatEncoder::EndsOpen(const std::string& text) const {
  if (text.empty() || std::string_view(" \n\r\t").find(text.back()) != std::string_view::npos) {
    return false;
  }
  return std::none_of(template_.tokens.begin(), template_.tokens.end(),
                      [&](const std::string& piece) {
                        return text.size() >= piece.size() &&
                               text.compare(text.size() - piece.size(), piece.size(), piece) == 0;
                      });
}

std::vector<int32_t> ChatEncoder::EncodeAnswer(const std::string& content) const {
  CKV_CHECK(tokenizer_.eos_id() >= 0, "an answer without an end");
  const std::string& prefix = template_.assistant.prefix;
  Text text(template_.tokens, tokenizer_, /*inside=*/true);
  text.AddMessage((EndsOpen(prefix.empty() ? template_.user.suffix : prefix) ? " " : "") + content);

  const std::string& suffix = template_.assistant.suffix;
  const std::vector<int32_t> stops = StopIds();
  size_t first = std::string::npos;
  int32_t end = tokenizer_.eos_id();
  for (const std::string& piece : template_.tokens) {
    const int32_t id = tokenizer_.PieceToId(piece);
    const size_t place = suffix.find(piece);
    if (place >= first || std::find(stops.begin(), stops.end(), id) == stops.end()) continue;
    first = place;
    end = id;
  }
  if (first != std::string::npos) text.AddTemplate(suffix.substr(0, first));
  text.AddIds({end});
  return text.Take();
}

std::vector<int32_t> ChatEncoder::StopIds() const {
  std::vector<int32_t> ids;
  for (const std::string& stop : template_.stop) {
    const std::vector<std::string>& pieces = template_.tokens;
    const bool token = std::find(pieces.begin(), pieces.end(), stop) != pieces.end();
    if (token) ids.push_back(tokenizer_.PieceToId(stop));
  }
  if (tokenizer_.eos_id() >= 0) ids.push_back(tokenizer_.eos_id());
  return ids;
}

}  // namespace ckv
