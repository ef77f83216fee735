#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "base/error.h"

namespace ckv {
namespace {

constexpr size_t kWriteBuffer = size_t{1} << 20;

// Closes a file descriptor at the end of a scope.
struct FdGuard {
  int fd;
  ~FdGuard() {
    if (fd >= 0) ::close(fd);
  }
};

int OpenOrThrow(const std::string& path, int flags, const char* what) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC, 0644);
  if (fd < 0) throw IoError(path, what, errno);
  return fd;
}

// Pipes, terminals and devices are written to, not replaced.
bool IsReplaceable(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && (S_ISREG(info.st_mode) || S_ISDIR(info.st_mode));
}

}  // namespace

bool FileExists(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0;
}

bool IsDirectory(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

uint64_t FileSize(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) throw IoError(path, "cannot read", errno);
  return static_cast<uint64_t>(info.st_size);
}

void MakeDirs(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) throw IoError(path, "cannot create the folder", error.value());
}

std::vector<std::string> ListDir(const std::string& path) {
  std::error_code error;
  std::filesystem::directory_iterator it(path, error);
  if (error) throw IoError(path, "cannot list the folder", error.value());
  std::vector<std::string> names;
  for (const auto& entry : it) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

void RemoveAll(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) throw IoError(path, "cannot remove", error.value());
}

void SyncDir(const std::string& path) {
  FdGuard guard{OpenOrThrow(path, O_RDONLY | O_DIRECTORY, "cannot open the folder")};
  // Some file systems cannot sync a folder; they order renames themselves.
  if (::fsync(guard.fd) != 0 && errno != EINVAL && errno != ENOTSUP) {
    throw IoError(path, "cannot sync the folder", errno);
  }
}

std::string DirName(const std::string& path) {
  const std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

std::string BaseName(const std::string& path) {
  return std::filesystem::path(path).filename().string();
}

std::string JoinPath(const std::string& folder, const std::string& name) {
  return (std::filesystem::path(folder) / name).string();
}

std::string ReadFile(const std::string& path, uint64_t max_bytes) {
  FdGuard guard{OpenOrThrow(path, O_RDONLY, "cannot open")};
  struct stat info {};
  if (::fstat(guard.fd, &info) != 0) throw IoError(path, "cannot read", errno);
  if (S_ISDIR(info.st_mode)) throw IoError(path, "cannot read", EISDIR);
  std::string content;
  if (info.st_size > 0) {
    content.reserve(
        static_cast<size_t>(std::min<uint64_t>(static_cast<uint64_t>(info.st_size), max_bytes)));
  }
  char chunk[1 << 16];
  while (true) {
    const ssize_t got = ::read(guard.fd, chunk, sizeof(chunk));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw IoError(path, "cannot read", errno);
    if (got == 0) return content;
    if (content.size() + static_cast<size_t>(got) > max_bytes) {
      throw IoError(path, Str("is larger than the ", max_bytes, " bytes allowed here"));
    }
    content.append(chunk, static_cast<size_t>(got));
  }
}

void CheckWritable(const std::string& path) {
  if (IsDirectory(path)) throw IoError(path, "cannot write", EISDIR);
  const std::string place = FileExists(path) && !IsReplaceable(path) ? path : DirName(path);
  if (::access(place.c_str(), W_OK) != 0) throw IoError(path, "cannot write", errno);
}

void WriteFileAtomically(const std::string& path, std::string_view content) {
  if (FileExists(path) && !IsReplaceable(path)) {
    FileWriter writer(path);
    writer.Write(content);
    writer.Close();
    return;
  }
  std::string target = path;
  std::error_code error;
  if (std::filesystem::is_symlink(path, error)) {
    target = std::filesystem::weakly_canonical(path, error).string();
    if (error) throw IoError(path, "cannot follow the link", error.value());
  }
  const std::string temporary = Str(target, ".tmp.", ::getpid());
  try {
    FileWriter writer(temporary);
    writer.Write(content);
    writer.Close();
    RenameDurably(temporary, target);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
}

void RenameDurably(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) {
    throw IoError(to, Str("cannot rename from ", from), errno);
  }
  SyncDir(DirName(to));
}

FileWriter::FileWriter(const std::string& path, Mode mode)
    : path_(path),
      fd_(OpenOrThrow(path, O_WRONLY | O_CREAT | (mode == Mode::kAppend ? O_APPEND : O_TRUNC),
                      "cannot open for writing")) {}

FileWriter::~FileWriter() {
  if (fd_ >= 0) ::close(fd_);
}

void FileWriter::Write(const void* data, size_t num_bytes) {
  if (buffer_.size() + num_bytes > kWriteBuffer) Flush();
  if (num_bytes >= kWriteBuffer) {
    WriteThrough(static_cast<const char*>(data), num_bytes);
  } else {
    buffer_.append(static_cast<const char*>(data), num_bytes);
  }
}

void FileWriter::Flush() {
  WriteThrough(buffer_.data(), buffer_.size());
  buffer_.clear();
}

void FileWriter::WriteThrough(const char* data, size_t num_bytes) {
  CKV_CHECK(fd_ >= 0, "write to a closed file ", path_);
  while (num_bytes > 0) {
    const ssize_t put = ::write(fd_, data, num_bytes);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) throw IoError(path_, "cannot write", errno);
    data += put;
    num_bytes -= static_cast<size_t>(put);
  }
}

void FileWriter::Close() {
  Flush();
  // Pipes and terminals (`--out /dev/stdout`) cannot be synced.
  if (::fsync(fd_) != 0 && errno != EINVAL && errno != ENOTSUP) {
    throw IoError(path_, "cannot sync", errno);
  }
  const int fd = std::exchange(fd_, -1);
  if (::close(fd) != 0) throw IoError(path_, "cannot close", errno);
}

MappedFile::MappedFile(const std::string& path) {
  FdGuard guard{OpenOrThrow(path, O_RDONLY, "cannot open")};
  struct stat info {};
  if (::fstat(guard.fd, &info) != 0) throw IoError(path, "cannot read", errno);
  if (!S_ISREG(info.st_mode)) throw IoError(path, "is not a regular file");
  size_ = static_cast<size_t>(info.st_size);
  if (size_ == 0) return;
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, guard.fd, 0);
  if (address == MAP_FAILED) throw IoError(path, "cannot map", errno);
  data_ = static_cast<const unsigned char*>(address);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<unsigned char*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

}  // namespace ckv
