#include "gen/chat.h"

#include <algorithm>
#include <utility>

#include "gen/text_stream.h"

namespace ckv {
namespace {

// The first of `tokens`, those that stand for exactly `text` behind the prompt; none if there is no
// such place.
std::vector<int32_t> TokensOfText(const Tokenizer& tokenizer, const std::vector<int32_t>& prompt,
                                  const std::vector<int32_t>& tokens, const std::string& text) {
  TextStream stream(&tokenizer, prompt);
  std::string so_far;
  for (size_t i = 0; i < tokens.size() && so_far.size() < text.size(); ++i) {
    so_far += stream.Push(tokens[i]);
    if (so_far == text) {
      return {tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(i) + 1};
    }
  }
  return {};
}

}  // namespace

std::string WithoutLeadingSpace(const std::string& text) {
  return text.substr(std::min(text.find_first_not_of(" \n\r\t"), text.size()));
}

Chat::Chat(Decoder& decoder, const Tokenizer& tokenizer, const ChatTemplate& chat_template,
           int64_t max_tokens)
    : tokenizer_(tokenizer),
      encoder_(chat_template, tokenizer),
      session_(decoder, max_tokens),
      stop_ids_(encoder_.StopIds()) {
  Reset();
}

void Chat::Reset() {
  messages_.clear();
  const std::string& system = encoder_.chat_template().system_text;
  if (!system.empty()) messages_.push_back({"system", system, {}});
}

// Drops the oldest messages until `wanted` tokens have room behind the rest, or only the newest
// message is left; returns how many.
int64_t Chat::MakeRoom(int64_t wanted, std::vector<int32_t>* ids) {
  const int64_t reserve = std::min(wanted, session_.max_tokens() / 4);
  const std::ptrdiff_t oldest = has_system() ? 1 : 0;
  int64_t dropped = 0;
  *ids = encoder_.Encode(messages_);
  while (static_cast<int64_t>(ids->size()) + reserve > session_.max_tokens() &&
         static_cast<std::ptrdiff_t>(messages_.size()) > oldest + 1) {
    // A message and its answer.
    messages_.erase(messages_.begin() + oldest, messages_.begin() + oldest + 2);
    dropped += 2;
    *ids = encoder_.Encode(messages_);
  }
  return dropped;
}

ChatReply Chat::Reply(const std::string& message, const GenerateOptions& options, uint64_t seed,
                      const std::function<void(const std::string& piece)>& on_text) {
  const std::vector<ChatMessage> before = messages_;
  messages_.push_back({"user", message, {}});
  GenerateRequest request;
  request.seed = seed;
  ChatReply reply;
  reply.dropped_messages = MakeRoom(options.max_new_tokens, &request.prompt);
  reply.context_tokens = static_cast<int64_t>(request.prompt.size());
  reply.fits = reply.context_tokens <= session_.max_tokens();
  if (!reply.fits) {
    messages_ = before;
    return reply;
  }
  TextStream stream(&tokenizer_, request.prompt, encoder_.chat_template().stop);
  std::string content;
  const auto add = [&](const std::string& piece) {
    content += piece;
    const std::string shown = reply.text.empty() ? WithoutLeadingSpace(piece) : piece;
    reply.text += shown;
    if (on_text && !shown.empty()) on_text(shown);
  };
  GenerateHooks hooks;
  hooks.on_token = [&](size_t, int32_t id) {
    add(stream.Push(id));
    return !stream.stopped();
  };
  GenerateOptions with_stops = options;
  with_stops.stop_ids.insert(with_stops.stop_ids.end(), stop_ids_.begin(), stop_ids_.end());
  Generation generation = session_.Continue(request, with_stops, hooks);
  add(stream.Finish());
  reply.finish = generation.finish;
  reply.num_tokens = static_cast<int64_t>(generation.tokens.size());
  reply.computed_tokens = session_.num_computed();
  // The tokens of a stop string are none of the reply's; it may begin within a token.
  if (stream.stopped()) {
    generation.tokens = TokensOfText(tokenizer_, request.prompt, generation.tokens, content);
  }
  messages_.push_back({"assistant", content, std::move(generation.tokens)});
  return reply;
}

}  // namespace ckv
