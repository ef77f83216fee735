#include "record/gnuplot.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"

extern char** environ;

namespace ckv {
namespace {

class WorkFolder {
 public:
  WorkFolder() {
    const char* root = ::getenv("TMPDIR");
    path_ = JoinPath(root != nullptr && *root != '\0' ? root : "/tmp", "ckv_plot_XXXXXX");
    if (::mkdtemp(path_.data()) == nullptr) throw IoError(path_, "cannot create", errno);
  }
  ~WorkFolder() {
    try {
      RemoveAll(path_);
    } catch (const IoError&) {
      // What is left over lies in the system's temporary folder.
    }
  }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;

  std::string File(const std::string& name) const { return JoinPath(path_, name); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Runs gnuplot on `script` inside `folder`; what it prints goes to the file "messages" there.
// Returns its exit status.
int RunIn(const std::string& program, const WorkFolder& folder, const std::string& script) {
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  const std::string messages = folder.File("messages");
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, messages.c_str(),
                                     O_WRONLY | O_CREAT | O_APPEND, 0600);
  ::posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  ::posix_spawn_file_actions_addchdir_np(&actions, folder.path().c_str());
  // -d: without the user's own start-up file.
  // The child starts in another folder, which matters to a path, not to a name on PATH.
  const bool is_path = program.find('/') != std::string::npos;
  std::string arguments[] = {is_path ? std::filesystem::absolute(program).string() : program, "-d",
                             script};
  char* argv[] = {arguments[0].data(), arguments[1].data(), arguments[2].data(), nullptr};
  pid_t child = 0;
  const int error = ::posix_spawnp(&child, argv[0], &actions, nullptr, argv, environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error == ENOENT) {
    throw ConfigError("plot", Str("needs the program '", program,
                                  "', which is not installed (Debian: apt-get install "
                                  "gnuplot-nox)"));
  }
  if (error != 0) throw IoError(program, "cannot run", error);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) throw IoError(program, "cannot wait for it", errno);
  }
  return status;
}

std::string LastLine(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  const size_t feed = text.rfind('\n');
  return feed == std::string::npos ? text : text.substr(feed + 1);
}

}  // namespace

std::string GnuplotQuoted(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'') {
      quoted += "''";
    } else {
      quoted += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? ' ' : c;
    }
  }
  return quoted + "'";
}

std::string RunGnuplot(const GnuplotJob& job, const std::string& out) {
  const WorkFolder work;
  const std::string picture = work.File("picture" + job.ending);
  WriteFileAtomically(work.File("plot.dat"), job.data);
  WriteFileAtomically(work.File("plot.gp"), job.script);
  const int status = RunIn(job.program, work, "./plot.gp");
  if (status != 0 || !FileExists(picture)) {
    throw IoError(out, Str("gnuplot failed: ", LastLine(ReadFile(work.File("messages")))));
  }
  return ReadFile(picture);
}

}  // namespace ckv
