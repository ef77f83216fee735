#include <csignal>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "app/command.h"
#include "app/error_line.h"
#include "base/error.h"
#include "base/progress.h"

namespace ckv {
namespace {

int Fail(const std::string& what, int exit_code) {
  ShowLiveLine("");
  std::fprintf(stderr, "error: %s\n", ErrorLine(what).c_str());
  return exit_code;
}

}  // namespace

int RunMain(int argc, char** argv) {
  // A file-size limit is then an error of writing, as a full disk is.
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    RunProgram(std::vector<std::string>(argv + 1, argv + argc));
    return kExitOk;
  } catch (const Error& error) {
    return Fail(error.what(), error.exit_code());
  } catch (const std::bad_alloc&) {
    return Fail("out of memory", kExitInternal);
  } catch (const std::exception& error) {
    return Fail(error.what(), kExitInternal);
  }
}

}  // namespace ckv
