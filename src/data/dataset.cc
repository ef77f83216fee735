#include "data/dataset.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"

namespace ckv {
namespace {

constexpr char kIndexName[] = "index.json";
constexpr char kFormatName[] = "ckv-tokens";
constexpr int64_t kIndexVersion = 1;

// Typed access to the index, with messages that name the key.
class IndexReader {
 public:
  IndexReader(std::string path, const Json& json) : path_(std::move(path)), json_(json) {}

  int64_t Count(const Json& object, const char* key) const {
    const Json& value = Get(object, key);
    const bool good = value.is_number_unsigned() && value.get<uint64_t>() <= uint64_t{INT64_MAX};
    if (!good) throw FormatError(path_, "", Str("'", key, "' is not a count"));
    return value.get<int64_t>();
  }

  std::string Text(const Json& object, const char* key) const {
    const Json& value = Get(object, key);
    if (!value.is_string()) throw FormatError(path_, "", Str("'", key, "' is not a string"));
    return value.get<std::string>();
  }

  const Json& Get(const Json& object, const char* key) const {
    if (!object.is_object() || !object.contains(key)) {
      throw FormatError(path_, "", Str("has no '", key, "'"));
    }
    return object[key];
  }

  const Json& json() const { return json_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  const Json& json_;
};

void CheckIndexKind(const IndexReader& index) {
  const bool ours = index.json().is_object() && index.json().contains("format") &&
                    index.json()["format"] == kFormatName;
  if (!ours) throw FormatError(index.path(), "", "is not the index of a token data set");
  const int64_t version = index.Count(index.json(), "version");
  if (version != kIndexVersion) {
    throw FormatError(
        index.path(), "",
        Str("is of version ", version, "; this program reads version ", kIndexVersion));
  }
}

void CheckSame(const std::string& path, const char* what, int64_t found, int64_t listed) {
  if (found == listed) return;
  throw FormatError(path, "", Str("has ", found, " ", what, ", but index.json lists ", listed));
}

void CheckVocabulary(const std::string& where, const VocabularyInfo& found,
                     const VocabularyInfo& expected) {
  if (found.size != expected.size) {
    throw FormatError(where, "",
                      Str("was made with a vocabulary of ", found.size,
                          ", but the tokenizer in use has ", expected.size));
  }
  if (expected.fingerprint != 0 && found.fingerprint != expected.fingerprint) {
    throw FormatError(
        where, "",
        Str("was made with another tokenizer (fingerprint ", HashHex(found.fingerprint),
            ", in use ", HashHex(expected.fingerprint), ")"));
  }
}

}  // namespace

DatasetWriter::DatasetWriter(const std::string& folder, const VocabularyInfo& vocabulary,
                             int64_t shard_tokens)
    : folder_(folder), vocabulary_(vocabulary), shard_tokens_(shard_tokens) {
  CKV_CHECK(shard_tokens > 0, "shards of ", shard_tokens, " tokens");
}

void DatasetWriter::Append(const std::vector<int32_t>& ids, bool starts_document) {
  size_t at = 0;
  while (at < ids.size()) {
    if (!shard_) {
      char name[32];
      std::snprintf(name, sizeof(name), "tokens-%05zu.bin", shards_.size());
      shards_.push_back({name, 0, 0, 0});
      shard_ = std::make_unique<ShardWriter>(JoinPath(folder_, name), vocabulary_);
    }
    const auto room = static_cast<size_t>(shard_tokens_ - shard_->num_tokens());
    const size_t taken = std::min(room, ids.size() - at);
    shard_->Append(ids.data() + at, taken, starts_document && at == 0);
    at += taken;
    if (shard_->num_tokens() == shard_tokens_) FinishShard();
  }
}

void DatasetWriter::FinishShard() {
  shard_->Finish();
  ShardEntry& entry = shards_.back();
  entry.tokens = shard_->num_tokens();
  entry.documents = shard_->num_documents();
  entry.hash = shard_->content_hash();
  shard_.reset();
}

DatasetCounts DatasetWriter::Finish(const Description& description) {
  if (shard_) FinishShard();
  DatasetCounts counts = description.counts;
  counts.tokens = 0;
  counts.documents = 0;
  OrderedJson shards = OrderedJson::array();
  for (const ShardEntry& entry : shards_) {
    shards.push_back({{"file", entry.file},
                      {"tokens", entry.tokens},
                      {"documents", entry.documents},
                      {"hash", HashHex(entry.hash)}});
    counts.tokens += entry.tokens;
    counts.documents += entry.documents;
  }
  const OrderedJson index = {{"format", kFormatName},
                             {"version", kIndexVersion},
                             {"tokenizer", description.tokenizer_kind},
                             {"fingerprint", HashHex(vocabulary_.fingerprint)},
                             {"vocab_size", vocabulary_.size},
                             {"bos", description.bos},
                             {"eos", description.eos},
                             {"documents", counts.documents},
                             {"bytes", counts.bytes},
                             {"words", counts.words},
                             {"tokens", counts.tokens},
                             {"shards", shards}};
  WriteFileAtomically(JoinPath(folder_, kIndexName), index.dump(1) + "\n");
  return counts;
}

TokenDataset::TokenDataset(const std::string& folder, const VocabularyInfo* expected, bool verify)
    : folder_(folder) {
  if (!FileExists(folder)) {
    throw IoError(folder, "does not exist; 'ckv data prepare' makes a token data set");
  }
  if (!IsDirectory(folder)) {
    throw FormatError(folder, "", "is a file, not the folder that 'ckv data prepare' writes");
  }
  if (!IsDataset(folder)) {
    throw FormatError(folder, "",
                      "has no index.json: not a token data set, or 'ckv data prepare' did not "
                      "finish");
  }
  const Json json = ReadJsonFile(JoinPath(folder, kIndexName));
  const IndexReader index(JoinPath(folder, kIndexName), json);
  CheckIndexKind(index);
  counts_ = {index.Count(json, "documents"), index.Count(json, "bytes"), index.Count(json, "words"),
             index.Count(json, "tokens")};
  vocabulary_.size = index.Count(json, "vocab_size");
  const Json& shards = index.Get(json, "shards");
  if (!shards.is_array()) throw FormatError(index.path(), "", "'shards' is not a list");

  int64_t documents = 0;
  begins_.push_back(0);
  hash_ = Fnv1a64("");
  for (const Json& entry : shards) {
    const std::string name = index.Text(entry, "file");
    if (name.find('/') != std::string::npos) {
      throw FormatError(index.path(), "", Str("shard '", name, "' is not in this folder"));
    }
    const std::string path = JoinPath(folder, name);
    if (!FileExists(path)) throw FormatError(path, "", "is missing, but index.json lists it");
    const ShardReader& shard = shards_.emplace_back(path);
    CheckSame(path, "tokens", shard.num_tokens(), index.Count(entry, "tokens"));
    CheckSame(path, "documents", shard.num_documents(), index.Count(entry, "documents"));
    if (HashHex(shard.content_hash()) != index.Text(entry, "hash")) {
      throw FormatError(
          path, "",
          Str("is not the file that index.json lists: its hash is ", HashHex(shard.content_hash()),
              ", listed is ", index.Text(entry, "hash")));
    }
    CheckSame(path, "ids in its vocabulary", shard.vocabulary().size, vocabulary_.size);
    vocabulary_.fingerprint = shard.vocabulary().fingerprint;
    if (HashHex(vocabulary_.fingerprint) != index.Text(json, "fingerprint")) {
      throw FormatError(path, "", "was made with another tokenizer than index.json says");
    }
    if (verify) shard.Verify();
    hash_ = Fnv1a64(HashHex(shard.content_hash()), hash_);
    documents += shard.num_documents();
    begins_.push_back(begins_.back() + shard.num_tokens());
  }
  CheckSame(index.path(), "tokens in its shards", begins_.back(), counts_.tokens);
  CheckSame(index.path(), "documents in its shards", documents, counts_.documents);
  if (expected != nullptr) CheckVocabulary(folder, vocabulary_, *expected);
}

size_t TokenDataset::ShardOf(int64_t token) const {
  const auto after = std::upper_bound(begins_.begin(), begins_.end(), token);
  return static_cast<size_t>(after - begins_.begin()) - 1;
}

void TokenDataset::Read(int64_t begin, int64_t count, int64_t* out) const {
  CKV_CHECK(begin >= 0 && count >= 0 && begin <= num_tokens() - count, "tokens ", begin, " + ",
            count, " of ", num_tokens());
  while (count > 0) {
    const size_t shard = ShardOf(begin);
    const int64_t taken = std::min(count, begins_[shard + 1] - begin);
    shards_[shard].Read(begin - begins_[shard], taken, out);
    begin += taken;
    count -= taken;
    out += taken;
  }
}

std::vector<int64_t> TokenDataset::DocumentStarts(int64_t begin, int64_t end) const {
  std::vector<int64_t> starts;
  for (size_t s = begin < end ? ShardOf(begin) : shards_.size(); s < shards_.size(); ++s) {
    if (begins_[s] >= end) break;
    const ShardReader& shard = shards_[s];
    // The first document that starts at or after `begin`, by bisection.
    int64_t low = 0;
    int64_t high = shard.num_documents();
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      if (begins_[s] + shard.DocumentStart(middle) < begin) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    for (; low < shard.num_documents(); ++low) {
      const int64_t start = begins_[s] + shard.DocumentStart(low);
      if (start >= end) break;
      starts.push_back(start);
    }
  }
  return starts;
}

bool IsDataset(const std::string& folder) { return FileExists(JoinPath(folder, kIndexName)); }

}  // namespace ckv
