// A folder of token shards as one long sequence of tokens.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/shard.h"

namespace ckv {

// What `index.json` says about the text behind the tokens.
struct DatasetCounts {
  int64_t documents = 0;
  int64_t bytes = 0;  // of text, without separators
  int64_t words = 0;  // runs of anything but white space
  int64_t tokens = 0;
};

// Writes a data set into an existing folder: shards one after another, then index.json.
class DatasetWriter {
 public:
  DatasetWriter(const std::string& folder, const VocabularyInfo& vocabulary, int64_t shard_tokens);

  // Appends tokens; `starts_document`: the first of them starts a document.
  void Append(const std::vector<int32_t>& ids, bool starts_document);

  // Completes the last shard and writes index.json. `counts.tokens` and `documents` are filled in.
  // `tokenizer_kind` and whether documents begin with <s> and end with </s> are kept for people.
  struct Description {
    DatasetCounts counts;
    std::string tokenizer_kind;
    bool bos = false;
    bool eos = false;
  };
  DatasetCounts Finish(const Description& description);

 private:
  struct ShardEntry {
    std::string file;
    int64_t tokens;
    int64_t documents;
    uint64_t hash;
  };
  void FinishShard();

  std::string folder_;
  VocabularyInfo vocabulary_;
  int64_t shard_tokens_;
  std::unique_ptr<ShardWriter> shard_;
  std::vector<ShardEntry> shards_;
};

class TokenDataset {
 public:
  // Opens a folder. Throws IoError if it is not there and FormatError if it has no index.json, if a
  // shard is missing, foreign or damaged, or, with `expected`, if it was made with another
  // tokenizer. `verify` reads all of it.
  TokenDataset(const std::string& folder, const VocabularyInfo* expected, bool verify);

  const std::string& folder() const { return folder_; }
  const VocabularyInfo& vocabulary() const { return vocabulary_; }
  const DatasetCounts& counts() const { return counts_; }
  int64_t num_tokens() const { return counts_.tokens; }
  uint64_t hash() const { return hash_; }  // of all shards' content

  // Tokens [begin, begin + count).
  void Read(int64_t begin, int64_t count, int64_t* out) const;
  // Positions in [begin, end) at which a document starts, rising.
  std::vector<int64_t> DocumentStarts(int64_t begin, int64_t end) const;

 private:
  size_t ShardOf(int64_t token) const;

  std::string folder_;
  VocabularyInfo vocabulary_;
  DatasetCounts counts_;
  uint64_t hash_ = 0;
  std::vector<ShardReader> shards_;
  std::vector<int64_t> begins_;  // first token of each shard, and the end
};

// Whether a folder holds a complete data set.
bool IsDataset(const std::string& folder);

}  // namespace ckv
