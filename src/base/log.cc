#include "base/log.h"

#include <cerrno>
#include <cstdio>
#include <ctime>
#include <memory>
#include <mutex>

#include "base/error.h"

namespace ckv {
namespace {

struct FileCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

struct LogState {
  std::mutex mutex;
  LogLevel level = LogLevel::kInfo;
  std::unique_ptr<std::FILE, FileCloser> file;
};

LogState& State() {
  static LogState state;
  return state;
}

}  // namespace

void SetLogLevel(LogLevel level) {
  std::lock_guard<std::mutex> lock(State().mutex);
  State().level = level;
}

void SetLogFile(const std::string& path) {
  std::lock_guard<std::mutex> lock(State().mutex);
  State().file.reset();
  if (path.empty()) return;
  State().file.reset(std::fopen(path.c_str(), "ae"));
  if (State().file == nullptr) throw IoError(path, "cannot open the log file", errno);
}

void Log(LogLevel level, std::string_view tag, std::string_view text) {
  std::lock_guard<std::mutex> lock(State().mutex);
  if (level > State().level) return;
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  localtime_r(&now, &parts);
  char stamp[32];
  std::strftime(stamp, sizeof(stamp), "%Y-%m-%d %H:%M:%S", &parts);
  const std::string line =
      Str(stamp, " ", "EWID"[static_cast<int>(level)], " ", tag, "] ", text, "\n");
  std::fputs(line.c_str(), stderr);
  if (State().file != nullptr) {
    std::fputs(line.c_str(), State().file.get());
    std::fflush(State().file.get());
  }
}

}  // namespace ckv
