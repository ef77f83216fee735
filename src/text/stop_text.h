// Stop strings in a text that arrives in pieces, whatever the places at which it is cut.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ckv {

// Throws ConfigError("--stop", ...) for a stop string that is empty or not UTF-8: it would stop
// everything or nothing.
void CheckStopStrings(const std::vector<std::string>& stops);

// Lets text through up to the first stop string: the one that is complete first and, of those
// complete at the same place, the longest. What may be the start of one is held back until it is
// known not to be.
class StopText {
 public:
  // Requires what CheckStopStrings does.
  explicit StopText(std::vector<std::string> stops);

  // The text that is now certain to stand before any stop string; "" once stopped.
  std::string Push(std::string_view piece);

  // What is still held back, at the end of a text; "" once stopped.
  std::string Finish();

  bool stopped() const { return stopped_; }

 private:
  size_t CertainLength() const;

  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace ckv
