// Rows of the recorded Conic10K fixtures: every JSONL file of a kind in the folders conic*, and in
// folders within them, under CKV_GOLDENS.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/json.h"
#include "tests/goldens.h"

namespace ckv::conic {

inline std::vector<std::string> GoldenFolderPaths() {
  std::vector<std::string> folders;
  const std::string root = GoldensRoot();
  if (!IsDirectory(root)) return folders;
  for (const std::string& name : ListDir(root)) {
    const std::string folder = JoinPath(root, name);
    if (name.compare(0, 5, "conic") != 0 || !IsDirectory(folder)) continue;
    folders.push_back(folder);
    for (const std::string& inner : ListDir(folder)) {
      if (IsDirectory(JoinPath(folder, inner))) folders.push_back(JoinPath(folder, inner));
    }
  }
  return folders;
}

// Paths of the files <kind>*<suffix> of all folders.
inline std::vector<std::string> GoldenFiles(const std::string& kind, const std::string& suffix) {
  std::vector<std::string> files;
  for (const std::string& folder : GoldenFolderPaths()) {
    for (const std::string& name : ListDir(folder)) {
      const bool ends = name.size() >= suffix.size() &&
                        name.compare(name.size() - suffix.size(), suffix.size(), suffix) == 0;
      if (name.compare(0, kind.size(), kind) == 0 && ends) {
        files.push_back(JoinPath(folder, name));
      }
    }
  }
  return files;
}

inline std::vector<Json> ReadRows(const std::string& path) {
  std::vector<Json> rows;
  const std::string text = ReadFile(path);
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    if (end > begin) rows.push_back(ParseJson(text.substr(begin, end - begin), path));
    begin = end + 1;
  }
  return rows;
}

// The folder of the data files: ../data/conic10k beside the fixtures.
inline std::string DataFolder() { return JoinPath(GoldensRoot(), "../data/conic10k"); }

}  // namespace ckv::conic
