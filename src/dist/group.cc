#include "dist/group.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Logging.h>
#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include "base/error.h"
#include "base/json.h"
#include "dist/backend.h"
#include "dist/watchdog.h"

namespace ckv {
namespace {

using Clock = std::chrono::steady_clock;

// Gloo ends its own waits first, with a message of what it waited for; the watchdog is for what
// that does not cover.
constexpr double kGraceSeconds = 10.0;

// Without source places and backtraces, which LibTorch and Gloo put around their messages.
std::string Reason(const std::exception& error) {
  std::string text = error.what();
  text = text.substr(0, text.find('\n'));
  while (!text.empty() && text.front() == '[' && text.find("] ") != std::string::npos) {
    text = text.substr(text.find("] ") + 2);
  }
  const size_t guess = text.find(". This may indicate");
  return text.substr(0, guess);
}

std::chrono::milliseconds Milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1e3));
}

}  // namespace

struct CommGroup::Parts {
  std::string who;  // "rank 2 of 8"
  c10::intrusive_ptr<c10d::Store> store;
  Watchdog watchdog;
  c10::intrusive_ptr<c10d::Backend> backend;
  double wait_seconds = 0.0;

  Parts(const std::string& name, double limit_s)
      : who(name), watchdog(name, Watchdog::Seconds(limit_s)) {}

  [[noreturn]] void Fail(const std::string& what, const std::exception& error) {
    const std::string message =
        Str(who, ", step ", watchdog.step(), ": ", what, " failed: ", Reason(error));
    watchdog.ExpectEnd(message, Watchdog::Seconds(kGraceSeconds));
    throw DistError(message);
  }
};

struct CommGroup::Pending::Work {
  Parts* parts = nullptr;
  std::string what;
  c10::intrusive_ptr<c10d::Work> work;
  // The host has waited for it to the end. Some of Gloo's works never say so themselves.
  std::shared_ptr<std::atomic<bool>> over = std::make_shared<std::atomic<bool>>(false);
  // The library works on the caller's tensors; they must live until it is done.
  std::vector<Tensor> first;
  std::vector<Tensor> second;
};

CommGroup::CommGroup(const Launch& launch, const DistConfig& config, const at::Device& device)
    : launch_(launch), device_(device), backend_name_(ChooseBackend(config, device)) {
  // c10d would put a backtrace on stderr for what becomes one line of ours.
  FLAGS_caffe2_log_level = 3;
  if (device.is_cuda()) c10::impl::VirtualGuardImpl(device.type()).setDevice(device);
  const std::chrono::milliseconds timeout = Milliseconds(config.timeout_s);
  const double grace_s = backend_name_ == "gloo" ? kGraceSeconds : 0.0;
  parts_ = std::make_unique<Parts>(Str("rank ", launch.rank, " of ", launch.world),
                                   config.timeout_s + grace_s);
  // The store's constructor has no time limit of its own once somebody answers at the port.
  const auto joined = std::make_shared<std::atomic<bool>>(false);
  parts_->watchdog.Watch("joining the other processes", [joined] { return joined->load(); });
  try {
    parts_->store = OpenStore(launch, timeout);
    parts_->backend = OpenBackend(backend_name_, launch, parts_->store, timeout);
    *joined = true;
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    parts_->Fail("joining the other processes", error);
  }
  // Nobody begins before all can be reached.
  Barrier();
}

CommGroup::~CommGroup() = default;

void CommGroup::SetStep(int64_t step) { parts_->watchdog.SetStep(step); }

void CommGroup::Pending::Wait() {
  CKV_CHECK(work_ != nullptr, "a collective is waited for twice");
  const std::shared_ptr<Work> work = std::move(work_);
  const auto start = Clock::now();
  try {
    work->work->wait();
    if (work->first.front().is_cpu()) *work->over = true;  // a GPU's wait is that of a stream
  } catch (const std::exception& error) {
    work->parts->Fail(work->what, error);
  }
  work->parts->wait_seconds += std::chrono::duration<double>(Clock::now() - start).count();
}

CommGroup::Pending CommGroup::Start(const char* what,
                                    const std::function<void(Parts&, Pending::Work&)>& start) {
  Pending pending;
  pending.work_ = std::make_shared<Pending::Work>();
  pending.work_->parts = parts_.get();
  pending.work_->what = what;
  try {
    start(*parts_, *pending.work_);
  } catch (const std::exception& error) {
    parts_->Fail(what, error);
  }
  parts_->watchdog.Watch(what, [work = pending.work_->work, over = pending.work_->over] {
    return over->load() || work->isCompleted();
  });
  return pending;
}

CommGroup::Pending CommGroup::StartSum(const Tensor& tensor, const char* what) {
  traffic_.summed += static_cast<int64_t>(tensor.nbytes());
  return Start(what, [&](Parts& parts, Pending::Work& work) {
    work.first = {tensor};
    work.work = parts.backend->allreduce(work.first);
  });
}

CommGroup::Pending CommGroup::StartReduceScatter(const Tensor& own, const Tensor& all,
                                                 const char* what) {
  CKV_CHECK(own.numel() * world() == all.numel(), own.sizes(), " of ", all.sizes());
  traffic_.scattered += static_cast<int64_t>(all.nbytes());
  return Start(what, [&](Parts& parts, Pending::Work& work) {
    work.first = {own};
    work.second = {all};
    work.work = parts.backend->_reduce_scatter_base(work.first[0], work.second[0]);
  });
}

CommGroup::Pending CommGroup::StartAllGather(const Tensor& all, const Tensor& own,
                                             const char* what) {
  CKV_CHECK(own.numel() * world() == all.numel(), own.sizes(), " of ", all.sizes());
  traffic_.gathered += static_cast<int64_t>(all.nbytes());
  return Start(what, [&](Parts& parts, Pending::Work& work) {
    work.first = {all};
    work.second = {own};
    work.work = parts.backend->_allgather_base(work.first[0], work.second[0]);
  });
}

void CommGroup::Broadcast(const Tensor& tensor, int root) {
  Start("a broadcast", [&](Parts& parts, Pending::Work& work) {
    work.first = {tensor};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    work.work = parts.backend->broadcast(work.first, options);
  }).Wait();
}

void CommGroup::Barrier() {
  const Tensor one = at::ones({1}, at::TensorOptions().device(device_));
  Sum(one, "a barrier");
  CKV_CHECK(one.item<float>() == static_cast<float>(world()), "a barrier counted wrong");
}

std::vector<std::string> CommGroup::Gather(const std::string& mine) {
  const auto to_bytes = at::TensorOptions().dtype(at::kByte);
  const Tensor sizes = at::zeros({world()}, at::kLong);
  sizes[rank()] = static_cast<int64_t>(mine.size());
  const Tensor all_sizes = sizes.to(device_);
  Sum(all_sizes, "an exchange of sizes");
  const Tensor counts = all_sizes.to(at::kCPU);
  const int64_t longest = std::max<int64_t>(counts.max().item<int64_t>(), 1);
  Tensor own = at::zeros({longest}, to_bytes);
  if (!mine.empty()) std::memcpy(own.data_ptr(), mine.data(), mine.size());
  own = own.to(device_);
  const Tensor all = at::empty({longest * world()}, to_bytes.device(device_));
  StartAllGather(all, own, "an exchange of texts").Wait();
  const Tensor bytes = all.to(at::kCPU);
  std::vector<std::string> texts;
  for (int r = 0; r < world(); ++r) {
    texts.emplace_back(static_cast<const char*>(bytes.data_ptr()) + r * longest,
                       static_cast<size_t>(counts[r].item<int64_t>()));
  }
  return texts;
}

void CommGroup::Together(const std::function<void()>& work) {
  std::exception_ptr own;
  Json report = {{"code", 0}, {"what", ""}};
  try {
    work();
  } catch (const Error& error) {
    own = std::current_exception();
    report = {{"code", error.exit_code()}, {"what", error.what()}};
  } catch (const std::exception& error) {
    own = std::current_exception();
    report = {{"code", static_cast<int>(kExitInternal)}, {"what", error.what()}};
  }
  const auto replace = Json::error_handler_t::replace;
  const std::vector<std::string> reports = Gather(report.dump(-1, ' ', false, replace));
  if (own) std::rethrow_exception(own);
  for (int r = 0; r < world(); ++r) {
    const Json other = Json::parse(reports[static_cast<size_t>(r)]);
    if (other["code"] == 0) continue;
    throw Error(other["code"].get<int>(), Str("rank ", r, ": ", other["what"].get<std::string>()));
  }
}

double CommGroup::TakeWaitSeconds() { return std::exchange(parts_->wait_seconds, 0.0); }

}  // namespace ckv
