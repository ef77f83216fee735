// Files: whole reads, memory maps, and writes that are complete or not there at all.
//
// Everything that a later run relies on is written under a temporary name beside its place, synced,
// renamed and made durable by syncing the folder, so that a crash or a full disk leaves the old
// content. All functions throw IoError with errno's text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ckv {

bool FileExists(const std::string& path);
bool IsDirectory(const std::string& path);
uint64_t FileSize(const std::string& path);

// Creates `path` and the folders above it.
void MakeDirs(const std::string& path);

// Names (not paths) of the entries of a folder, sorted.
std::vector<std::string> ListDir(const std::string& path);

// Removes a file or a folder with all it holds; no error if it is not there.
void RemoveAll(const std::string& path);

// Makes the entries of a folder durable.
void SyncDir(const std::string& path);

// The folder of a path ("." for a bare name), and `name` put into a folder (or kept if absolute).
std::string DirName(const std::string& path);
std::string BaseName(const std::string& path);
std::string JoinPath(const std::string& folder, const std::string& name);

// The whole content. Throws IoError also if it is larger than `max_bytes`.
std::string ReadFile(const std::string& path, uint64_t max_bytes = uint64_t{1} << 31);

// Throws IoError if WriteFileAtomically could not write there: no such folder, a folder, no right
// to.
void CheckWritable(const std::string& path);

// Replaces the content of `path`, or of what it is a link to, at once; the old content stays if
// anything fails. Pipes and devices are written to.
void WriteFileAtomically(const std::string& path, std::string_view content);

// Renames and makes it durable in the folder of `to`.
void RenameDurably(const std::string& from, const std::string& to);

// A file open for writing. Close() syncs to disk; a writer destroyed without Close() has failed,
// and who created the file removes it.
class FileWriter {
 public:
  enum class Mode { kTruncate, kAppend };
  explicit FileWriter(const std::string& path, Mode mode = Mode::kTruncate);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void Write(const void* data, size_t num_bytes);
  void Write(std::string_view text) { Write(text.data(), text.size()); }
  void Flush();  // hands the buffered bytes to the system, without syncing
  void Close();

 private:
  void WriteThrough(const char* data, size_t num_bytes);

  std::string path_;
  int fd_ = -1;
  std::string buffer_;
};

// A read-only memory map of a whole file; an empty file maps to size 0.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  const unsigned char* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  const unsigned char* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace ckv
