// UTF-8: checking, going through code points, and text that arrives in pieces.
//
// Valid is what RFC 3629 allows: shortest forms only, no surrogates, nothing above U+10FFFF. An
// invalid byte sequence counts, as Unicode recommends, as one error for each maximal prefix of a
// valid sequence, which is the number of U+FFFD that replace it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ckv {

constexpr char32_t kReplacementCharacter = 0xFFFD;

// One step through a text.
struct Utf8Step {
  char32_t code_point = 0;  // U+FFFD if !valid
  size_t length = 0;        // bytes taken, at least 1
  bool valid = false;
  bool truncated = false;  // the text ends within a sequence that is right so far; !valid
};

// The code point at the start of `text`. Requires a non-empty text.
Utf8Step NextCodePoint(std::string_view text);

// The offset of the first invalid byte, or npos.
size_t FirstInvalidUtf8(std::string_view text);
inline bool IsValidUtf8(std::string_view text) {
  return FirstInvalidUtf8(text) == std::string_view::npos;
}

// The text with each invalid sequence replaced by U+FFFD.
std::string ReplaceInvalidUtf8(std::string_view text);

// Appends the encoding of a code point. Requires a value that is neither a surrogate nor above
// U+10FFFF.
void AppendUtf8(char32_t code_point, std::string* text);

// Bytes in, whole characters out: an unfinished sequence at the end is held back until it is
// complete or shown to be wrong.
class Utf8Stream {
 public:
  std::string Push(std::string_view bytes);
  // What is held back, as U+FFFD, at the end of the text.
  std::string Finish();

 private:
  std::string held_;
};

}  // namespace ckv
