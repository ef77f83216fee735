// How the messages of a conversation become one text for a model: a YAML file, see configs/chat/.
// A model is trained on pairs (data/pair_set.h) and asked in a chat (gen/chat.h) in the same
// tokens.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/visitor.h"
#include "text/tokenizer.h"

namespace ckv {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
  // Of an assistant's message: the tokens that the model chose. Empty: those of the content, which
  // may begin with white space.
  std::vector<int32_t> tokens;
};

struct ChatRole {
  std::string prefix;
  std::string suffix;

  void Visit(ConfigVisitor& v) {
    v.Field("prefix", prefix, "text in front of a message");
    v.Field("suffix", suffix, "text behind a message");
  }
};

// The defaults suit a model that knows no format of its own.
struct ChatTemplate {
  std::vector<std::string> tokens;
  std::string begin;
  std::string system_text;
  ChatRole system{"", "\n\n"};
  ChatRole user{"User: ", "\n"};
  ChatRole assistant{"Assistant:", "\n"};
  std::vector<std::string> stop = {"\nUser:"};

  void Visit(ConfigVisitor& v) {
    v.Field("tokens", tokens,
            "pieces of the vocabulary that are one token where begin, a prefix or a suffix holds "
            "them; never in messages");
    v.Field("begin", begin, "text in front of a conversation");
    v.Field("system_text", system_text, "the first message of a conversation; empty: none");
    v.Section("system", system, "around the system's message");
    v.Section("user", user, "around the user's messages");
    v.Section("assistant", assistant, "around the model's messages");
    v.Field("stop", stop, "texts before which a message of the model ends");
  }
};

// The name under which a checkpoint holds the template that it was trained with.
inline constexpr char kChatTemplateFile[] = "chat_template.yaml";

// Reads a template, "" = the defaults. Throws ConfigError with the place, and IoError.
ChatTemplate LoadChatTemplate(const std::string& path);

class ChatEncoder {
 public:
  // Throws ConfigError for a token that the vocabulary lacks. Refers to `tokenizer`.
  ChatEncoder(ChatTemplate chat_template, const Tokenizer& tokenizer);

  // The token ids of a conversation up to the place at which the assistant speaks next.
  std::vector<int32_t> Encode(const std::vector<ChatMessage>& messages) const;

  // The same for the first message of a conversation, the system's in front of it.
  std::vector<int32_t> EncodeFirst(const std::string& message) const;

  // What the assistant should then say: the content, behind a blank unless the template's text in
  // front of it ends with white space or a token, and the end: the suffix up to its first token at
  // which a chat stops, or if it has none </s>. Requires a tokenizer with an eos_id().
  std::vector<int32_t> EncodeAnswer(const std::string& content) const;

  // Tokens of the template that are among its stop strings, and those of the vocabulary's end.
  std::vector<int32_t> StopIds() const;

  const ChatTemplate& chat_template() const { return template_; }

 private:
  class Text;
  bool EndsOpen(const std::string& text) const;
  const ChatRole& RoleOf(const std::string& role) const;

  ChatTemplate template_;
  const Tokenizer& tokenizer_;
};

}  // namespace ckv
