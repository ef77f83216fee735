#include "tasks/answers.h"

#include <algorithm>
#include <cctype>

#include "tasks/python_text.h"

namespace ckv {

std::string NormalizeAnswer(const std::string& text, const std::vector<std::string>& steps) {
  std::string result = text;
  for (const std::string& step : steps) {
    if (step == "strip") {
      result = std::string(Strip(result));
    } else if (step == "lower") {
      result = LowerCase(result);
    } else {
      const auto goes = [&step](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return byte < 128 && (step == "digits" ? std::isdigit(byte) : std::ispunct(byte)) != 0;
      };
      result.erase(std::remove_if(result.begin(), result.end(), goes), result.end());
    }
  }
  return result;
}

double AnyMatches(const std::string& answer, const std::vector<std::string>& targets,
                  const std::vector<std::string>& steps) {
  const std::string normal = NormalizeAnswer(answer, steps);
  return std::any_of(
             targets.begin(), targets.end(),
             [&](const std::string& target) { return NormalizeAnswer(target, steps) == normal; })
             ? 1.0
             : 0.0;
}

std::string CutAtFirst(const std::string& text, const std::vector<std::string>& until) {
  size_t end = text.size();
  for (const std::string& stop : until) {
    if (!stop.empty()) end = std::min(end, text.find(stop));
  }
  return text.substr(0, end);
}

}  // namespace ckv
