// One live line on stderr that shows how far a long job is. On a terminal it is redrawn in place;
// in a file or pipe a plain line appears now and then.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace ckv {

// True if stderr is a terminal.
bool StderrIsTerminal();

// Draws `text` over the last live line (terminals only; elsewhere nothing). An empty text clears
// it.
void ShowLiveLine(const std::string& text);

class ProgressBar {
 public:
  // `total` in `unit`s ("tokens", "MB", ...); 0 = unknown.
  ProgressBar(std::string label, uint64_t total, std::string unit);
  ~ProgressBar();

  // Sets the amount done so far; draws at most ten times a second on a terminal, every ten seconds
  // elsewhere.
  void Update(uint64_t done, const std::string& note = "");
  void Finish();

 private:
  using Clock = std::chrono::steady_clock;
  std::string Render(uint64_t done, const std::string& note) const;

  std::string label_;
  uint64_t total_;
  std::string unit_;
  Clock::time_point start_;
  Clock::time_point last_draw_;
  uint64_t done_ = 0;
  bool finished_ = false;
};

}  // namespace ckv
