#include "data/text_reader.h"

#include <algorithm>
#ifdef CKV_HAVE_ZLIB
#include <zlib.h>
#endif
#ifdef CKV_HAVE_ZSTD
#include <zstd.h>
#endif

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "base/random.h"
#include "tests/data/packing.h"
#include "tests/temp_dir.h"

namespace ckv {

std::string Gzipped(const std::string& text) {
#ifdef CKV_HAVE_ZLIB
  z_stream state = {};
  CKV_CHECK(deflateInit2(&state, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK, "deflate");
  std::string out(deflateBound(&state, text.size()) + 64, '\0');
  state.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  state.avail_in = static_cast<uInt>(text.size());
  state.next_out = reinterpret_cast<Bytef*>(out.data());
  state.avail_out = static_cast<uInt>(out.size());
  CKV_CHECK(deflate(&state, Z_FINISH) == Z_STREAM_END, "deflate");
  out.resize(state.total_out);
  deflateEnd(&state);
  return out;
#else
  return text.substr(0, 0);
#endif
}

std::string Zstandard(const std::string& text) {
#ifdef CKV_HAVE_ZSTD
  std::string out(ZSTD_compressBound(text.size()), '\0');
  const size_t size = ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3);
  CKV_CHECK(!ZSTD_isError(size), "zstd");
  out.resize(size);
  return out;
#else
  return text.substr(0, 0);
#endif
}

namespace {

using ::testing::ElementsAre;
using ::testing::StartsWith;

// Whole documents.
std::vector<std::string> ReadDocuments(const std::vector<std::string>& files,
                                       const TextReaderOptions& options = {}) {
  TextReader reader(options, files);
  std::vector<std::string> documents;
  TextPart part;
  bool open = false;
  while (reader.Next(&part)) {
    EXPECT_EQ(part.first, !open);
    if (part.first) documents.emplace_back();
    documents.back() += part.text;
    open = !part.last;
  }
  EXPECT_FALSE(open);
  EXPECT_EQ(reader.bytes_read(), reader.total_bytes());
  return documents;
}

class TextReaderTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& content) {
    WriteQuickly(dir_.File(name), content);
    return dir_.File(name);
  }
  std::string ReadError(const std::string& name, const std::string& content,
                        const TextReaderOptions& options = {}) {
    const std::string path = Write(name, content);
    std::string error = ErrorOf([&] {
      TextReader reader(options, {path});
      TextPart part;
      while (reader.Next(&part)) {
      }
    });
    const size_t at = error.find(path);
    if (at != std::string::npos) error.replace(at, path.size(), "FILE");
    return error;
  }

  TempDir dir_;
};

TEST_F(TextReaderTest, CutsAtSeparatorLines) {
  const std::string text = "one\ntwo\n<|endoftext|>\n\n<|endoftext|>\nthree <|endoftext|>\nfour";
  EXPECT_THAT(ReadDocuments({Write("a.txt", text)}),
              ElementsAre("one\ntwo", "three <|endoftext|>\nfour"));
  TextReaderOptions options;
  options.document_separator = "two";
  EXPECT_THAT(ReadDocuments({Write("a.txt", "one\ntwo\nthree\n")}, options),
              ElementsAre("one", "three\n"));
  options.document_separator = "";
  EXPECT_THAT(ReadDocuments({Write("a.txt", "one\n\n<|endoftext|>\n")}, options),
              ElementsAre("one\n\n<|endoftext|>\n"));
}

TEST_F(TextReaderTest, CutsAtBlankLinesOrAtEachLine) {
  const std::string text = "\none\ntwo\n\n \t\nthree\n\nfour\n";
  TextReaderOptions options;
  options.documents = "blank_line";
  EXPECT_THAT(ReadDocuments({Write("a.txt", text)}, options),
              ElementsAre("one\ntwo", "three", "four"));
  options.documents = "line";
  EXPECT_THAT(ReadDocuments({Write("a.txt", text)}, options),
              ElementsAre("one", "two", "three", "four"));
}

TEST_F(TextReaderTest, TakesLineEndsMarksAndMissingEndsAsTheyCome) {
  EXPECT_THAT(ReadDocuments({Write("a.txt", "\xEF\xBB\xBFone\r\ntwo\r\n<|endoftext|>\r\nx\ry")}),
              ElementsAre("one\ntwo", "x\ry"));
  const std::string nul("one\0two\0\n\0", 10);
  EXPECT_THAT(ReadDocuments({Write("a.txt", nul)}), ElementsAre(nul));
  EXPECT_THAT(ReadDocuments({Write("a.jsonl", "{\"text\": \"a\\u0000b\"}\n")}),
              ElementsAre(std::string("a\0b", 3)));
  EXPECT_THAT(ReadDocuments({Write("a.txt", "")}), ElementsAre());
  EXPECT_THAT(ReadDocuments({Write("a.txt", "\xEF\xBB\xBF")}), ElementsAre());
  EXPECT_THAT(ReadDocuments({Write("a.txt", "\n \n\n")}), ElementsAre());
  EXPECT_THAT(ReadDocuments({Write("a.txt", "x")}), ElementsAre("x"));
}

TEST_F(TextReaderTest, ReadsJsonLines) {
  const std::string text =
      "{\"text\": \"one\\ntwo\"}\r\n\n{\"id\": 3, \"text\": \"\\u00e9\"}\n{\"text\": \" \"}";
  EXPECT_THAT(ReadDocuments({Write("a.jsonl", text)}), ElementsAre("one\ntwo", "\xC3\xA9"));
  TextReaderOptions options;
  options.text_field = "body";
  options.format = "jsonl";
  EXPECT_THAT(ReadDocuments({Write("a.txt", "{\"body\": \"b\"}")}, options), ElementsAre("b"));
}

// The documents do not depend on how large the parts are.
TEST_F(TextReaderTest, PartsJoinToTheSameDocuments) {
  Random random(5);
  std::string text;
  std::string json;
  for (int document = 0; document < 40; ++document) {
    std::string body;
    for (uint64_t line = random.Below(30); line > 0; --line) {
      body += std::string(random.Below(20), 'a') + "\n";
    }
    text += body + "<|endoftext|>\n";
    std::string escaped;
    for (const char c : body) escaped += c == '\n' ? std::string("\\n") : std::string(1, c);
    json += "{\"text\": \"" + escaped + "\"}\n";
  }
  for (const std::string& path : {Write("a.txt", text), Write("a.jsonl", json)}) {
    const std::vector<std::string> whole = ReadDocuments({path});
    EXPECT_GT(whole.size(), 30u);
    for (const int64_t part_bytes : {1, 7, 64}) {
      TextReaderOptions options;
      options.part_bytes = part_bytes;
      EXPECT_EQ(ReadDocuments({path}, options), whole) << part_bytes;
    }
  }
}

TEST_F(TextReaderTest, PartsEndWithLineEnds) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "some line\n";
  TextReaderOptions options;
  options.part_bytes = 100;
  TextReader reader(options, {Write("a.txt", text)});
  TextPart part;
  int parts = 0;
  while (reader.Next(&part)) {
    ++parts;
    EXPECT_LE(part.text.size(), 110u);
    EXPECT_EQ(part.text.back(), '\n');
  }
  EXPECT_EQ(parts, 100);
}

TEST_F(TextReaderTest, DecompressesByContent) {
  if (Gzipped("x").empty() || Zstandard("x").empty()) GTEST_SKIP() << "built without zlib or zstd";
  std::string text;
  for (int i = 0; i < 200000; ++i)
    text += Str("line ", i, i % 1000 == 0 ? "\n<|endoftext|>\n" : "\n");
  const std::vector<std::string> documents = ReadDocuments({Write("a.txt", text)});
  EXPECT_EQ(documents.size(), 201u);
  const std::string half = text.substr(0, text.size() / 2);
  const std::string rest = text.substr(text.size() / 2);
  const std::string skippable("\x50\x2A\x4D\x18\x03\x00\x00\x00xyz", 11);
  EXPECT_EQ(ReadDocuments({Write("a.gz", Gzipped(text))}), documents);
  EXPECT_EQ(ReadDocuments({Write("a.txt", Gzipped(half) + Gzipped("") + Gzipped(rest))}),
            documents);
  EXPECT_EQ(ReadDocuments({Write("a.zst", Zstandard(text))}), documents);
  EXPECT_EQ(ReadDocuments({Write("a.zst", skippable + Zstandard(half) + Zstandard("") +
                                              Zstandard(rest) + skippable)}),
            documents);
  EXPECT_THAT(ReadDocuments({Write("a.jsonl.zst", Zstandard("{\"text\": \"x\"}\n"))}),
              ElementsAre("x"));
  EXPECT_THAT(ReadDocuments({Write("empty.gz", Gzipped(""))}), ElementsAre());
}

TEST_F(TextReaderTest, SaysWhereCompressionIsBroken) {
  if (Gzipped("x").empty() || Zstandard("x").empty()) GTEST_SKIP() << "built without zlib or zstd";
  std::string text;
  Random random(1);
  for (int i = 0; i < 50000; ++i) text += static_cast<char>('a' + random.Below(20));
  text += "\n";
  const std::string gz = Gzipped(text);
  const std::string zst = Zstandard(text);
  EXPECT_EQ(ReadError("a.gz", gz.substr(0, gz.size() - 3)),
            Str("3: FILE: byte ", gz.size() - 3, ": ends within a gzip member"));
  EXPECT_EQ(ReadError("a.zst", zst.substr(0, 1000)),
            "3: FILE: byte 1000: ends within a zstd frame");
  EXPECT_EQ(ReadError("a.zst", zst + zst.substr(0, 5)),
            Str("3: FILE: byte ", zst.size() + 5, ": ends within a zstd frame"));
  EXPECT_EQ(ReadError("a.gz", gz + "more"),
            Str("3: FILE: byte ", gz.size(),
                ": something that is not gzip follows the last gzip member"));
  std::string broken = gz;
  broken[gz.size() - 6] = static_cast<char>(broken[gz.size() - 6] ^ 1);
  EXPECT_THAT(ReadError("a.gz", broken), StartsWith("3: FILE: byte "));
  EXPECT_THAT(ReadError("a.gz", broken),
              ::testing::HasSubstr("broken gzip data (incorrect data check)"));
  EXPECT_THAT(ReadError("a.zst", zst + "nonsense"), ::testing::HasSubstr("broken zstd data ("));
  EXPECT_EQ(ReadError("a.gz", "text"), "3: FILE: does not start like a gzip file");
  EXPECT_EQ(ReadError("a.zst", ""), "3: FILE: is empty and does not start like a zstd file");
}

// No prefix and no flipped byte of a compressed file may crash or hang.
TEST_F(TextReaderTest, SurvivesDamagedCompression) {
  if (Gzipped("x").empty() || Zstandard("x").empty()) GTEST_SKIP() << "built without zlib or zstd";
  std::string text;
  for (int i = 0; i < 60; ++i) text += Str("line ", i * i, "\n");
  Random random(2);
  for (const std::string& good : {Gzipped(text), Zstandard(text)}) {
    for (size_t cut = 1; cut < good.size(); ++cut) {
      if (cut < 4) continue;  // shorter ones do not show what they are
      EXPECT_NE(ReadError("a.bin", good.substr(0, cut)), "") << cut;
    }
    for (int round = 0; round < 150; ++round) {
      std::string bad = good;
      bad[random.Below(bad.size())] = static_cast<char>(random.Below(256));
      ReadError("a.bin", bad);
    }
  }
}

TEST_F(TextReaderTest, RefusesOrReplacesWhatIsNotUtf8) {
  EXPECT_EQ(ReadError("a.txt", "fine\nbad \xFF here\n"),
            "3: FILE: line 2, byte 5: is not UTF-8 (invalid_utf8: replace puts U+FFFD there)");
  TextReaderOptions options;
  options.invalid_utf8 = "replace";
  EXPECT_THAT(ReadDocuments({Write("a.txt", "bad \xFF here")}, options),
              ElementsAre("bad \xEF\xBF\xBD here"));
  EXPECT_EQ(ReadError("a.txt", std::string("\xFF\xFE"
                                           "a\0b\0",
                                           6)),
            "3: FILE: starts like UTF-16; convert it to UTF-8 first");
}

TEST_F(TextReaderTest, RefusesTooLongLines) {
  TextReaderOptions options;
  options.max_line_bytes = 1000;
  EXPECT_EQ(ReadError("a.txt", "short\n" + std::string(1001, 'x') + "\n", options),
            "3: FILE: line 2: is longer than the 1000 bytes allowed (max_line_bytes)");
  EXPECT_EQ(ReadError("a.txt", std::string(1000, 'x') + "\n", options), "");
}

TEST_F(TextReaderTest, SaysWhatIsWrongWithJsonLines) {
  EXPECT_EQ(ReadError("a.jsonl", "{\"text\": \"a\"}\n{\"text\": \n"),
            "3: FILE: line 2, byte 10: is not valid JSON; each line must be one JSON object");
  EXPECT_EQ(ReadError("a.jsonl", "[1]\n"), "3: FILE: line 1: is a JSON array, not an object");
  EXPECT_EQ(ReadError("a.jsonl", "{\"id\": 1, \"body\": \"x\"}\n"),
            "3: FILE: line 1: has no field 'text' (it has: body, id); text_field names another");
  EXPECT_EQ(ReadError("a.jsonl", "{\"text\": 7}\n"),
            "3: FILE: line 1: field 'text' is a number, not a string");
}

TEST_F(TextReaderTest, ExpandsPatternsInOrder) {
  const std::string b = Write("b.txt", "b");
  const std::string a = Write("a.txt", "a");
  const std::string c = Write("c[1].txt", "c");
  EXPECT_THAT(ExpandInputs({dir_.File("?.txt"), c, a}), ElementsAre(a, b, c, a));
  EXPECT_THAT(ReadDocuments(ExpandInputs({dir_.File("*.txt")})), ElementsAre("a", "b", "c"));
  EXPECT_EQ(ErrorOf([&] { ExpandInputs({dir_.File("*.gz")}); }),
            Str("4: ", dir_.File("*.gz"), ": no file matches the pattern"));
  EXPECT_EQ(ErrorOf([&] { ExpandInputs({dir_.File("none")}); }),
            Str("4: ", dir_.File("none"), ": cannot read: No such file or directory"));
  EXPECT_EQ(ErrorOf([&] { ExpandInputs({dir_.path()}); }),
            Str("2: ", dir_.path(), ": is a folder; name files, or a pattern such as ", dir_.path(),
                "/*.txt"));
}

}  // namespace
}  // namespace ckv
