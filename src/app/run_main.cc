#include <csignal>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "app/command.h"
#include "base/error.h"
#include "base/progress.h"

namespace ckv {
namespace {

// LibTorch's message for memory that the host does not have, in words.
std::string InWords(const std::string& what) {
  const std::string before = "you tried to allocate ";
  const size_t at = what.find(before);
  if (what.find("can't allocate memory") == std::string::npos || at == std::string::npos)
    return what;
  const size_t digits = at + before.size();
  const size_t end = what.find_first_not_of("0123456789", digits);
  return "out of memory: " + what.substr(digits, end - digits) +
         " bytes more could not be had on the CPU; a smaller model or batch would need fewer";
}

int Fail(const std::string& what, int exit_code) {
  ShowLiveLine("");
  // LibTorch appends a backtrace to its messages.
  std::fprintf(stderr, "error: %s\n", what.substr(0, what.find('\n')).c_str());
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
    return Fail(InWords(error.what()), kExitInternal);
  }
}

}  // namespace ckv
