// Tokens of one statement, and the rewriting that comes before reading. docs/conic10k.md has the
// rules.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ckv::conic {

// Why a line cannot be read: a byte offset within it, what was found and what would be right.
struct ReadFault {
  size_t offset = 0;
  std::string what;
};

enum class TokenKind : uint8_t { kNumber, kName, kSign, kEnd };

struct Token {
  TokenKind kind = TokenKind::kEnd;
  size_t offset = 0;      // in the line
  std::string_view text;  // "**" for the power sign, however written
};

// A line with "^" as "**", without "= True", with "lambda" as "lbd_" and "F_{1}" as "F_1".
struct RewrittenLine {
  std::string text;
  std::vector<uint32_t> offsets;  // of each byte of `text` in the line; one more for its end

  size_t OffsetOf(size_t at) const {
    return offsets[at < offsets.size() ? at : offsets.size() - 1];
  }
};
RewrittenLine Rewrite(std::string_view line);

// Splits a rewritten line; the views point into it. Returns false and the fault for a character or
// a number that the language does not have. The last token is kEnd. With `join_spaced`, "> =" and
// "1 .5" are read as ">=" and "1.5".
bool Tokenize(const RewrittenLine& line, bool join_spaced, std::vector<Token>* tokens,
              ReadFault* fault);

}  // namespace ckv::conic
