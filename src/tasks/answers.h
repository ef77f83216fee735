// Generated answers against expected ones.
#pragma once

#include <string>
#include <vector>

namespace ckv {

// What `steps` (strip, lower, punctuation, digits) leave of a text: punctuation and digits are
// ASCII's and taken out.
std::string NormalizeAnswer(const std::string& text, const std::vector<std::string>& steps);

// 1 if the answer equals one of the targets when both are normalized, else 0.
double AnyMatches(const std::string& answer, const std::vector<std::string>& targets,
                  const std::vector<std::string>& steps);

// The answer up to the first of the texts `until`.
std::string CutAtFirst(const std::string& text, const std::vector<std::string>& until);

}  // namespace ckv
