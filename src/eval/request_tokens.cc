#include "eval/request_tokens.h"

#include <algorithm>

#include "base/error.h"
#include "tasks/python_text.h"

namespace ckv {
namespace {

// The vocabulary's marks within a text are the tokens of that name, as Transformers has it:
// WikiText is full of <unk>.
std::vector<int32_t> EncodeMarked(const Tokenizer& tokenizer, const std::string& text) {
  std::vector<int32_t> ids;
  size_t begin = 0;
  while (true) {
    size_t end = text.size();
    int32_t mark = -1;
    for (const int32_t id : {tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.unk_id()}) {
      if (id < 0) continue;
      const size_t found = text.find(tokenizer.IdToPiece(id), begin);
      if (found >= end) continue;
      end = found;
      mark = id;
    }
    if (end > begin || mark < 0) {
      // Only the start of the whole text gets the space that some vocabularies put there.
      const std::string part = text.substr(begin, end - begin);
      for (const int32_t id :
           begin == 0 ? tokenizer.Encode(part) : tokenizer.EncodeAfterNewline(part)) {
        ids.push_back(id);
      }
    }
    if (mark < 0) return ids;
    ids.push_back(mark);
    begin = end + tokenizer.IdToPiece(mark).size();
  }
}

std::vector<int32_t> EncodeWithBos(const Tokenizer& tokenizer, bool bos, const std::string& text) {
  std::vector<int32_t> ids = EncodeMarked(tokenizer, text);
  if (bos) ids.insert(ids.begin(), tokenizer.bos_id());
  return ids;
}

// What stands for the start of a text.
int32_t PrefixToken(const Tokenizer& tokenizer) {
  const int32_t id = tokenizer.bos_id() >= 0 ? tokenizer.bos_id() : tokenizer.eos_id();
  if (id < 0) {
    throw ConfigError("",
                      "a text without context needs <s> or </s>, and the tokenizer has neither");
  }
  return id;
}

}  // namespace

std::vector<int32_t> EncodeContext(const Tokenizer& tokenizer, bool bos,
                                   const std::string& context) {
  return EncodeWithBos(tokenizer, bos, std::string(StripRight(context)));
}

RequestTokens EncodeRequest(const Tokenizer& tokenizer, bool bos, const std::string& context,
                            const std::string& continuation) {
  return EncodeRequest(tokenizer, bos, context, continuation,
                       EncodeContext(tokenizer, bos, context));
}

RequestTokens EncodeRequest(const Tokenizer& tokenizer, bool bos, const std::string& context,
                            const std::string& continuation,
                            const std::vector<int32_t>& context_ids) {
  RequestTokens tokens;
  if (context.empty()) {
    tokens.continuation = EncodeMarked(tokenizer, continuation);
    const int32_t prefix = PrefixToken(tokenizer);
    tokens.context = {prefix};
    if (!tokens.continuation.empty() && tokens.continuation.front() == prefix) {
      tokens.continuation.erase(tokens.continuation.begin());
    }
    return tokens;
  }
  // White space that goes over to the continuation changes nothing in the joined text.
  const std::vector<int32_t> whole = EncodeWithBos(tokenizer, bos, context + continuation);
  const size_t length = std::min(context_ids.size(), whole.size());
  tokens.context = context_ids;
  if (tokens.context.empty()) tokens.context = {PrefixToken(tokenizer)};  // of white space alone
  tokens.continuation.assign(whole.begin() + static_cast<std::ptrdiff_t>(length), whole.end());
  return tokens;
}

std::vector<RequestTokens> RollingWindows(const Tokenizer& tokenizer, bool bos,
                                          const std::string& text, int64_t max_length) {
  const std::vector<int32_t> ids = EncodeWithBos(tokenizer, bos, text);
  const auto size = static_cast<int64_t>(ids.size());
  std::vector<RequestTokens> windows;
  for (int64_t begin = 0; begin < size; begin += max_length) {
    const int64_t end = std::min(begin + max_length, size);
    RequestTokens window;
    window.continuation.assign(ids.begin() + begin, ids.begin() + end);
    if (begin == 0) {
      window.context = {PrefixToken(tokenizer)};
    } else {
      const int64_t from = std::max<int64_t>(0, end - 1 - max_length);
      window.context.assign(ids.begin() + from, ids.begin() + begin);
    }
    windows.push_back(std::move(window));
  }
  return windows;
}

}  // namespace ckv
