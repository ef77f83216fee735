#include "data/prepare.h"

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/random.h"
#include "data/train_tokenizer.h"
#include "tests/data/packing.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class PrepareTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& content) {
    WriteFileAtomically(dir_.File(name), content);
    return dir_.File(name);
  }
  PrepareOptions Options(const std::string& input) {
    PrepareOptions options;
    options.inputs = {input};
    options.out = dir_.File("out");
    return options;
  }
  std::string PrepareError(const PrepareOptions& options) {
    return ErrorOf([&] { PrepareTokens(options, *tokenizer_); });
  }

  TempDir dir_;
  std::unique_ptr<Tokenizer> tokenizer_ = LoadTokenizer("byte");
};

// All files of a folder and of those in it.
std::map<std::string, std::string> FolderContent(const std::string& folder) {
  std::map<std::string, std::string> content;
  for (const std::string& name : ListDir(folder)) {
    const std::string path = JoinPath(folder, name);
    if (IsDirectory(path)) {
      for (const auto& [inner, text] : FolderContent(path)) content[name + "/" + inner] = text;
    } else {
      content[name] = ReadFile(path);
    }
  }
  return content;
}

std::vector<std::string> DecodedDocuments(const std::string& folder, const Tokenizer& tokenizer) {
  const TokenDataset data(folder, nullptr, /*verify=*/true);
  std::vector<int64_t> starts = data.DocumentStarts(0, data.num_tokens());
  starts.push_back(data.num_tokens());
  std::vector<std::string> documents;
  for (size_t i = 0; i + 1 < starts.size(); ++i) {
    std::vector<int64_t> ids(static_cast<size_t>(starts[i + 1] - starts[i]));
    data.Read(starts[i], starts[i + 1] - starts[i], ids.data());
    documents.push_back(tokenizer.Decode(std::vector<int32_t>(ids.begin(), ids.end())));
  }
  return documents;
}

std::string ManyDocuments(int count) {
  Random random(3);
  const std::vector<std::string> words = {"the", "house", "tree", "goes", "\xC3\xA9t\xC3\xA9",
                                          "12"};
  std::string text;
  for (int i = 0; i < count; ++i) {
    for (uint64_t line = 1 + random.Below(6); line > 0; --line) {
      for (uint64_t word = 1 + random.Below(12); word > 0; --word) {
        text += words[random.Below(words.size())] + " ";
      }
      text += "\n";
    }
    text += Str("number ", i, "\n<|endoftext|>\n");
  }
  return text;
}

TEST_F(PrepareTest, CountsAndKeepsDocuments) {
  PrepareOptions options = Options(Write("a.txt", "one two\nthree\n<|endoftext|>\n\xC3\xA9!\n"));
  options.bos = true;
  const PrepareReport report = PrepareTokens(options, *tokenizer_);
  EXPECT_EQ(report.train.documents, 2);
  EXPECT_EQ(report.train.words, 4);
  EXPECT_EQ(report.train.bytes, 13 + 4);
  EXPECT_EQ(report.train.tokens, 13 + 4 + 4);
  EXPECT_EQ(report.valid.documents, 0);
  EXPECT_THAT(DecodedDocuments(options.out, *tokenizer_),
              ElementsAre("one two\nthree", "\xC3\xA9!\n"));
  const TokenDataset data(options.out, nullptr, true);
  EXPECT_EQ(data.counts().words, 4);
  std::vector<int64_t> ids(16);
  data.Read(0, 16, ids.data());
  EXPECT_EQ(ids.front(), 256);
  EXPECT_EQ(ids[14], 257);
  EXPECT_EQ(ids[15], 256);
  EXPECT_EQ(LoadTokenizer(options.out)->Fingerprint(), tokenizer_->Fingerprint());
  EXPECT_THAT(Describe(report),
              HasSubstr("train: 2 documents, 4 words, 17 bytes, 21 tokens, 0.810"));
}

TEST_F(PrepareTest, DoesNotDependOnThreads) {
  PrepareOptions options = Options(Write("a.txt", ManyDocuments(6000)));
  options.inputs.push_back(Write("b.jsonl", "{\"text\": \"last\\none\"}\n"));
  options.shard_tokens = 100000;
  options.valid_percent = 10;
  std::map<std::string, std::string> expected;
  for (const int64_t threads : {1, 2, 7}) {
    options.threads = threads;
    options.overwrite = threads != 1;
    PrepareTokens(options, *tokenizer_);
    const std::map<std::string, std::string> content = FolderContent(options.out);
    EXPECT_GT(content.size(), 8u);
    if (expected.empty()) expected = content;
    EXPECT_EQ(content, expected) << threads;
  }
  EXPECT_EQ(ListDir(dir_.path()), (std::vector<std::string>{"a.txt", "b.jsonl", "out"}));
}

TEST_F(PrepareTest, PartsOfADocumentGiveTheTokensOfTheWhole) {
  TrainTokenizerOptions training;
  training.inputs = {Write("a.txt", ManyDocuments(2000))};
  training.reader.document_separator = "";
  training.sentencepiece.vocab_size = 289;
  TrainTokenizer(training, dir_.File("m.model"));
  const std::unique_ptr<Tokenizer> sentencepiece = LoadTokenizer(dir_.File("m.model"));
  PrepareOptions options = Options(dir_.File("a.txt"));
  std::map<std::string, std::string> expected;
  for (const int64_t part_bytes : {1 << 26, 3000, 1}) {
    options.reader.part_bytes = part_bytes;
    options.overwrite = !expected.empty();
    PrepareTokens(options, *sentencepiece);
    const std::map<std::string, std::string> content = FolderContent(options.out);
    if (expected.empty()) expected = content;
    EXPECT_EQ(content, expected) << part_bytes;
  }
}

TEST_F(PrepareTest, SplitsByDocument) {
  PrepareOptions options = Options(Write("a.txt", ManyDocuments(4000)));
  PrepareTokens(options, *tokenizer_);
  const std::vector<std::string> all = DecodedDocuments(options.out, *tokenizer_);
  options.overwrite = true;
  options.valid_percent = 10;
  const PrepareReport report = PrepareTokens(options, *tokenizer_);
  // 400 expected, standard deviation 19.
  EXPECT_NEAR(static_cast<double>(report.valid.documents), 400, 80);
  const std::vector<std::string> train = DecodedDocuments(options.out, *tokenizer_);
  const std::vector<std::string> valid = DecodedDocuments(options.out + "/valid", *tokenizer_);
  std::multiset<std::string> joined(train.begin(), train.end());
  joined.insert(valid.begin(), valid.end());
  EXPECT_EQ(joined, std::multiset<std::string>(all.begin(), all.end()));
  options.seed = 1;
  PrepareTokens(options, *tokenizer_);
  EXPECT_NE(DecodedDocuments(options.out + "/valid", *tokenizer_), valid);
}

TEST_F(PrepareTest, RefusesToOverwriteOrToMixWithOtherThings) {
  PrepareOptions options = Options(Write("a.txt", "text"));
  PrepareTokens(options, *tokenizer_);
  EXPECT_EQ(PrepareError(options),
            Str("2: ", options.out, ": holds a token data set already; --overwrite replaces it"));
  options.overwrite = true;
  EXPECT_EQ(PrepareError(options), "");
  options.out = dir_.path();
  EXPECT_EQ(PrepareError(options),
            Str("2: ", dir_.path(), ": is a folder with other things in it; name a new one"));
  options.out = dir_.File("a.txt");
  EXPECT_EQ(PrepareError(options), Str("2: ", options.out, ": is a file, not a folder"));
}

TEST_F(PrepareTest, LeavesNothingBehindAfterAnError) {
  PrepareOptions options = Options(Write("a.txt", ManyDocuments(20000) + "\xFF"));
  options.threads = 3;
  EXPECT_THAT(PrepareError(options), HasSubstr("is not UTF-8"));
  EXPECT_EQ(ListDir(dir_.path()), (std::vector<std::string>{"a.txt"}));
  // An old data set stays.
  options.inputs = {Write("b.txt", "fine")};
  PrepareTokens(options, *tokenizer_);
  options.inputs = {dir_.File("a.txt")};
  options.overwrite = true;
  EXPECT_THAT(PrepareError(options), HasSubstr("is not UTF-8"));
  EXPECT_THAT(DecodedDocuments(options.out, *tokenizer_), ElementsAre("fine"));
}

TEST_F(PrepareTest, RefusesAnEmptyCorpus) {
  const std::string empty = Write("a.txt", "");
  EXPECT_EQ(PrepareError(Options(empty)), Str("3: ", empty, ": has no text"));
  PrepareOptions options = Options(empty);
  options.inputs.push_back(Write("b.txt", " \n<|endoftext|>\n\n"));
  EXPECT_EQ(PrepareError(options), Str("3: ", empty, ": has no text, nor do the other 1 files"));
  EXPECT_EQ(PrepareError(PrepareOptions()), "2: data prepare: no input files are named");
  EXPECT_FALSE(FileExists(options.out));
}

TEST_F(PrepareTest, RefusesASplitThatLeavesNothing) {
  PrepareOptions options = Options(Write("a.txt", "one document"));
  options.valid_percent = 0.001;
  EXPECT_EQ(PrepareError(options),
            "2: valid_percent: 0.001 of 1 document leaves none for validation; take another share, "
            "or set what separates documents");
  options.valid_percent = 100;
  EXPECT_EQ(PrepareError(options), "2: valid_percent: 100, but must be from 0 to below 100");
}

TEST_F(PrepareTest, TrainsCharacterVocabularies) {
  TrainTokenizerOptions training;
  training.inputs = {Write("a.txt", "abba\ncab\n")};
  training.kind = "char";
  EXPECT_EQ(TrainTokenizer(training, dir_.File("v")), 3 + 4);
  const std::unique_ptr<Tokenizer> tokenizer = LoadTokenizer(dir_.File("v"));
  EXPECT_EQ(tokenizer->IdToPiece(3), "a");
  EXPECT_STREQ(tokenizer->kind(), "char");
  training.inputs = {Write("b.txt", "")};
  EXPECT_EQ(ErrorOf([&] { TrainTokenizer(training, dir_.File("v")); }),
            "3: tokenizer training: the texts are empty");
}

}  // namespace
}  // namespace ckv
