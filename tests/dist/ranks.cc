#include "tests/dist/ranks.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include <torch/torch.h>

#include "base/error.h"
#include "base/file.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

[[noreturn]] void BeRank(int rank, int world, int port, const RanksOptions& options,
                         const std::function<void(CommGroup*)>& work, const std::string& report) {
  int code = 0;
  std::string message;
  try {
    at::set_num_threads(1);
    if (world == 0) {
      work(nullptr);
    } else {
      Launch launch;
      launch.rank = launch.local_rank = rank;
      launch.world = launch.local_world = world;
      launch.master = "127.0.0.1";
      launch.port = port;
      launch.prefix = "/test";
      const at::Device device =
          options.gpus ? at::Device(at::kCUDA, static_cast<int8_t>(rank)) : at::Device(at::kCPU);
      CommGroup group(launch, options.config, device);
      work(&group);
    }
  } catch (const Error& error) {
    code = error.exit_code();
    message = error.what();
  } catch (const std::exception& error) {
    code = 1;
    message = error.what();
  }
  WriteFileAtomically(report, message);
  ::_exit(code);
}

}  // namespace

int FreePort() {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
  ::close(fd);
  return ntohs(address.sin_port);
}

std::vector<RankEnd> RunRanks(int world, const std::function<void(CommGroup*)>& work,
                              const RanksOptions& options) {
  const TempDir dir;
  const int port = FreePort();
  const int count = world == 0 ? 1 : world;
  std::vector<pid_t> processes;
  for (int rank = 0; rank < count; ++rank) {
    const pid_t process = ::fork();
    if (process == 0) BeRank(rank, world, port, options, work, dir.File(Str("rank", rank)));
    processes.push_back(process);
  }
  std::vector<RankEnd> ends(static_cast<size_t>(count));
  const auto deadline =
      std::chrono::steady_clock::now() + std::chrono::duration<double>(options.limit_s);
  size_t left = ends.size();
  bool killed = false;
  while (left > 0) {
    for (size_t i = 0; i < ends.size(); ++i) {
      int status = 0;
      if (processes[i] == 0 || ::waitpid(processes[i], &status, WNOHANG) != processes[i]) continue;
      processes[i] = 0;
      --left;
      ends[i].exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
      const std::string report = dir.File(Str("rank", i));
      if (FileExists(report)) ends[i].message = ReadFile(report);
    }
    if (!killed && std::chrono::steady_clock::now() > deadline) {
      killed = true;
      for (const pid_t process : processes) {
        if (process != 0) ::kill(process, SIGKILL);
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return ends;
}

void ExpectRanks(int world, const std::function<void(CommGroup*)>& work,
                 const RanksOptions& options) {
  const std::vector<RankEnd> ends = RunRanks(world, work, options);
  for (size_t i = 0; i < ends.size(); ++i) {
    EXPECT_EQ(ends[i].exit_code, 0) << "rank " << i << " of " << world << ": " << ends[i].message;
  }
}

}  // namespace ckv
