// A piece of work on a GPU that is recorded once and then queued as a whole, without the host's
// share of launching it (CUDA graphs).
#pragma once

#include <functional>
#include <memory>

#include <c10/core/Device.h>

namespace ckv {

class DeviceGraph {
 public:
  DeviceGraph();
  ~DeviceGraph();
  DeviceGraph(DeviceGraph&&) noexcept;
  DeviceGraph& operator=(DeviceGraph&&) noexcept;

  // True if `device` can record, in a build with CUDA.
  static bool Works(const at::Device& device);

  // Records what `work` queues on `device`, without running it. `work` must neither wait for the
  // device nor depend on its results nor draw random numbers, must have run once before, and
  // everything outside that it touches must stay where it is.
  void Record(const at::Device& device, const std::function<void()>& work);

  bool recorded() const { return impl_ != nullptr; }

  // Queues the recorded work on the current stream. Needs a record.
  void Run();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ckv
