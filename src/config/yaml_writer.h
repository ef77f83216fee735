// Values to YAML text on one line, such that reading the text gives the value back.
#pragma once

#include <string>
#include <string_view>

#include "config/value.h"

namespace ckv {

// A string as a YAML scalar: plain where every YAML reader takes it for a string, else in double
// quotes with escapes. Throws ConfigError if `text` is not UTF-8, which YAML cannot carry.
std::string StringYaml(const std::string& text);

// The shortest decimal text that reads back to the same double, always recognisable as a fraction:
// "0.1", "3e-4", "1.0". Requires a finite number.
std::string DoubleYaml(double number);

// Any value in flow style: "[1, two]", "{a: null}".
std::string FlowYaml(const ConfigValue& value);

// At most `max_bytes` of a text for a message: control characters escaped, "..." where it was cut.
std::string ShortText(const std::string& text, size_t max_bytes = 60);

// The position of the first byte that is not part of well-formed UTF-8, or npos.
size_t FindInvalidUtf8(std::string_view text);

}  // namespace ckv
