// Runs a fuzz target over every file of a folder: `<name>_replay FOLDER`.

#include <cstdio>
#include <exception>

#include "base/error.h"
#include "base/file.h"
#include "tests/fuzz/fuzz_target.h"

namespace ckv {
namespace {

int Replay(const std::string& folder) {
  int num_inputs = 0;
  for (const std::string& name : ListDir(folder)) {
    const std::string path = JoinPath(folder, name);
    if (IsDirectory(path)) continue;
    const std::string input = ReadFile(path);
    // Printed first and unbuffered, so that a crash shows its input.
    std::fprintf(stderr, "%s\n", path.c_str());
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
    ++num_inputs;
  }
  if (num_inputs == 0) {
    std::fprintf(stderr, "%s holds no inputs\n", folder.c_str());
    return 1;
  }
  std::printf("%d inputs\n", num_inputs);
  return 0;
}

}  // namespace
}  // namespace ckv

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  try {
    return ckv::Replay(argv[1]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
