// A conversation with a model, turn by turn in one cache.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "gen/session.h"
#include "text/chat_template.h"

namespace ckv {

struct ChatReply {
  std::string text;  // without white space in front
  FinishReason finish = FinishReason::kStop;
  int64_t num_tokens = 0;        // of the reply
  int64_t context_tokens = 0;    // of the whole conversation in front of it
  int64_t computed_tokens = 0;   // of those that were not in the cache
  int64_t dropped_messages = 0;  // the oldest ones, for which there was no room any more
  bool fits = true;              // false: the message alone is too long, and was not taken
};

// Where a template ends in "Assistant:", the space behind it is the model's.
std::string WithoutLeadingSpace(const std::string& text);

class Chat {
 public:
  // A context of `max_tokens` tokens. The decoder and the tokenizer must outlive this object.
  // Throws what ChatEncoder throws.
  Chat(Decoder& decoder, const Tokenizer& tokenizer, const ChatTemplate& chat_template,
       int64_t max_tokens);

  // The model's answer to a message; `on_text` gets it as it comes. Ends at the options' stop ids
  // and the template's stop strings, a stop string that is one of the template's tokens being both,
  // for it may have no text. Where the context has no room for the conversation and a reply
  // of max_new_tokens (or of a quarter of the context, if that is less), the oldest messages but
  // the system's are forgotten. Throws what Generate throws.
  ChatReply Reply(const std::string& message, const GenerateOptions& options, uint64_t seed,
                  const std::function<void(const std::string& piece)>& on_text = {});

  // Forgets all messages but the system's.
  void Reset();

  const std::vector<ChatMessage>& messages() const { return messages_; }

 private:
  int64_t MakeRoom(int64_t wanted, std::vector<int32_t>* ids);
  bool has_system() const { return !messages_.empty() && messages_[0].role == "system"; }

  const Tokenizer& tokenizer_;
  ChatEncoder encoder_;
  GenerationSession session_;
  std::vector<int32_t> stop_ids_;  // of the template
  std::vector<ChatMessage> messages_;
};

}  // namespace ckv
