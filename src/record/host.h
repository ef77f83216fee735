// The machine's name and the time, as records hold them.
#pragma once

#include <string>

namespace ckv {

std::string HostName();

// Seconds since 1970, with fractions.
double WallTime();

// Now in UTC: "2025-01-31T12:00:00Z".
std::string UtcTimestamp();

}  // namespace ckv
