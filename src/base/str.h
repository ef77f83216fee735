// Building messages: Str("layer ", 3, " of ", n) puts its arguments into one string.
#pragma once

#include <sstream>
#include <string>

namespace ckv {

template <typename... Args>
std::string Str(const Args&... args) {
  std::ostringstream out;
  static_cast<void>((out << ... << args));
  return out.str();
}

// `value` with `digits` digits after the point: Fixed(3.14159, 2) == "3.14".
std::string Fixed(double value, int digits);

// 1234567 -> "1.23M", 45200 -> "45.2k", 999 -> "999": three significant digits, decimal prefixes.
std::string HumanCount(double value);

// 1536 -> "1.50 KiB": three significant digits, binary prefixes.
std::string HumanBytes(double bytes);

// 3725 -> "1h 02m", 75 -> "1m 15s", 4.2 -> "4.2s".
std::string HumanSeconds(double seconds);

}  // namespace ckv
