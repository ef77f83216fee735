// `ckv data prepare`: text files to a data set of token shards, on all cores.
//
// One thread reads, several encode, one writes, with bounded queues between them: memory depends
// neither on the size of the input nor on that of a document. The output depends on the input and
// the options alone, not on the number of threads. It is written beside its place and renamed when
// it is complete.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/text_reader.h"
#include "text/tokenizer.h"

namespace ckv {

struct PrepareOptions {
  std::vector<std::string> inputs;  // files and patterns
  std::string out;                  // the data set's folder
  TextReaderOptions reader;
  int64_t shard_tokens = int64_t{1} << 24;
  int64_t threads = 0;       // 0: as many as cores
  bool bos = false;          // <s> in front of each document
  bool eos = true;           // </s> behind each document
  double valid_percent = 0;  // documents that go, by their hash, to the data set out/valid
  uint64_t seed = 0;         // which ones
  bool overwrite = false;    // replaces a data set; never another folder
};

struct PrepareReport {
  DatasetCounts train;
  DatasetCounts valid;
  double seconds = 0;
};

// Writes the data set, with the tokenizer's file in it. Throws ConfigError (options, the folder is
// there already), IoError, and FormatError (broken input; an empty corpus).
PrepareReport PrepareTokens(const PrepareOptions& options, const Tokenizer& tokenizer);

// A line or two for people: counts, bytes a token, bytes a second.
std::string Describe(const PrepareReport& report);

}  // namespace ckv
