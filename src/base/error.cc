#include "base/error.h"

#include <cstring>

namespace ckv {

ConfigError::ConfigError(std::string_view origin, std::string_view what)
    : Error(kExitConfig, origin.empty() ? std::string(what) : Str(origin, ": ", what)) {}

FormatError::FormatError(std::string_view path, std::string_view where, std::string_view what)
    : Error(kExitFormat,
            where.empty() ? Str(path, ": ", what) : Str(path, ": ", where, ": ", what)) {}

IoError::IoError(std::string_view path, std::string_view what, int error_number)
    : Error(kExitIo, error_number == 0 ? Str(path, ": ", what)
                                       : Str(path, ": ", what, ": ", std::strerror(error_number))) {
}

DivergedError::DivergedError(int64_t step, std::string_view what)
    : Error(kExitDiverged, Str("step ", step, ": ", what)) {}

DistError::DistError(const std::string& what) : Error(kExitDist, what) {}

InternalError::InternalError(const std::string& what) : Error(kExitInternal, what) {}

Interrupted::Interrupted(int signal_number, const std::string& what)
    : Error(kExitSignalBase + signal_number, what) {}

}  // namespace ckv
