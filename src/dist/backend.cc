#include "dist/backend.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#ifdef CKV_HAVE_GLOO
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#endif
#ifdef CKV_HAVE_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

#include "base/error.h"

namespace ckv {
namespace {

#ifdef CKV_HAVE_GLOO
constexpr bool kHasGloo = true;
#else
constexpr bool kHasGloo = false;
#endif
#ifdef CKV_HAVE_NCCL
constexpr bool kHasNccl = true;
#else
constexpr bool kHasNccl = false;
#endif

}  // namespace

std::string ChooseBackend(const DistConfig& config, const at::Device& device) {
  std::string name = config.backend;
  if (name == "auto") name = device.is_cuda() ? "nccl" : "gloo";
  if (name == "nccl" && !device.is_cuda()) {
    throw ConfigError("dist.backend", "is nccl, which needs GPUs, but run.device is a CPU");
  }
  if (name == "gloo" && device.is_cuda()) {
    throw ConfigError("dist.backend", "is gloo, which serves CPUs here, but run.device is a GPU");
  }
  if (name == "gloo" && !kHasGloo) {
    throw ConfigError("dist.backend",
                      "is gloo, whose headers (libgloo-dev) were missing when this program was "
                      "built");
  }
  if (name == "nccl" && !kHasNccl) {
    throw ConfigError("dist.backend", "is nccl, but this program was built without it");
  }
  return name;
}

c10::intrusive_ptr<c10d::Store> OpenStore(const Launch& launch, std::chrono::milliseconds timeout) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<std::uint16_t>(launch.port);
  options.isServer = launch.rank == 0 && !launch.has_store;
  options.waitWorkers = false;
  options.timeout = timeout;
  try {
    auto store = c10::make_intrusive<c10d::TCPStore>(launch.master, options);
    return c10::make_intrusive<c10d::PrefixStore>(launch.prefix, std::move(store));
  } catch (const std::exception& error) {
    const std::string text = error.what();
    throw DistError(Str("rank ", launch.rank, " of ", launch.world, ": cannot ",
                        options.isServer ? "open the port " : "reach ", launch.master, ":",
                        launch.port, options.isServer ? "" : ", where rank 0 should be",
                        " (MASTER_ADDR, MASTER_PORT): ", text.substr(0, text.find('\n'))));
  }
}

namespace {

// "": there is no way to the host.
std::string AddressTowards(const std::string& host, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  const int fault = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (fault != 0) {
    throw DistError(Str("MASTER_ADDR: the host '", host, "' is not known: ", gai_strerror(fault)));
  }
  // Connecting a datagram socket sends nothing; it only chooses the way.
  std::string address;
  for (const addrinfo* one = found; one != nullptr && address.empty(); one = one->ai_next) {
    const int fd = ::socket(one->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) continue;
    sockaddr_storage local{};
    socklen_t size = sizeof(local);
    char text[NI_MAXHOST];
    if (::connect(fd, one->ai_addr, one->ai_addrlen) == 0 &&
        ::getsockname(fd, reinterpret_cast<sockaddr*>(&local), &size) == 0 &&
        ::getnameinfo(reinterpret_cast<sockaddr*>(&local), size, text, sizeof(text), nullptr, 0,
                      NI_NUMERICHOST) == 0) {
      address = text;
    }
    ::close(fd);
  }
  ::freeaddrinfo(found);
  return address;
}

}  // namespace

std::string LocalAddress(const Launch& launch) {
  std::string address = AddressTowards(launch.master, launch.port);
  const bool loopback = address.compare(0, 4, "127.") == 0 || address == "::1";
  if (loopback && launch.world > launch.local_world) {
    // Debian's /etc/hosts gives a host's own name such an address, where other hosts find nobody.
    // The way to anywhere else (an address for documentation, RFC 5737) is by its real one.
    const std::string outward = AddressTowards("192.0.2.1", launch.port);
    if (!outward.empty()) address = outward;
  }
  if (address.empty()) {
    throw DistError(Str("MASTER_ADDR: there is no way to the host ", launch.master));
  }
  return address;
}

c10::intrusive_ptr<c10d::Backend> OpenBackend(
    const std::string& name, [[maybe_unused]] const Launch& launch,
    [[maybe_unused]] const c10::intrusive_ptr<c10d::Store>& store,
    [[maybe_unused]] std::chrono::milliseconds timeout) {
#ifdef CKV_HAVE_GLOO
  if (name == "gloo") {
    auto options = c10d::ProcessGroupGloo::Options::create(timeout);
    options->devices.push_back(
        c10d::ProcessGroupGloo::createDeviceForHostname(LocalAddress(launch)));
    return c10::make_intrusive<c10d::ProcessGroupGloo>(store, launch.rank, launch.world,
                                                       std::move(options));
  }
#endif
#ifdef CKV_HAVE_NCCL
  if (name == "nccl") {
    auto options = c10d::ProcessGroupNCCL::Options::create();
    // Its own watchdog aborts with a backtrace; ours comes first.
    options->timeout = 2 * timeout + std::chrono::minutes(1);
    return c10::make_intrusive<c10d::ProcessGroupNCCL>(store, launch.rank, launch.world,
                                                       std::move(options));
  }
#endif
  throw InternalError(Str("no collectives called ", name));
}

}  // namespace ckv
