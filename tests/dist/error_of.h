// What a call throws, as "exit code: message"; "nothing" if it does not throw.
#pragma once

#include <string>

#include "base/error.h"

namespace ckv {

template <typename Call>
std::string ThrownBy(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return Str(error.exit_code(), ": ", error.what());
  }
  return "nothing";
}

}  // namespace ckv
