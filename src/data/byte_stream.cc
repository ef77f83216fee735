#include "data/byte_stream.h"

#include <fcntl.h>
#include <unistd.h>
#ifdef CKV_HAVE_ZLIB
#include <zlib.h>
#endif
#ifdef CKV_HAVE_ZSTD
#include <zstd.h>
#endif

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace ckv {
namespace {

constexpr size_t kInputBytes = size_t{1} << 17;

// The file's own bytes, of which the first few can be looked at beforehand.
class PlainStream : public ByteStream {
 public:
  explicit PlainStream(const std::string& path)
      : path_(path), fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ < 0) throw IoError(path_, "cannot open", errno);
  }
  ~PlainStream() override { ::close(fd_); }
  PlainStream(const PlainStream&) = delete;
  PlainStream& operator=(const PlainStream&) = delete;

  std::string_view Peek(size_t size) {
    while (head_.size() < size) {
      char byte = 0;
      if (ReadFile(&byte, 1) == 0) break;
      head_.push_back(byte);
    }
    return head_;
  }

  size_t Read(char* out, size_t size) override {
    if (!head_.empty()) {
      const size_t given = std::min(size, head_.size());
      std::memcpy(out, head_.data(), given);
      head_.erase(0, given);
      return given;
    }
    return ReadFile(out, size);
  }

  uint64_t file_bytes() const override { return file_bytes_; }

 private:
  size_t ReadFile(char* out, size_t size) {
    while (true) {
      const ssize_t got = ::read(fd_, out, size);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw IoError(path_, "cannot read", errno);
      file_bytes_ += static_cast<uint64_t>(got);
      return static_cast<size_t>(got);
    }
  }

  std::string path_;
  int fd_;
  std::string head_;
  uint64_t file_bytes_ = 0;
};

#ifdef CKV_HAVE_ZLIB
class GzipStream : public ByteStream {
 public:
  GzipStream(const std::string& path, std::unique_ptr<PlainStream> file)
      : path_(path), file_(std::move(file)), input_(kInputBytes) {
    constexpr int kGzipOnly = 15 + 16;  // window bits, and no other wrapping than gzip's
    CKV_CHECK(inflateInit2(&state_, kGzipOnly) == Z_OK, "zlib does not start");
  }
  ~GzipStream() override { inflateEnd(&state_); }
  GzipStream(const GzipStream&) = delete;
  GzipStream& operator=(const GzipStream&) = delete;

  size_t Read(char* out, size_t size) override {
    state_.next_out = reinterpret_cast<Bytef*>(out);
    state_.avail_out = static_cast<uInt>(std::min<size_t>(size, 1U << 30));
    const size_t wanted = state_.avail_out;
    while (state_.avail_out == wanted) {
      if (state_.avail_in == 0 && !Refill()) {
        if (within_member_) throw FormatError(path_, Where(), "ends within a gzip member");
        return 0;
      }
      if (!within_member_) StartMember();
      const int result = inflate(&state_, Z_NO_FLUSH);
      if (result == Z_STREAM_END) {
        within_member_ = false;
      } else if (result != Z_OK && result != Z_BUF_ERROR) {
        throw FormatError(
            path_, Where(),
            Str("broken gzip data (", state_.msg ? state_.msg : "no reason given", ")"));
      }
    }
    return wanted - state_.avail_out;
  }

  uint64_t file_bytes() const override { return file_->file_bytes(); }

 private:
  bool Refill() {
    const size_t got = file_->Read(input_.data(), input_.size());
    state_.next_in = reinterpret_cast<Bytef*>(input_.data());
    state_.avail_in = static_cast<uInt>(got);
    return got > 0;
  }

  void StartMember() {
    if (state_.next_in[0] != 0x1F) {
      throw FormatError(path_, Where(), "something that is not gzip follows the last gzip member");
    }
    CKV_CHECK(inflateReset(&state_) == Z_OK, "zlib does not start again");
    within_member_ = true;
  }

  std::string Where() const { return Str("byte ", file_->file_bytes() - state_.avail_in); }

  std::string path_;
  std::unique_ptr<PlainStream> file_;
  std::vector<char> input_;
  z_stream state_ = {};
  bool within_member_ = false;
};
#endif

#ifdef CKV_HAVE_ZSTD
class ZstdStream : public ByteStream {
 public:
  ZstdStream(const std::string& path, std::unique_ptr<PlainStream> file)
      : path_(path),
        file_(std::move(file)),
        buffer_(kInputBytes),
        context_(ZSTD_createDStream(), ZSTD_freeDStream) {
    CKV_CHECK(context_ != nullptr, "zstd does not start");
  }

  size_t Read(char* out, size_t size) override {
    ZSTD_outBuffer output = {out, size, 0};
    while (output.pos == 0) {
      // The decoder may still hold output when all input is taken.
      if (input_.pos == input_.size && !output_pending_ && !Refill()) {
        if (within_frame_) throw FormatError(path_, Where(), "ends within a zstd frame");
        return 0;
      }
      const size_t result = ZSTD_decompressStream(context_.get(), &output, &input_);
      if (ZSTD_isError(result)) {
        throw FormatError(path_, Where(),
                          Str("broken zstd data (", ZSTD_getErrorName(result), ")"));
      }
      within_frame_ = result != 0;
      output_pending_ = within_frame_ && output.pos == output.size;
    }
    return output.pos;
  }

  uint64_t file_bytes() const override { return file_->file_bytes(); }

 private:
  bool Refill() {
    const size_t got = file_->Read(buffer_.data(), buffer_.size());
    input_ = {buffer_.data(), got, 0};
    return got > 0;
  }

  std::string Where() const {
    return Str("byte ", file_->file_bytes() - (input_.size - input_.pos));
  }

  std::string path_;
  std::unique_ptr<PlainStream> file_;
  std::vector<char> buffer_;
  std::unique_ptr<ZSTD_DStream, size_t (*)(ZSTD_DStream*)> context_;
  ZSTD_inBuffer input_ = {nullptr, 0, 0};
  bool within_frame_ = false;
  bool output_pending_ = false;
};
#endif

bool StartsLikeGzip(std::string_view head) { return head.substr(0, 2) == "\x1F\x8B"; }

bool StartsLikeZstd(std::string_view head) {
  if (head.size() < 4) return false;
  const bool frame = head.substr(0, 4) == "\x28\xB5\x2F\xFD";
  const bool skippable =
      (static_cast<unsigned char>(head[0]) & 0xF0) == 0x50 && head.substr(1, 3) == "\x2A\x4D\x18";
  return frame || skippable;
}

bool StreamNameEndsIn(const std::string& path, std::string_view suffix) {
  return path.size() >= suffix.size() &&
         path.compare(path.size() - suffix.size(), suffix.size(), suffix) == 0;
}

}  // namespace

std::unique_ptr<ByteStream> OpenByteStream(const std::string& path) {
  auto file = std::make_unique<PlainStream>(path);
  const std::string_view head = file->Peek(4);
  if (StartsLikeGzip(head)) {
#ifdef CKV_HAVE_ZLIB
    return std::make_unique<GzipStream>(path, std::move(file));
#else
    throw FormatError(path, "", "is gzip, but this build has no zlib (install zlib1g-dev)");
#endif
  }
  if (StartsLikeZstd(head)) {
#ifdef CKV_HAVE_ZSTD
    return std::make_unique<ZstdStream>(path, std::move(file));
#else
    throw FormatError(path, "", "is zstd, but this build has no libzstd (install libzstd-dev)");
#endif
  }
  const char* empty = head.empty() ? "is empty and " : "";
  if (StreamNameEndsIn(path, ".gz")) {
    throw FormatError(path, "", Str(empty, "does not start like a gzip file"));
  }
  if (StreamNameEndsIn(path, ".zst")) {
    throw FormatError(path, "", Str(empty, "does not start like a zstd file"));
  }
  return file;
}

}  // namespace ckv
