#include "app/error_line.h"

namespace ckv {

std::string ErrorLine(const std::string& what) {
  const std::string before = "you tried to allocate ";
  const size_t at = what.find(before);
  if (what.find("can't allocate memory") == std::string::npos || at == std::string::npos) {
    return what.substr(0, what.find('\n'));
  }
  const size_t digits = at + before.size();
  const size_t end = what.find_first_not_of("0123456789", digits);
  return "out of memory: " + what.substr(digits, end - digits) +
         " bytes more could not be had on the CPU; a smaller model or batch would need fewer";
}

}  // namespace ckv
