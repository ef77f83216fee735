#include "data/dataset.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/data/packing.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::ElementsAre;

constexpr VocabularyInfo kVocabulary = {77, 500};

class DatasetTest : public ::testing::Test {
 protected:
  std::string OpenError(const VocabularyInfo& expected = kVocabulary) {
    std::string error = ErrorOf([&] { TokenDataset(folder_, &expected, /*verify=*/true); });
    for (size_t at = 0; (at = error.find(folder_)) != std::string::npos;) {
      error.replace(at, folder_.size(), "DIR");
    }
    return error;
  }
  void ReplaceInIndex(const std::string& from, const std::string& to) {
    const std::string path = JoinPath(folder_, "index.json");
    std::string text = ReadFile(path);
    const size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << text;
    WriteFileAtomically(path, text.replace(at, from.size(), to));
  }

  TempDir dir_;
  std::string folder_ = dir_.File("set");
};

TEST_F(DatasetTest, ReadsAcrossShards) {
  WriteCountingDataset(folder_, {5, 25, 1, 3, 30}, kVocabulary, /*first=*/0, /*shard_tokens=*/10);
  const TokenDataset data(folder_, &kVocabulary, /*verify=*/true);
  EXPECT_EQ(data.num_tokens(), 64);
  EXPECT_EQ(data.counts().documents, 5);
  for (int64_t begin = 0; begin <= 64; ++begin) {
    for (int64_t end = begin; end <= 64; ++end) {
      std::vector<int64_t> ids(static_cast<size_t>(end - begin));
      data.Read(begin, end - begin, ids.data());
      std::vector<int64_t> starts;
      for (int64_t t = begin; t < end; ++t) {
        ASSERT_EQ(ids[static_cast<size_t>(t - begin)], t);
        if (t == 0 || t == 5 || t == 30 || t == 31 || t == 34) starts.push_back(t);
      }
      ASSERT_EQ(data.DocumentStarts(begin, end), starts);
    }
  }
}

TEST_F(DatasetTest, RefusesAnotherTokenizer) {
  WriteCountingDataset(folder_, {30}, kVocabulary);
  EXPECT_EQ(OpenError(), "");
  EXPECT_EQ(OpenError({0, 500}), "");
  EXPECT_EQ(OpenError({77, 501}),
            "3: DIR: was made with a vocabulary of 500, but the tokenizer in use has 501");
  EXPECT_EQ(OpenError({78, 500}),
            "3: DIR: was made with another tokenizer (fingerprint 000000000000004d, in use "
            "000000000000004e)");
}

TEST_F(DatasetTest, RefusesFoldersThatAreNoDataSet) {
  EXPECT_EQ(OpenError(), "4: DIR: does not exist; 'ckv data prepare' makes a token data set");
  MakeDirs(folder_);
  EXPECT_EQ(
      OpenError(),
      "3: DIR: has no index.json: not a token data set, or 'ckv data prepare' did not finish");
  WriteFileAtomically(JoinPath(folder_, "index.json"), "{}");
  EXPECT_EQ(OpenError(), "3: DIR/index.json: is not the index of a token data set");
  WriteFileAtomically(JoinPath(folder_, "index.json"), "[");
  EXPECT_THAT(OpenError(), ::testing::StartsWith("3: DIR/index.json: line 1, column "));
  RemoveAll(folder_);
  WriteFileAtomically(folder_, "text");
  EXPECT_EQ(OpenError(), "3: DIR: is a file, not the folder that 'ckv data prepare' writes");
}

TEST_F(DatasetTest, ComparesShardsWithTheIndex) {
  const auto rewrite = [&] {
    RemoveAll(folder_);
    WriteCountingDataset(folder_, {30, 12}, kVocabulary, 0, /*shard_tokens=*/20);
  };
  rewrite();
  ReplaceInIndex("\"version\": 1", "\"version\": 9");
  EXPECT_EQ(OpenError(), "3: DIR/index.json: is of version 9; this program reads version 1");
  rewrite();
  ReplaceInIndex("\"tokens\": 42", "\"tokens\": 43");
  EXPECT_EQ(OpenError(), "3: DIR/index.json: has 42 tokens in its shards, but index.json lists 43");
  rewrite();
  ReplaceInIndex("\"tokens\": 20", "\"tokens\": 21");
  EXPECT_EQ(OpenError(), "3: DIR/tokens-00000.bin: has 20 tokens, but index.json lists 21");
  rewrite();
  ReplaceInIndex("\"vocab_size\": 500", "\"vocab_size\": \"x\"");
  EXPECT_EQ(OpenError(), "3: DIR/index.json: 'vocab_size' is not a count");
  rewrite();
  ReplaceInIndex("tokens-00001.bin", "../../etc/passwd");
  EXPECT_EQ(OpenError(), "3: DIR/index.json: shard '../../etc/passwd' is not in this folder");
  rewrite();
  RemoveAll(JoinPath(folder_, "tokens-00001.bin"));
  EXPECT_EQ(OpenError(), "3: DIR/tokens-00001.bin: is missing, but index.json lists it");
}

TEST_F(DatasetTest, RefusesShardsOfAnotherDataSet) {
  WriteCountingDataset(dir_.File("other"), {30}, kVocabulary, /*first=*/3);
  WriteCountingDataset(folder_, {30}, kVocabulary);
  WriteFileAtomically(JoinPath(folder_, "tokens-00000.bin"),
                      ReadFile(dir_.File("other/tokens-00000.bin")));
  EXPECT_THAT(OpenError(), ::testing::StartsWith(
                               "3: DIR/tokens-00000.bin: is not the file that index.json lists: "));
}

}  // namespace
}  // namespace ckv
