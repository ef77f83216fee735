// Classes of code points, as the formal language uses them: letters and digits of any script.
#pragma once

namespace ckv::conic {

struct CharClass {
  static constexpr unsigned kNameStart = 1;     // may begin a name in a term
  static constexpr unsigned kNameContinue = 2;  // may stand in a name of a term
  static constexpr unsigned kWord = 4;          // letters, numbers and _: declared names, concepts
  static constexpr unsigned kDigit = 8;         // decimal digits of any script
  static constexpr unsigned kSpace = 16;        // white space
};

// The classes of a code point, as a sum of the constants above.
unsigned ClassesOf(char32_t code_point);

inline bool IsSpace(char32_t c) { return (ClassesOf(c) & CharClass::kSpace) != 0; }
inline bool IsWord(char32_t c) { return (ClassesOf(c) & CharClass::kWord) != 0; }

}  // namespace ckv::conic
