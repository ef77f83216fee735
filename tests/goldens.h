// Finds the recorded fixtures: `CKV_GOLDENS` names their root, else ../shared/goldens beside the
// repository. Tests that need an absent part are skipped by name.
#pragma once

#include <cstdlib>
#include <string>
#include <vector>

#include "base/file.h"

namespace ckv {

inline std::string GoldensRoot() {
  const char* root = std::getenv("CKV_GOLDENS");
  return root != nullptr && *root != '\0' ? std::string(root)
                                          : std::string(CKV_SOURCE_DIR "/../shared/goldens");
}

// Names of the folders of `root` that hold `file`, sorted; none if there is no such root.
inline std::vector<std::string> FoldersWith(const std::string& root, const std::string& file) {
  std::vector<std::string> folders;
  if (!IsDirectory(root)) return folders;
  for (const std::string& name : ListDir(root)) {
    if (FileExists(JoinPath(JoinPath(root, name), file))) folders.push_back(name);
  }
  return folders;
}

inline std::vector<std::string> GoldenFolders(const std::string& file) {
  return FoldersWith(JoinPath(GoldensRoot(), "kv"), file);
}

}  // namespace ckv
