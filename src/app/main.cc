// The program: runs a command and turns every failure into one line on stderr and an exit code.
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "app/command.h"
#include "base/error.h"
#include "base/progress.h"

namespace {

int Fail(const std::string& what, int exit_code) {
  ckv::ShowLiveLine("");
  // LibTorch appends a backtrace to its messages.
  std::fprintf(stderr, "error: %s\n", what.substr(0, what.find('\n')).c_str());
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    ckv::RunProgram(std::vector<std::string>(argv + 1, argv + argc));
    return ckv::kExitOk;
  } catch (const ckv::Error& error) {
    return Fail(error.what(), error.exit_code());
  } catch (const std::bad_alloc&) {
    return Fail("out of memory", ckv::kExitInternal);
  } catch (const std::exception& error) {
    return Fail(error.what(), ckv::kExitInternal);
  }
}
