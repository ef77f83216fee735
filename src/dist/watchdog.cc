#include "dist/watchdog.h"

#include <unistd.h>

#include <cstdio>

#include "base/error.h"

namespace ckv {
namespace {

constexpr std::chrono::milliseconds kLook{100};

[[noreturn]] void EndProcess(const std::string& message) {
  std::fprintf(stderr, "error: %s\n", message.c_str());
  std::fflush(stderr);
  ::_exit(kExitDist);
}

}  // namespace

Watchdog::Watchdog(std::string who, Seconds timeout,
                   std::function<void(const std::string&)> expired)
    : who_(std::move(who)), timeout_(timeout), expired_(std::move(expired)) {
  if (!expired_) expired_ = EndProcess;
  thread_ = std::thread([this] { Run(); });
}

Watchdog::~Watchdog() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Watchdog::Watch(std::string what, std::function<bool()> done) {
  const auto deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(timeout_);
  std::lock_guard<std::mutex> lock(mutex_);
  tasks_.push_back({Str(who_, ", step ", step(), ": ", what, " has waited for other ranks for ",
                        timeout_.count(), " s (dist.timeout_s): one of them is gone or hangs"),
                    std::move(done), deadline});
}

void Watchdog::ExpectEnd(std::string what, Seconds grace) {
  const auto deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(grace);
  std::lock_guard<std::mutex> lock(mutex_);
  tasks_.push_back({std::move(what), [] { return false; }, deadline});
}

void Watchdog::Run() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stopped_) {
    changed_.wait_for(lock, kLook);
    const auto now = Clock::now();
    for (auto task = tasks_.begin(); task != tasks_.end();) {
      if (task->done()) {
        task = tasks_.erase(task);
      } else if (now > task->deadline) {
        expired_(task->what);
        task = tasks_.erase(task);
      } else {
        ++task;
      }
    }
  }
}

}  // namespace ckv
