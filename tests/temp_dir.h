// A folder for a test's files, removed at the end of the scope.
#pragma once

#include <stdlib.h>

#include <string>

#include "base/error.h"
#include "base/file.h"

namespace ckv {

class TempDir {
 public:
  TempDir() {
    char name[] = "/tmp/ckv_test_XXXXXX";
    CKV_CHECK(::mkdtemp(name) != nullptr, "cannot make a temporary folder");
    path_ = name;
  }
  ~TempDir() { RemoveAll(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return JoinPath(path_, name); }

 private:
  std::string path_;
};

// The message of the ckv::Error that `call` throws, with its exit code in front ("2: ..."); "" if
// nothing is thrown.
template <typename Call>
std::string ErrorOf(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return Str(error.exit_code(), ": ", error.what());
  }
  return "";
}

}  // namespace ckv
