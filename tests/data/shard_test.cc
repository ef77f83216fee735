#include "data/shard.h"

#include <functional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/hash.h"
#include "base/random.h"
#include "tests/data/packing.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;

constexpr size_t kHeader = 128;

class ShardTest : public ::testing::Test {
 protected:
  // Three documents of 3, 1 and 4 tokens.
  std::string WriteShard(int64_t vocabulary = 100) {
    const std::string path = dir_.File("s.bin");
    ShardWriter writer(path, {0xABCD, vocabulary});
    const std::vector<int32_t> ids = {1, 2, 3, 4, 5, 6, 7, static_cast<int32_t>(vocabulary - 1)};
    writer.Append(ids.data(), 3, true);
    writer.Append(ids.data() + 3, 1, true);
    writer.Append(ids.data() + 4, 2, true);
    writer.Append(ids.data() + 6, 2, false);
    writer.Finish();
    return path;
  }

  // Opens a shard that `change` was done to; with `rehash` the header's hash is made right again.
  std::string OpenError(const std::function<void(std::string*)>& change, bool rehash = false,
                        bool verify = false) {
    const std::string path = WriteShard();
    std::string content = ReadFile(path);
    change(&content);
    if (rehash) {
      const uint64_t hash = Fnv1a64(std::string_view(content).substr(0, kHeader - 8));
      for (size_t i = 0; i < 8; ++i) content[kHeader - 8 + i] = static_cast<char>(hash >> (8 * i));
    }
    WriteQuickly(path, content);
    std::string error = ErrorOf([&] {
      const ShardReader reader(path);
      if (verify) reader.Verify();
    });
    const size_t at = error.find(path);
    if (at != std::string::npos) error.replace(at, path.size(), "FILE");
    return error;
  }

  TempDir dir_;
};

TEST_F(ShardTest, GivesBackWhatWasWritten) {
  for (const int64_t vocabulary : {100, 65536, 65537, 2000000}) {
    const ShardReader reader(WriteShard(vocabulary));
    EXPECT_EQ(reader.num_tokens(), 8);
    EXPECT_EQ(reader.num_documents(), 3);
    EXPECT_EQ(reader.vocabulary().size, vocabulary);
    EXPECT_EQ(reader.vocabulary().fingerprint, 0xABCDu);
    std::vector<int64_t> ids(6);
    reader.Read(2, 6, ids.data());
    EXPECT_EQ(ids, (std::vector<int64_t>{3, 4, 5, 6, 7, vocabulary - 1}));
    EXPECT_EQ(reader.DocumentStart(0), 0);
    EXPECT_EQ(reader.DocumentStart(1), 3);
    EXPECT_EQ(reader.DocumentStart(2), 4);
    reader.Verify();
  }
}

TEST_F(ShardTest, LeavesNothingBehindUnlessFinished) {
  {
    ShardWriter writer(dir_.File("t.bin"), {1, 10});
    const int32_t id = 3;
    writer.Append(&id, 1, true);
  }
  EXPECT_TRUE(ListDir(dir_.path()).empty());
}

TEST_F(ShardTest, NamesWhatIsWrongWithAFile) {
  EXPECT_EQ(OpenError([](std::string* s) { s->resize(50); }),
            "3: FILE: is 50 bytes long, less than the 128 of a token file's header");
  EXPECT_EQ(OpenError([](std::string* s) { s->resize(0); }),
            "3: FILE: is 0 bytes long, less than the 128 of a token file's header");
  EXPECT_EQ(OpenError([](std::string* s) { s->resize(s->size() - 1); }),
            "3: FILE: is 167 bytes long, but its header says 168 (truncated?)");
  EXPECT_EQ(OpenError([](std::string* s) { s->append("x"); }),
            "3: FILE: is 169 bytes long, but its header says 168 (something was appended?)");
  EXPECT_EQ(OpenError([](std::string* s) { (*s)[0] = 'x'; }),
            "3: FILE: is not a token file ('CKVTOKEN' is not at its start)");
  EXPECT_EQ(OpenError([](std::string* s) { (*s)[8] = 2; }),
            "3: FILE: is a token file of version 2; this program reads version 1");
  EXPECT_EQ(OpenError([](std::string* s) { (*s)[41] = 1; }),
            "3: FILE: the header is damaged (its hash differs)");
  EXPECT_EQ(
      OpenError([](std::string* s) { s->replace(16, 8, std::string("\0\0\0\0\1\2\3\4", 8)); }),
      "3: FILE: has another byte order; token files are little endian");
}

TEST_F(ShardTest, DoesNotTrustAHeaderThatContradictsItself) {
  const std::string fault = "3: FILE: the header contradicts itself (counts and sizes do not fit)";
  for (const size_t field : {24, 40, 48, 56, 64}) {
    for (const char* bytes :
         {"\0\0\0\0\0\0\0\0", "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F",
          "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", "\0\0\0\0\0\0\0\x80", "\x05\0\0\0\0\0\0\x20"}) {
      EXPECT_EQ(OpenError([&](std::string* s) { s->replace(field, 8, std::string(bytes, 8)); },
                          /*rehash=*/true),
                fault)
          << field;
    }
  }
}

TEST_F(ShardTest, ChecksDocumentStarts) {
  const size_t starts = kHeader + 16;
  EXPECT_EQ(OpenError([&](std::string* s) { (*s)[starts + 8] = 8; }),
            "3: FILE: document 1: starts at token 8, after one that starts at 0, in a file of 8 "
            "tokens");
  EXPECT_EQ(OpenError([&](std::string* s) { (*s)[starts + 16] = 3; }),
            "3: FILE: document 2: starts at token 3, after one that starts at 3, in a file of 8 "
            "tokens");
}

TEST_F(ShardTest, FindsDamagedContentWhenVerified) {
  EXPECT_EQ(OpenError([](std::string* s) { (*s)[kHeader] = 9; }), "");
  EXPECT_THAT(OpenError([](std::string* s) { (*s)[kHeader] = 9; }, false, /*verify=*/true),
              HasSubstr("FILE: the content is damaged: its hash is "));
}

TEST_F(ShardTest, RefusesIdsOutsideTheVocabularyWhenRead) {
  const std::string path = WriteShard();
  std::string content = ReadFile(path);
  content[kHeader + 4] = 100;
  WriteQuickly(path, content);
  const ShardReader reader(path);
  std::vector<int64_t> ids(8);
  EXPECT_EQ(ErrorOf([&] { reader.Read(1, 4, ids.data()); }),
            Str("3: ", path, ": token 2: is 100, outside the vocabulary of 100"));
}

// Whatever single byte of the file changes, opening and reading gives an error or tokens in range.
TEST_F(ShardTest, SurvivesAnyChangedByte) {
  const std::string path = WriteShard();
  const std::string good = ReadFile(path);
  Random random(4);
  for (size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ (1 << random.Below(8)));
    WriteQuickly(path, bad);
    const std::string error = ErrorOf([&] {
      const ShardReader reader(path);
      reader.Verify();
    });
    EXPECT_NE(error, "") << at;
  }
}

}  // namespace
}  // namespace ckv
