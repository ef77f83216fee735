#include "data/pair_set.h"

#include <algorithm>
#include <string_view>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"

namespace ckv {
namespace {

const std::string& TextField(const Json& row, const std::string& field, const std::string& path,
                             int64_t line) {
  const auto found = row.is_object() ? row.find(field) : row.end();
  if (!row.is_object() || found == row.end() || !found->is_string()) {
    throw FormatError(path, Str("line ", line),
                      Str("an object with a text '", field, "' is expected"));
  }
  return found->get_ref<const std::string&>();
}

// The tokens of a text that follows another one and a blank, and of the end of sentence.
std::vector<int32_t> EncodeBehindBlank(const Tokenizer& tokenizer, const std::string& text) {
  // Such a tokenizer puts the blank in front of every text by itself.
  std::vector<int32_t> ids = tokenizer.Encode(tokenizer.strips_first_space() ? text : " " + text);
  ids.push_back(tokenizer.eos_id());
  return ids;
}

}  // namespace

PairSet::PairSet(const std::vector<std::string>& files, const PairFields& fields,
                 const Tokenizer& tokenizer, int64_t seq_len, const ChatEncoder* chat) {
  if (tokenizer.eos_id() < 0) {
    throw ConfigError("tokenizer", "pairs end with an end of sentence, which this one lacks");
  }
  for (const std::string& file : files) AddFile(file, fields, tokenizer, seq_len, chat);
  if (size() == 0) throw ConfigError(files.empty() ? "" : files.front(), "there are no pairs");
  hash_ =
      Fnv1a64({reinterpret_cast<const char*>(tokens_.data()), tokens_.size() * sizeof(int32_t)});
  hash_ = Fnv1a64({reinterpret_cast<const char*>(num_prompt_tokens_.data()),
                   num_prompt_tokens_.size() * sizeof(int64_t)},
                  hash_);
}

void PairSet::AddFile(const std::string& path, const PairFields& fields, const Tokenizer& tokenizer,
                      int64_t seq_len, const ChatEncoder* chat) {
  const std::string content = ReadFile(path);
  int64_t number = 0;
  for (size_t begin = 0; begin < content.size();) {
    const size_t end = std::min(content.find('\n', begin), content.size());
    const std::string_view line = std::string_view(content).substr(begin, end - begin);
    begin = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const Json row = ParseJson(line, Str(path, ":", number));
    const std::string& question = TextField(row, fields.prompt, path, number);
    const std::string& answer = TextField(row, fields.target, path, number);
    const std::vector<int32_t> prompt =
        chat != nullptr ? chat->EncodeFirst(question) : tokenizer.Encode(question);
    const std::vector<int32_t> target =
        chat != nullptr ? chat->EncodeAnswer(answer) : EncodeBehindBlank(tokenizer, answer);
    const auto length = static_cast<int64_t>(prompt.size() + target.size());
    if (prompt.empty()) {
      throw FormatError(path, Str("line ", number), "the prompt is empty");
    }
    if (length > seq_len + 1) {
      throw ConfigError(Str(path, ":", number),
                        Str("the pair has ", length, " tokens, but 'data.seq_len' is ", seq_len,
                            ", which allows ", seq_len + 1, " (pairs are not cut)"));
    }
    tokens_.insert(tokens_.end(), prompt.begin(), prompt.end());
    tokens_.insert(tokens_.end(), target.begin(), target.end());
    begins_.push_back(static_cast<int64_t>(tokens_.size()));
    num_prompt_tokens_.push_back(static_cast<int64_t>(prompt.size()));
  }
}

PairSet::Pair PairSet::operator[](int64_t i) const {
  const auto index = static_cast<size_t>(i);
  return {tokens_.data() + begins_[index], begins_[index + 1] - begins_[index],
          num_prompt_tokens_[index]};
}

}  // namespace ckv
