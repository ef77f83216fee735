// The bytes of a file as a stream, decompressed on the way.
//
// What a file is, its first bytes say: gzip (several members may follow each other), Zstandard
// (several frames, skippable ones too), or anything else, which is taken as it is. A name that ends
// in .gz or .zst promises that kind.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace ckv {

class ByteStream {
 public:
  virtual ~ByteStream() = default;

  // Fills at most `size` bytes, at least one; 0 at the end. Throws IoError, and FormatError if the
  // file is broken or ends within a member or frame.
  virtual size_t Read(char* out, size_t size) = 0;

  // How many bytes of the file itself were taken, for progress.
  virtual uint64_t file_bytes() const = 0;
};

std::unique_ptr<ByteStream> OpenByteStream(const std::string& path);

}  // namespace ckv
