// White space and letter case of texts as Python's str has them: prompts of tasks are defined by
// Python code, and a score depends on every character of them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ckv {

// Whether Python's str.isspace() says so of a code point.
bool IsPythonSpace(char32_t code_point);

// str.strip() and its halves. Bytes that are not UTF-8 are no space.
std::string_view StripLeft(std::string_view text);
std::string_view StripRight(std::string_view text);
std::string_view Strip(std::string_view text);

// str.lower(), str.upper() for Latin, Greek and Cyrillic letters; others stay as they are.
std::string LowerCase(std::string_view text);
std::string UpperCase(std::string_view text);
// str.capitalize(): the first character in upper case, all others in lower case.
std::string Capitalized(std::string_view text);

// str.replace(): all occurrences from the left that do not overlap. Requires a non-empty `from`.
std::string ReplaceAll(std::string_view text, std::string_view from, std::string_view to);

// Code points; an invalid sequence counts as one.
int64_t NumCodePoints(std::string_view text);

// len(re.split(r"\s+", text)): runs of white space plus one.
int64_t NumSplitWords(std::string_view text);

}  // namespace ckv
