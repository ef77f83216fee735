// Prompts out of a file of JSON lines, for `ckv generate --jsonl`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ckv {

struct JsonlFields {
  std::string prompt = "prompt";
  std::string results = "generations";
};

// A line: an object whose prompt field holds a text or a list of token ids. The fields "max_tokens"
// (number), "seed" (number) and "stop" (text or list of texts) replace the command's settings for
// this line; the others mean nothing to us.
struct JsonlPrompt {
  std::string line;  // as it stands, for the result is the same object with one field more
  std::optional<std::string> text;
  std::vector<int32_t> ids;  // if there is no text
  int64_t max_tokens = 0;    // 0 = the command's
  std::optional<int64_t> seed;
  std::optional<std::vector<std::string>> stops;
};

// All lines that are not blank of a file, or of stdin for "-". Throws IoError and, with path and
// line, FormatError.
std::vector<JsonlPrompt> ReadJsonlPrompts(const std::string& path, const JsonlFields& fields);

}  // namespace ckv
