// Token files: what `ckv data prepare` writes and training maps into memory.
//
// A data set is a folder: shard files and `index.json`, which is written last and lists them with
// counts and hashes, so that a folder without it is not a data set. A shard file is
//
//   header (128 bytes): magic, version, byte order, bytes a token, tokenizer fingerprint,
//   vocabulary
//                       size, counts, places, hash of the rest, hash of the header
//   token ids           u16 if the vocabulary fits, else u32
//   document starts     u64 each, counted in tokens of this shard, rising; the first tokens of a
//                       shard may belong to a document that began in the one before
//
// all little endian. Everything is checked before it is used: header and document starts on
// opening, ids as they are read, the content's hash on request. Errors are FormatErrors that name
// the file.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"

namespace ckv {

// What must agree between model, tokenizer and token files. With fingerprint 0 only the vocabulary
// size is compared.
struct VocabularyInfo {
  uint64_t fingerprint = 0;
  int64_t size = 0;
};

// Writes one shard under a temporary name; Finish() completes and renames it.
class ShardWriter {
 public:
  ShardWriter(const std::string& path, const VocabularyInfo& vocabulary);
  ~ShardWriter();  // removes the temporary file unless finished
  ShardWriter(const ShardWriter&) = delete;
  ShardWriter& operator=(const ShardWriter&) = delete;

  // Appends tokens. `starts_document`: the first of them starts a document. Requires num_ids > 0
  // and ids within the vocabulary.
  void Append(const int32_t* ids, size_t num_ids, bool starts_document);
  void Finish();

  int64_t num_tokens() const { return num_tokens_; }
  int64_t num_documents() const { return static_cast<int64_t>(starts_.size()); }
  uint64_t content_hash() const { return hash_; }  // after Finish()

 private:
  void WriteContent(const void* data, size_t num_bytes);

  std::string path_;
  std::string temporary_;
  VocabularyInfo vocabulary_;
  std::unique_ptr<FileWriter> file_;
  std::vector<uint64_t> starts_;
  std::vector<unsigned char> encoded_;
  int64_t num_tokens_ = 0;
  uint64_t hash_ = 0;
};

// One shard, mapped.
class ShardReader {
 public:
  explicit ShardReader(const std::string& path);

  const std::string& path() const { return path_; }
  const VocabularyInfo& vocabulary() const { return vocabulary_; }
  int64_t num_tokens() const { return num_tokens_; }
  int64_t num_documents() const { return num_documents_; }
  uint64_t content_hash() const { return content_hash_; }

  // Reads tokens [begin, begin + count). Throws for an id outside the vocabulary.
  void Read(int64_t begin, int64_t count, int64_t* out) const;
  // Where document `index` starts.
  int64_t DocumentStart(int64_t index) const;
  // Reads all: hash and ids. Throws if either is wrong.
  void Verify() const;

 private:
  void ParseHeader();
  void CheckDocumentStarts() const;

  std::string path_;
  MappedFile file_;
  VocabularyInfo vocabulary_;
  int token_bytes_ = 0;
  int64_t num_tokens_ = 0;
  int64_t num_documents_ = 0;
  uint64_t content_hash_ = 0;
  const unsigned char* tokens_ = nullptr;
  const unsigned char* starts_ = nullptr;
};

}  // namespace ckv
