// The documents of a task, as JSON objects, out of the files that they were published in.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/json.h"

namespace ckv {

struct Documents {
  std::vector<Json> items;  // objects
  std::vector<std::string> files;
  uint64_t fingerprint = 0;  // of the files' content
};

// The files of the first of `patterns` that names any, looked up in the first of `folders` where it
// does (absolute ones as they are). Throws IoError that lists what was looked for.
std::vector<std::string> FindTaskFiles(const std::vector<std::string>& patterns,
                                       const std::vector<std::string>& folders);

// Reads documents; `format` as TaskConfig's. `labels`: "" or a file, looked up likewise, with one
// value a line for each document; documents that have a field "label" keep it, and the file may be
// missing where all have. Files may be compressed (.gz, .zst). Throws IoError and
// FormatError(file, "line N", ...).
Documents ReadDocuments(const std::vector<std::string>& patterns,
                        const std::vector<std::string>& folders, const std::string& format,
                        const std::string& labels);

}  // namespace ckv
