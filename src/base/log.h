// Log lines on stderr: "2025-01-31 12:00:00 I train] text". Results go to stdout, never through
// here.
#pragma once

#include <string>
#include <string_view>

namespace ckv {

enum class LogLevel { kError, kWarn, kInfo, kDebug };

// Lines below `level` are dropped. Default: kInfo.
void SetLogLevel(LogLevel level);

// Every line is also appended to `path` (the run's log.txt) until the next call; "" ends that.
// Throws IoError if the file cannot be opened.
void SetLogFile(const std::string& path);

// `tag` is the folder or command that speaks.
void Log(LogLevel level, std::string_view tag, std::string_view text);
inline void LogInfo(std::string_view tag, std::string_view text) {
  Log(LogLevel::kInfo, tag, text);
}
inline void LogWarn(std::string_view tag, std::string_view text) {
  Log(LogLevel::kWarn, tag, text);
}

}  // namespace ckv
