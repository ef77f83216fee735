#include "nn/phase_clock.h"

#include <chrono>
#include <vector>

#include "base/error.h"
#include "nn/device.h"

#ifdef CKV_HAVE_CUDA
#include <ATen/cuda/CUDAEvent.h>
#endif

namespace ckv {

// A moment on the device's own time line, or on the host's.
struct PhaseClock::Impl {
  struct Mark {
    Phase phase;
    std::chrono::steady_clock::time_point host;
#ifdef CKV_HAVE_CUDA
    std::shared_ptr<at::cuda::CUDAEvent> event;
#endif
  };

  explicit Impl(const at::Device& d) : device(d) {}

  void Add(Phase phase) {
    Mark mark;
    mark.phase = phase;
    mark.host = std::chrono::steady_clock::now();
#ifdef CKV_HAVE_CUDA
    if (device.is_cuda()) {
      mark.event = std::make_shared<at::cuda::CUDAEvent>(cudaEventDefault);
      mark.event->record();
    }
#endif
    marks.push_back(std::move(mark));
  }

  double Between(const Mark& from, const Mark& to) const {
#ifdef CKV_HAVE_CUDA
    if (from.event != nullptr) return from.event->elapsed_time(*to.event);
#endif
    return std::chrono::duration<double, std::milli>(to.host - from.host).count();
  }

  at::Device device;
  std::vector<Mark> marks;
};

namespace {

thread_local PhaseClock::Impl* current_clock = nullptr;

}  // namespace

const char* PhaseName(Phase phase) {
  switch (phase) {
    case Phase::kInput:
      return "input";
    case Phase::kNoGradForward:
      return "forward, no grad";
    case Phase::kForward:
      return "forward, grad";
    case Phase::kBackward:
      return "backward";
    case Phase::kOptimizer:
      return "optimizer";
  }
  return "";
}

PhaseClock::PhaseClock(const at::Device& device) : impl_(std::make_unique<Impl>(device)) {
  CKV_CHECK(current_clock == nullptr, "two clocks at a time");
  current_clock = impl_.get();
}

PhaseClock::~PhaseClock() { current_clock = nullptr; }

std::array<double, kNumPhases> PhaseClock::TakeMilliseconds() {
  std::array<double, kNumPhases> result = {};
  std::vector<Impl::Mark>& marks = impl_->marks;
  if (marks.empty()) return result;
  impl_->Add(marks.back().phase);
  Synchronize(impl_->device);
  for (size_t i = 0; i + 1 < marks.size(); ++i) {
    result[static_cast<size_t>(marks[i].phase)] += impl_->Between(marks[i], marks[i + 1]);
  }
  marks.clear();
  return result;
}

void BeginPhase(Phase phase) {
  if (current_clock != nullptr) current_clock->Add(phase);
}

}  // namespace ckv
