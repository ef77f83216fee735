#include "text/stop_text.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "text/utf8.h"

namespace ckv {

void CheckStopStrings(const std::vector<std::string>& stops) {
  for (const std::string& stop : stops) {
    if (stop.empty()) throw ConfigError("--stop", "is empty");
    if (!IsValidUtf8(stop)) throw ConfigError("--stop", "is not UTF-8");
  }
}

StopText::StopText(std::vector<std::string> stops) : stops_(std::move(stops)) {
  CheckStopStrings(stops_);
}

std::string StopText::Push(std::string_view piece) {
  if (stopped_) return "";
  held_ += piece;
  size_t begin = std::string::npos;
  size_t end = std::string::npos;
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at == std::string::npos) continue;
    if (at + stop.size() < end || (at + stop.size() == end && at < begin)) {
      begin = at;
      end = at + stop.size();
    }
  }
  stopped_ = begin != std::string::npos;
  const size_t length = stopped_ ? begin : CertainLength();
  std::string certain = held_.substr(0, length);
  held_.erase(0, stopped_ ? held_.size() : length);
  return certain;
}

// All but the longest end of what is held that begins a stop string.
size_t StopText::CertainLength() const {
  size_t longest = 0;
  for (const std::string& stop : stops_) {
    size_t length = std::min(stop.size() - 1, held_.size());
    while (length > longest && held_.compare(held_.size() - length, length, stop, 0, length) != 0) {
      --length;
    }
    longest = std::max(longest, length);
  }
  return held_.size() - longest;
}

std::string StopText::Finish() { return std::exchange(held_, ""); }

}  // namespace ckv
