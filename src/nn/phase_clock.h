// Where the time of a training step goes: the device's time between marks that the code sets on its
// way. Without a clock a mark costs nothing.
#pragma once

#include <array>
#include <cstddef>
#include <memory>

#include <c10/core/Device.h>

namespace ckv {

enum class Phase { kInput, kNoGradForward, kForward, kBackward, kOptimizer };
constexpr size_t kNumPhases = 5;
const char* PhaseName(Phase phase);  // "input", "forward, no grad", ...

// Measures all marks of this thread while it lives. One at a time.
class PhaseClock {
 public:
  explicit PhaseClock(const at::Device& device);
  ~PhaseClock();
  PhaseClock(const PhaseClock&) = delete;
  PhaseClock& operator=(const PhaseClock&) = delete;

  // Milliseconds of each phase since the last call, which waits for the device. What comes before
  // the first mark counts nowhere.
  std::array<double, kNumPhases> TakeMilliseconds();

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

// What is queued from here on belongs to `phase`.
void BeginPhase(Phase phase);

}  // namespace ckv
