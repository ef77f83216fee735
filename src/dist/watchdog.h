// Ends a process that waits for others in vain: the library's own time limits do not cover every
// way to hang, and NCCL's work is not waited for on the host.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <thread>

namespace ckv {

class Watchdog {
 public:
  using Clock = std::chrono::steady_clock;
  using Seconds = std::chrono::duration<double>;

  // `who`: "rank 2 of 8". `expired` gets the message of a task that took longer than `timeout`; by
  // default it prints it on stderr and ends the process with kExitDist.
  Watchdog(std::string who, Seconds timeout, std::function<void(const std::string&)> expired = {});
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  void SetStep(int64_t step) { step_ = step; }
  int64_t step() const { return step_; }

  // Watches a task until `done` says true, which is asked about ten times a second from another
  // thread.
  void Watch(std::string what, std::function<bool()> done);

  // The process is about to end; if it is still there after `grace`, `what` is the message.
  void ExpectEnd(std::string what, Seconds grace);

 private:
  struct Task {
    std::string what;
    std::function<bool()> done;
    Clock::time_point deadline;
  };

  void Run();

  const std::string who_;
  const Seconds timeout_;
  std::function<void(const std::string&)> expired_;
  std::atomic<int64_t> step_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopped_ = false;
  std::list<Task> tasks_;
  std::thread thread_;  // last: it uses the others
};

}  // namespace ckv
