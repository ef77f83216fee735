#include "sweep/child.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <regex>
#include <sstream>
#include <utility>

#include <climits>

#include "base/error.h"
#include "base/file.h"

extern char** environ;  // NOLINT: POSIX

namespace ckv {
namespace {

constexpr double kSecondsToSave = 10.0;
constexpr size_t kLogTailBytes = 8192;

std::string TailOf(const std::string& path) {
  if (!FileExists(path)) return "";
  const std::string text = ReadFile(path);
  return text.size() > kLogTailBytes ? text.substr(text.size() - kLogTailBytes) : text;
}

// The last line that is not empty; progress bars end with carriage returns.
std::string LastLine(const std::string& text) {
  size_t end = text.find_last_not_of("\r\n ");
  if (end == std::string::npos) return "";
  const size_t begin = text.find_last_of("\r\n", end);
  return text.substr(begin == std::string::npos ? 0 : begin + 1,
                     end - (begin == std::string::npos ? 0 : begin + 1) + 1);
}

// What the rank that failed first said; the others and the launcher speak after it.
std::string FirstErrorLine(const std::string& text) {
  constexpr char kError[] = "error: ";
  for (size_t at = text.find(kError); at != std::string::npos; at = text.find(kError, at + 1)) {
    if (at > 0 && text[at - 1] != '\n' && text[at - 1] != '\r') continue;
    return text.substr(at, text.find_first_of("\r\n", at) - at);
  }
  return LastLine(text);
}

bool MentionsMemory(const std::string& log) {
  for (const char* text : {"out of memory", "OutOfMemory", "bad_alloc", "can't allocate memory"}) {
    if (log.find(text) != std::string::npos) return true;
  }
  return false;
}

std::vector<char*> PointersTo(const std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

int OpenForChild(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0666);
  if (fd < 0) throw IoError(path, "cannot open", errno);
  return fd;
}

}  // namespace

std::string OwnProgram() {
  char path[PATH_MAX];
  const ssize_t length = ::readlink("/proc/self/exe", path, sizeof(path));
  if (length <= 0) throw IoError("/proc/self/exe", "cannot be read", errno);
  return {path, static_cast<size_t>(length)};
}

std::string FindProgram(const std::string& name, const std::string& origin) {
  if (name.find('/') != std::string::npos) return name;
  const char* folders = std::getenv("PATH");
  std::istringstream list(folders == nullptr ? "" : folders);
  for (std::string folder; std::getline(list, folder, ':');) {
    const std::string path = JoinPath(folder.empty() ? "." : folder, name);
    if (::access(path.c_str(), X_OK) == 0 && !IsDirectory(path)) return path;
  }
  throw ConfigError(origin, Str("there is no program '", name, "' in the folders of PATH"));
}

std::optional<int> FirstFailedRank(const std::string& log) {
  const size_t cause = log.rfind("Root Cause");
  if (cause == std::string::npos) return std::nullopt;
  const std::regex line("exitcode\\s*:\\s*(-?[0-9]{1,3})");
  std::smatch found;
  const std::string rest = log.substr(cause);
  if (!std::regex_search(rest, found, line)) return std::nullopt;
  const int code = std::stoi(found[1].str());
  return code < 0 ? kExitSignalBase - code : code;
}

Child::Child(ChildCommand command)
    : command_(std::move(command)), start_(std::chrono::steady_clock::now()) {
  if (command_.program.empty()) command_.program = OwnProgram();
  const int out = OpenForChild(command_.out, O_TRUNC);
  const int log = OpenForChild(command_.log, O_APPEND);
  // Everything is made before the fork: the child may only call what is safe in signal handlers.
  std::vector<std::string> words = command_.arguments;
  words.insert(words.begin(), command_.program);
  words.insert(words.begin(), command_.launcher.begin(), command_.launcher.end());
  words.front() = FindProgram(words.front(), "launcher");
  std::vector<std::string> settings;
  for (const auto& [name, value] : command_.environment) settings.push_back(name + "=" + value);
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const std::string name = text.substr(0, text.find('='));
    const auto& unset = command_.unset;
    if (std::find(unset.begin(), unset.end(), name) != unset.end()) continue;
    if (command_.environment.count(name) == 0) settings.push_back(text);
  }
  const std::vector<char*> argv = PointersTo(words);
  const std::vector<char*> envp = PointersTo(settings);
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) {
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (::getppid() != parent) ::_exit(127);
    const int input = ::open("/dev/null", O_RDONLY);
    if (input < 0 || ::dup2(input, 0) < 0 || ::dup2(out, 1) < 0 || ::dup2(log, 2) < 0) ::_exit(127);
    ::execve(argv[0], argv.data(), envp.data());
    ::_exit(127);
  }
  const int fork_errno = errno;
  ::close(out);
  ::close(log);
  if (pid_ < 0) throw IoError(command_.program, "cannot start a process", fork_errno);
}

Child::~Child() {
  if (pid_ <= 0) return;
  ::kill(-pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

double Child::Seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

std::optional<ChildResult> Child::Poll() {
  int status = 0;
  const pid_t done = ::waitpid(pid_, &status, WNOHANG);
  if (done == pid_) {
    const ChildResult result = Classify(status);
    ::kill(-pid_, SIGKILL);  // what it may have left in its group
    pid_ = -1;
    return result;
  }
  if (command_.timeout_s <= 0.0) return std::nullopt;
  if (!timed_out_ && Seconds() > command_.timeout_s) {
    timed_out_ = true;
    ::kill(pid_, SIGTERM);
  } else if (timed_out_ && !killed_ && Seconds() > command_.timeout_s + kSecondsToSave) {
    killed_ = true;
    ::kill(-pid_, SIGKILL);
  }
  return std::nullopt;
}

void Child::Interrupt() {
  if (pid_ <= 0) return;
  ::kill(interrupted_ ? -pid_ : pid_, interrupted_ ? SIGKILL : SIGTERM);
  interrupted_ = true;
}

ChildResult Child::Classify(int wait_status) const {
  ChildResult result;
  result.seconds = Seconds();
  result.exit_code =
      WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
  const std::string log = TailOf(command_.log);
  if (result.exit_code == 0) {
    result.status = StageStatus::kDone;
    return result;
  }
  result.message = LastLine(log);
  if (!command_.launcher.empty()) {
    result.exit_code = FirstFailedRank(log).value_or(result.exit_code);
    result.message = FirstErrorLine(log);
  }
  if (interrupted_) {
    result.status = StageStatus::kInterrupted;
  } else if (timed_out_) {
    result.status = StageStatus::kTimedOut;
  } else if (result.exit_code == kExitDiverged) {
    result.status = StageStatus::kDiverged;
  } else if (MentionsMemory(result.message)) {
    result.status = StageStatus::kOutOfMemory;
  } else if (result.exit_code > kExitSignalBase) {
    result.status = StageStatus::kKilled;
    result.message = Str("killed by signal ", result.exit_code - kExitSignalBase);
  }
  return result;
}

}  // namespace ckv
