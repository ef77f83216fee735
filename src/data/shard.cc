#include "data/shard.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/hash.h"

namespace ckv {
namespace {

constexpr char kMagic[] = "CKVTOKEN";
constexpr uint64_t kShardVersion = 1;
constexpr uint64_t kByteOrder = 0x01020304;
constexpr size_t kHeaderBytes = 128;
constexpr size_t kHashAt = kHeaderBytes - 8;
// An id takes at most four bytes and is an int32 in memory.
constexpr uint64_t kMaxVocabulary = uint64_t{1} << 31;

// Places of the header's fields, each of 8 bytes after the magic.
enum HeaderField : size_t {
  kVersionAt = 8,
  kByteOrderAt = 16,
  kTokenBytesAt = 24,
  kFingerprintAt = 32,
  kVocabularyAt = 40,
  kNumTokensAt = 48,
  kNumDocumentsAt = 56,
  kStartsAt = 64,
  kFileBytesAt = 72,
  kContentHashAt = 80,
};

void StoreU64(uint64_t value, unsigned char* out) {
  for (int i = 0; i < 8; ++i) out[i] = static_cast<unsigned char>(value >> (8 * i));
}

uint64_t LoadU64(const unsigned char* in) {
  uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value |= static_cast<uint64_t>(in[i]) << (8 * i);
  return value;
}

uint64_t HashBytes(const void* data, size_t size, uint64_t seed = Fnv1a64("")) {
  return Fnv1a64(std::string_view(static_cast<const char*>(data), size), seed);
}

int TokenBytesFor(int64_t vocabulary) { return vocabulary <= 65536 ? 2 : 4; }

uint64_t RoundUp8(uint64_t value) { return (value + 7) / 8 * 8; }

// Writes the header over the place kept for it, durably.
void PatchHeader(const std::string& path, const std::array<unsigned char, kHeaderBytes>& header) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) throw IoError(path, "cannot open", errno);
  const bool good =
      ::pwrite(fd, header.data(), header.size(), 0) == static_cast<ssize_t>(header.size()) &&
      ::fsync(fd) == 0;
  const int error = errno;
  ::close(fd);
  if (!good) throw IoError(path, "cannot write", error);
}

}  // namespace

ShardWriter::ShardWriter(const std::string& path, const VocabularyInfo& vocabulary)
    : path_(path),
      temporary_(path + ".tmp"),
      vocabulary_(vocabulary),
      file_(std::make_unique<FileWriter>(temporary_)),
      hash_(Fnv1a64("")) {
  CKV_CHECK(vocabulary.size > 0 && static_cast<uint64_t>(vocabulary.size) <= kMaxVocabulary,
            "vocabulary of ", vocabulary.size);
  const std::array<unsigned char, kHeaderBytes> no_header = {};
  file_->Write(no_header.data(), no_header.size());
}

ShardWriter::~ShardWriter() {
  if (file_) ::unlink(temporary_.c_str());
}

void ShardWriter::WriteContent(const void* data, size_t num_bytes) {
  hash_ = HashBytes(data, num_bytes, hash_);
  file_->Write(data, num_bytes);
}

void ShardWriter::Append(const int32_t* ids, size_t num_ids, bool starts_document) {
  CKV_CHECK(num_ids > 0, "no tokens");
  if (starts_document) starts_.push_back(static_cast<uint64_t>(num_tokens_));
  const auto width = static_cast<size_t>(TokenBytesFor(vocabulary_.size));
  encoded_.resize(num_ids * width);
  for (size_t i = 0; i < num_ids; ++i) {
    CKV_CHECK(ids[i] >= 0 && ids[i] < vocabulary_.size, "token id ", ids[i], " in a vocabulary of ",
              vocabulary_.size);
    for (size_t b = 0; b < width; ++b) {
      encoded_[i * width + b] =
          static_cast<unsigned char>(static_cast<uint32_t>(ids[i]) >> (8 * b));
    }
  }
  WriteContent(encoded_.data(), encoded_.size());
  num_tokens_ += static_cast<int64_t>(num_ids);
}

void ShardWriter::Finish() {
  const uint64_t token_bytes =
      static_cast<uint64_t>(num_tokens_) * static_cast<uint64_t>(TokenBytesFor(vocabulary_.size));
  const std::array<unsigned char, 8> padding = {};
  WriteContent(padding.data(), RoundUp8(token_bytes) - token_bytes);
  std::array<unsigned char, 8> start = {};
  for (const uint64_t at : starts_) {
    StoreU64(at, start.data());
    WriteContent(start.data(), start.size());
  }
  file_->Close();

  std::array<unsigned char, kHeaderBytes> header = {};
  std::memcpy(header.data(), kMagic, 8);
  const auto store = [&](HeaderField at, uint64_t value) { StoreU64(value, header.data() + at); };
  const uint64_t starts_at = kHeaderBytes + RoundUp8(token_bytes);
  store(kVersionAt, kShardVersion);
  store(kByteOrderAt, kByteOrder);
  store(kTokenBytesAt, static_cast<uint64_t>(TokenBytesFor(vocabulary_.size)));
  store(kFingerprintAt, vocabulary_.fingerprint);
  store(kVocabularyAt, static_cast<uint64_t>(vocabulary_.size));
  store(kNumTokensAt, static_cast<uint64_t>(num_tokens_));
  store(kNumDocumentsAt, starts_.size());
  store(kStartsAt, starts_at);
  store(kFileBytesAt, starts_at + 8 * starts_.size());
  store(kContentHashAt, hash_);
  StoreU64(HashBytes(header.data(), kHashAt), header.data() + kHashAt);
  PatchHeader(temporary_, header);
  RenameDurably(temporary_, path_);
  file_.reset();
}

ShardReader::ShardReader(const std::string& path) : path_(path), file_(path) {
  ParseHeader();
  CheckDocumentStarts();
}

void ShardReader::ParseHeader() {
  const auto fail = [&](const std::string& what) { throw FormatError(path_, "", what); };
  const unsigned char* data = file_.data();
  const auto field = [&](HeaderField at) { return LoadU64(data + at); };
  if (file_.size() < kHeaderBytes) {
    fail(Str("is ", file_.size(), " bytes long, less than the ", kHeaderBytes,
             " of a token file's header"));
  }
  if (std::memcmp(data, kMagic, 8) != 0)
    fail("is not a token file ('CKVTOKEN' is not at its start)");
  if (field(kByteOrderAt) != kByteOrder) {
    fail("has another byte order; token files are little endian");
  }
  if (field(kVersionAt) != kShardVersion) {
    fail(Str("is a token file of version ", field(kVersionAt), "; this program reads version ",
             kShardVersion));
  }
  if (LoadU64(data + kHashAt) != HashBytes(data, kHashAt))
    fail("the header is damaged (its hash differs)");
  const uint64_t file_bytes = field(kFileBytesAt);
  if (file_.size() != file_bytes) {
    fail(Str("is ", file_.size(), " bytes long, but its header says ", file_bytes,
             file_.size() < file_bytes ? " (truncated?)" : " (something was appended?)"));
  }

  const uint64_t vocabulary = field(kVocabularyAt);
  const uint64_t width = field(kTokenBytesAt);
  const uint64_t tokens = field(kNumTokensAt);
  const uint64_t documents = field(kNumDocumentsAt);
  const uint64_t starts_at = field(kStartsAt);
  // Bounded one by one before they are multiplied, so nothing can overflow.
  const bool bounded = vocabulary > 0 && vocabulary <= kMaxVocabulary &&
                       (width == 2 || width == 4) && tokens <= file_bytes &&
                       documents <= file_bytes;
  if (!bounded || (width == 2 && vocabulary > 65536) ||
      starts_at != kHeaderBytes + RoundUp8(tokens * width) ||
      file_bytes != starts_at + 8 * documents) {
    fail("the header contradicts itself (counts and sizes do not fit)");
  }
  vocabulary_ = {field(kFingerprintAt), static_cast<int64_t>(vocabulary)};
  token_bytes_ = static_cast<int>(width);
  num_tokens_ = static_cast<int64_t>(tokens);
  num_documents_ = static_cast<int64_t>(documents);
  content_hash_ = field(kContentHashAt);
  tokens_ = data + kHeaderBytes;
  starts_ = data + starts_at;
}

void ShardReader::CheckDocumentStarts() const {
  int64_t previous = -1;
  for (int64_t i = 0; i < num_documents_; ++i) {
    const uint64_t start = LoadU64(starts_ + 8 * i);
    if (start >= static_cast<uint64_t>(num_tokens_) || static_cast<int64_t>(start) <= previous) {
      throw FormatError(path_, Str("document ", i),
                        Str("starts at token ", start, ", after one that starts at ", previous,
                            ", in a file of ", num_tokens_, " tokens"));
    }
    previous = static_cast<int64_t>(start);
  }
}

void ShardReader::Read(int64_t begin, int64_t count, int64_t* out) const {
  CKV_CHECK(begin >= 0 && count >= 0 && begin <= num_tokens_ - count, "tokens ", begin, " + ",
            count, " of ", num_tokens_);
  int64_t largest = 0;
  if (token_bytes_ == 2) {
    const unsigned char* in = tokens_ + 2 * begin;
    for (int64_t i = 0; i < count; ++i) out[i] = in[2 * i] | (in[2 * i + 1] << 8);
  } else {
    const unsigned char* in = tokens_ + 4 * begin;
    for (int64_t i = 0; i < count; ++i) {
      out[i] = static_cast<int64_t>(
          static_cast<uint32_t>(in[4 * i]) | static_cast<uint32_t>(in[4 * i + 1]) << 8 |
          static_cast<uint32_t>(in[4 * i + 2]) << 16 | static_cast<uint32_t>(in[4 * i + 3]) << 24);
    }
  }
  for (int64_t i = 0; i < count; ++i) largest = std::max(largest, out[i]);
  if (largest < vocabulary_.size) return;
  const auto bad =
      std::find_if(out, out + count, [&](int64_t id) { return id >= vocabulary_.size; });
  throw FormatError(path_, Str("token ", begin + (bad - out)),
                    Str("is ", *bad, ", outside the vocabulary of ", vocabulary_.size));
}

int64_t ShardReader::DocumentStart(int64_t index) const {
  CKV_CHECK(index >= 0 && index < num_documents_, "document ", index, " of ", num_documents_);
  return static_cast<int64_t>(LoadU64(starts_ + 8 * index));
}

void ShardReader::Verify() const {
  const uint64_t hash = HashBytes(file_.data() + kHeaderBytes, file_.size() - kHeaderBytes);
  if (hash != content_hash_) {
    throw FormatError(path_, "",
                      Str("the content is damaged: its hash is ", HashHex(hash),
                          ", but the header says ", HashHex(content_hash_)));
  }
  std::vector<int64_t> ids(1 << 16);
  for (int64_t begin = 0; begin < num_tokens_; begin += static_cast<int64_t>(ids.size())) {
    Read(begin, std::min<int64_t>(static_cast<int64_t>(ids.size()), num_tokens_ - begin),
         ids.data());
  }
}

}  // namespace ckv
