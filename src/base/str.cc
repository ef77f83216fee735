#include "base/str.h"

#include <cmath>
#include <cstdio>

namespace ckv {
namespace {

// Three significant digits of a value in [0, 1000).
std::string ThreeDigits(double value) {
  const double magnitude = std::fabs(value);
  return Fixed(value, magnitude < 9.995 ? 2 : magnitude < 99.95 ? 1 : 0);
}

template <size_t N>
std::string Scaled(double value, double base, const char* const (&units)[N]) {
  size_t unit = 0;
  while (std::fabs(value) >= base * 0.9995 && unit + 1 < N) {
    value /= base;
    ++unit;
  }
  if (unit == 0 && value == std::floor(value)) return Fixed(value, 0) + units[0];
  return ThreeDigits(value) + units[unit];
}

}  // namespace

std::string Fixed(double value, int digits) {
  char buffer[400];
  std::snprintf(buffer, sizeof(buffer), "%.*f", digits, value);
  return buffer;
}

std::string HumanCount(double value) {
  static const char* const kUnits[] = {"", "k", "M", "G", "T", "P", "E"};
  return Scaled(value, 1000.0, kUnits);
}

std::string HumanBytes(double bytes) {
  static const char* const kUnits[] = {" B", " KiB", " MiB", " GiB", " TiB", " PiB"};
  return Scaled(bytes, 1024.0, kUnits);
}

std::string HumanSeconds(double seconds) {
  if (seconds < 60.0) return Fixed(seconds, 1) + "s";
  const long long total = std::llround(seconds);
  char buffer[64];
  if (total < 3600) {
    std::snprintf(buffer, sizeof(buffer), "%lldm %02llds", total / 60, total % 60);
  } else {
    std::snprintf(buffer, sizeof(buffer), "%lldh %02lldm", total / 3600, total / 60 % 60);
  }
  return buffer;
}

}  // namespace ckv
