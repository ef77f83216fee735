// The safetensors file format: a strict parser of its header and a streaming writer.
//
// A file is 8 bytes of header length (little endian), the header in JSON, and the tensors' bytes.
// The parser trusts nothing: a header that it accepts names every byte of the file exactly once,
// and each tensor's shape, dtype and byte range agree, so what follows may copy ranges without
// further checks. Offsets need not be aligned to the dtype: copy bytes, do not cast pointers.
//
// Source: the format's description and reference implementation (huggingface/safetensors). Stricter
// than it: rank at most kSafetensorsMaxRank, unknown keys of a tensor refused, padding is spaces
// only, and a shape must not overflow even where another dimension is 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"

namespace ckv {

inline constexpr uint64_t kSafetensorsMaxHeader = 100'000'000;
inline constexpr size_t kSafetensorsMaxRank = 16;

enum class SafetensorsDtype {
  kF64,
  kF32,
  kF16,
  kBF16,
  kF8E4M3,
  kF8E5M2,
  kI64,
  kI32,
  kI16,
  kI8,
  kU64,
  kU32,
  kU16,
  kU8,
  kBool,
};

// "F32", "BF16", "F8_E4M3", ... as in the file; nullopt for a name that is not in the list.
std::string_view SafetensorsDtypeName(SafetensorsDtype dtype);
std::optional<SafetensorsDtype> FindSafetensorsDtype(std::string_view name);
uint64_t SafetensorsDtypeSize(SafetensorsDtype dtype);  // bytes of one element

struct SafetensorsEntry {
  std::string name;
  SafetensorsDtype dtype = SafetensorsDtype::kF32;
  std::vector<int64_t> shape;  // empty: one number
  uint64_t begin = 0;          // first byte, counted from the start of the file
  uint64_t end = 0;            // one past the last

  uint64_t size_bytes() const { return end - begin; }
};

class SafetensorsHeader {
 public:
  SafetensorsHeader() = default;
  SafetensorsHeader(std::vector<SafetensorsEntry> entries,
                    std::map<std::string, std::string> metadata);

  // In the order of their bytes.
  const std::vector<SafetensorsEntry>& entries() const& { return entries_; }
  std::vector<SafetensorsEntry> entries() && { return std::move(entries_); }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const SafetensorsEntry* Find(std::string_view name) const;  // nullptr: not there

 private:
  std::vector<SafetensorsEntry> entries_;
  std::map<std::string, std::string> metadata_;
  std::map<std::string, size_t, std::less<>> index_;
};

// Parses the header of a whole file of `file_size` bytes at `data`; `path` is for messages.
// Throws FormatError(path, "byte N" or "tensor 'name'", found and expected) for any fault.
SafetensorsHeader ParseSafetensorsHeader(const unsigned char* data, size_t file_size,
                                         const std::string& path);

// What a writer needs to know of a tensor before its bytes come.
struct SafetensorsTensor {
  std::string name;
  SafetensorsDtype dtype = SafetensorsDtype::kF32;
  std::vector<int64_t> shape;
};

// Bytes of a tensor of that dtype and shape. Requires no negative dimension and no overflow.
uint64_t SafetensorsSizeBytes(SafetensorsDtype dtype, const std::vector<int64_t>& shape);

// Writes a file whose tensors arrive one after the other. The data begins at a multiple of 8 bytes;
// tensors follow in the order given without gaps, so list wide dtypes first where alignment counts.
// Wrong names, orders and sizes are bugs of the caller (InternalError). A writer destroyed without
// Close() leaves a broken file, which the caller removes.
class SafetensorsWriter {
 public:
  SafetensorsWriter(const std::string& path, const std::vector<SafetensorsTensor>& tensors,
                    const std::map<std::string, std::string>& metadata = {});

  // The next bytes of tensor `name`: all of them, or part after part. Empty tensors may be skipped.
  void Write(const std::string& name, const void* data, size_t num_bytes);

  // Requires that every tensor is complete; syncs to disk.
  void Close();

 private:
  struct Pending {
    std::string name;
    uint64_t left;
  };

  FileWriter file_;
  std::vector<Pending> pending_;
  size_t next_ = 0;
};

}  // namespace ckv
