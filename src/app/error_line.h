// What the program prints of an exception that is not its own.
#pragma once

#include <string>

namespace ckv {

// The first line of `what` (LibTorch appends a backtrace), and in words if it is LibTorch's message
// for memory that the host does not have.
std::string ErrorLine(const std::string& what);

}  // namespace ckv
