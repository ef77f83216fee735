// Texts and token data sets for the tests of data/.
#pragma once

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "base/file.h"
#include "data/dataset.h"

namespace ckv {

// Compressed copies; a build without the library gives "".
std::string Gzipped(const std::string& text);
std::string Zstandard(const std::string& text);

// Without syncing to disk, which thousands of small files have no time for.
inline void WriteQuickly(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

// A data set whose documents have the given lengths; token t of the whole is (first + t) % vocab,
// so a window shows where it was taken.
inline void WriteCountingDataset(const std::string& folder, const std::vector<int64_t>& documents,
                                 const VocabularyInfo& vocabulary, int64_t first = 0,
                                 int64_t shard_tokens = 1000) {
  MakeDirs(folder);
  DatasetWriter writer(folder, vocabulary, shard_tokens);
  int64_t next = first;
  for (const int64_t length : documents) {
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < length; ++i) {
      ids.push_back(static_cast<int32_t>(next++ % vocabulary.size));
    }
    writer.Append(ids, /*starts_document=*/true);
  }
  writer.Finish({});
}

}  // namespace ckv
