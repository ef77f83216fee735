// A piece of work on a GPU that is recorded once and then queued as a whole, without the host's
// share of launching it (CUDA graphs).
#pragma once

#include <functional>
#include <memory>

#include <c10/core/Device.h>

namespace ckv {

// Memory and stream that several recordings have in common. Their work must run in turn, and what
// one of them leaves for the outside must be read before another runs.
class DeviceGraphPool {
 public:
  DeviceGraphPool();
  ~DeviceGraphPool();
  DeviceGraphPool(const DeviceGraphPool&) = delete;
  DeviceGraphPool& operator=(const DeviceGraphPool&) = delete;

 private:
  friend class DeviceGraph;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

class DeviceGraph {
 public:
  DeviceGraph();
  ~DeviceGraph();
  DeviceGraph(DeviceGraph&&) noexcept;
  DeviceGraph& operator=(DeviceGraph&&) noexcept;

  // True if `device` can record, in a build with CUDA.
  static bool Works(const at::Device& device);

  // Records what `work` queues on `device`, without running it. `work` must neither wait for the
  // device nor depend on its results, must have run once before, and everything outside that it
  // touches must stay where it is. `pool` may be nullptr: memory of its own.
  void Record(const at::Device& device, const std::function<void()>& work,
              DeviceGraphPool* pool = nullptr);

  bool recorded() const { return impl_ != nullptr; }

  // Queues the recorded work on the current stream. Needs a record. Work that draws random numbers
  // goes on in the device's generator only with `random`, which costs two more launches.
  void Run(bool random = false);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ckv
