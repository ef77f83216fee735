#include "record/run_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "record/host.h"

namespace ckv {
namespace {

constexpr char kConfigFile[] = "config.yaml";
constexpr char kRunFile[] = "run.json";
constexpr char kResultFile[] = "result.json";
constexpr char kLockFile[] = "lock";

void CheckPlainName(const char* what, const std::string& name) {
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos) {
    throw ConfigError("", Str("the ", what, "'s name is '", name,
                              "', but must be the name of a folder, without '/'"));
  }
}

// Invalid UTF-8, which a command line may hold, is replaced.
std::string JsonText(const OrderedJson& value) {
  return value.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

OrderedJson SessionJson(const RunSession& session, const std::string& time) {
  OrderedJson json;
  json["start_time"] = time;
  json["start_step"] = session.start_step;
  json["host"] = HostName();
  json["pid"] = ::getpid();
  json["device"] = session.device;
  json["revision"] = CodeRevision();
  json["command"] = session.command;
  json["versions"] = session.versions;
  return json;
}

OrderedJson NewRunJson(const RunSession& session, const std::string& time) {
  OrderedJson json;
  json["command"] = session.command;
  json["revision"] = CodeRevision();
  json["host"] = HostName();
  json["device"] = session.device;
  json["versions"] = session.versions;
  json["seed"] = session.seed;
  json["start_time"] = time;
  json["sessions"] = OrderedJson::array();
  return json;
}

}  // namespace

std::string DefaultRunDir(const std::string& study, const std::string& name) {
  CheckPlainName("study", study);
  CheckPlainName("run", name);
  return JoinPath(JoinPath(JoinPath("experiments", study), "runs"), name);
}

RunDir::RunDir(const std::string& path) : path_(path) {
  MakeDirs(path_);
  const std::string lock = File(kLockFile);
  const int fd = ::open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) throw IoError(lock, "cannot open", errno);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    char holder[256] = {};
    const ssize_t got = ::pread(fd, holder, sizeof(holder) - 1, 0);
    ::close(fd);
    if (error != EWOULDBLOCK) throw IoError(lock, "cannot lock", error);
    std::string who(holder, static_cast<size_t>(got > 0 ? got : 0));
    while (!who.empty() && who.back() == '\n') who.pop_back();
    throw IoError(path_, Str("another process works on this run: ",
                             who.empty() ? "it has just started" : who));
  }
  lock_fd_ = fd;
  const std::string text = Str("pid ", ::getpid(), " on ", HostName(), "\n");
  if (::ftruncate(fd, 0) != 0 ||
      ::pwrite(fd, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    const int error = errno;
    ::close(std::exchange(lock_fd_, -1));
    throw IoError(lock, "cannot write", error);
  }
}

RunDir::~RunDir() {
  // The file stays: another process that has it open must lock the same one.
  if (lock_fd_ >= 0) ::close(lock_fd_);
}

RunDir::RunDir(RunDir&& other) noexcept
    : path_(std::move(other.path_)), lock_fd_(std::exchange(other.lock_fd_, -1)) {}

RunDir& RunDir::operator=(RunDir&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(lock_fd_, other.lock_fd_);
  return *this;
}

std::string RunDir::File(const std::string& name) const { return JoinPath(path_, name); }

std::optional<std::string> RunDir::ReadConfig() const {
  if (!FileExists(File(kConfigFile))) return std::nullopt;
  return ReadFile(File(kConfigFile));
}

void RunDir::WriteConfig(const std::string& yaml) { WriteFileAtomically(File(kConfigFile), yaml); }

void RunDir::RecordSession(const RunSession& session) {
  const std::string path = File(kRunFile);
  const std::string time = UtcTimestamp();
  OrderedJson run;
  if (FileExists(path)) {
    const std::string text = ReadFile(path);
    ParseJson(text, path);  // for its messages; only OrderedJson keeps the keys' order
    run = OrderedJson::parse(text);
    if (!run.is_object() || !run["sessions"].is_array()) {
      throw FormatError(path, "", "is not the record of a run: it has no list 'sessions'");
    }
  } else {
    run = NewRunJson(session, time);
  }
  run["sessions"].push_back(SessionJson(session, time));
  WriteFileAtomically(path, JsonText(run));
}

void RunDir::WriteResult(const OrderedJson& result) {
  WriteFileAtomically(File(kResultFile), JsonText(result));
}

bool RunDir::HasResult() const { return FileExists(File(kResultFile)); }

}  // namespace ckv
