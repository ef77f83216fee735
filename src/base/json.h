// JSON text to values, with our errors. Include <nlohmann/json.hpp> only in .cc files that use
// values.
#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace ckv {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

// Parses one value. Throws FormatError(path, "line L, column C", ...) for anything else, for
// nesting deeper than `max_depth`, for duplicate keys and for NUL bytes.
Json ParseJson(std::string_view text, const std::string& path, int max_depth = 64);

// ParseJson over a file's content.
Json ReadJsonFile(const std::string& path);

}  // namespace ckv
