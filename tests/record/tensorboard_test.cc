#include "record/tensorboard.h"

#include <cstdio>
#include <map>

#include <gtest/gtest.h>

#include "record/metrics.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

// Vectors of RFC 3720, appendix B.4, and the usual check value.
TEST(Crc32c, AgreesWithKnownVectors) {
  EXPECT_EQ(Crc32c(""), 0u);
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  std::string ascending;
  for (int i = 0; i < 32; ++i) ascending += static_cast<char>(i);
  EXPECT_EQ(Crc32c(ascending), 0x46dd794eu);
}

TEST(MaskCrc32c, RotatesAndAdds) {
  EXPECT_EQ(MaskCrc32c(0), 0xa282ead8u);
  EXPECT_EQ(MaskCrc32c(0xe3069283u), 0xc78ab0e5u);
}

// The checksums are those that TensorBoard's own code gives for these bytes.
TEST(FrameTfRecord, PutsLengthAndChecksumsAround) {
  const std::string frame = FrameTfRecord("abc");
  ASSERT_EQ(frame.size(), 8u + 4 + 3 + 4);
  EXPECT_EQ(frame.substr(0, 8), std::string("\3\0\0\0\0\0\0\0", 8));
  EXPECT_EQ(frame.substr(12, 3), "abc");
  const auto word = [&](size_t at) {
    uint32_t value = 0;
    for (size_t i = 0; i < 4; ++i)
      value |= uint32_t{static_cast<unsigned char>(frame[at + i])} << (8 * i);
    return value;
  };
  EXPECT_EQ(word(8), 0x0e4999b0u);
  EXPECT_EQ(word(15), 0x21f1576eu);
}

// The records of a file, frames removed.
std::vector<std::string> Records(const std::string& path) {
  const std::string text = ReadFile(path);
  std::vector<std::string> records;
  for (size_t at = 0; at < text.size();) {
    size_t length = 0;
    for (size_t i = 0; i < 8; ++i)
      length |= size_t{static_cast<unsigned char>(text[at + i])} << (8 * i);
    records.push_back(text.substr(at + 12, length));
    EXPECT_EQ(text.substr(at, length + 16), FrameTfRecord(records.back()));
    at += length + 16;
  }
  return records;
}

TEST(EventFileWriter, EncodesEventsByteByByte) {
  TempDir dir;
  EventFileWriter writer(dir.path(), 5);
  writer.AddScalars(300, {{"loss", 2.5}, {"lr", -1.0}}, 2.0);
  writer.Close();
  const std::vector<std::string> records = Records(writer.path());
  ASSERT_EQ(records.size(), 3u);
  // wall_time (field 1, double), then file_version (field 3).
  EXPECT_EQ(records[0].size(), 9u + 15);
  EXPECT_EQ(records[0][0], '\x09');
  EXPECT_EQ(records[0].substr(9),
            "\x1a\x0d"
            "brain.Event:2");
  // step 5 (field 2), session_log (field 7) with status START.
  EXPECT_EQ(records[1].substr(9), "\x10\x05\x3a\x02\x08\x01");
  // wall_time 2.0, step 300, summary (field 5) of two values {tag, simple_value}.
  using namespace std::string_literals;  // the zero bytes belong to the text
  EXPECT_EQ(records[2],
            "\x09\0\0\0\0\0\0\0\x40\x10\xac\x02\x2a\x18"s
            "\x0a\x0b\x0a\x04loss\x15\0\0\x20\x40"s
            "\x0a\x09\x0a\x02lr\x15\0\0\x80\xbf"s);
}

// TensorBoard reads files by name, and forgets points of those it has read before.
TEST(EventFileWriter, NamesEachFileAfterTheOnesThatAreThere) {
  TempDir dir;
  const std::string ahead = dir.File("events.out.tfevents.9999999990.elsewhere.1");
  EventFileWriter one(dir.path());
  EventFileWriter two(dir.path());
  EXPECT_LT(one.path(), two.path());
  WriteFileAtomically(ahead, "");
  EXPECT_LT(ahead, EventFileWriter(dir.path()).path());
}

#ifdef CKV_TENSORBOARD_PYTHON
std::string Output(const std::string& command) {
  FILE* pipe = ::popen(command.c_str(), "r");
  CKV_CHECK(pipe != nullptr, "cannot run ", command);
  std::string text;
  char chunk[4096];
  for (size_t got = 0; (got = std::fread(chunk, 1, sizeof(chunk), pipe)) > 0;)
    text.append(chunk, got);
  EXPECT_EQ(::pclose(pipe), 0) << command;
  return text;
}
#endif

// A run that is resumed before its end: TensorBoard must show each step once, the later value.
TEST(EventFileWriter, IsReadByTensorBoard) {
#ifndef CKV_TENSORBOARD_PYTHON
  GTEST_SKIP() << "no Python with the package tensorboard: configure with "
                  "-DCKV_TENSORBOARD_PYTHON=/path/to/python3";
#else
  TempDir dir;
  for (const int64_t resume_step : {0, 2}) {
    MetricSink sink(dir.path(), resume_step);
    for (int64_t step = resume_step + 1; step <= resume_step + 4; ++step) {
      MetricRow row(step);
      row.Set("loss", 0.5 * static_cast<double>(step) + (resume_step > 0 ? 100 : 0));
      if (step == 3) row.Set("valid_loss", 1e30);
      sink.Write(row);
    }
  }
  EXPECT_EQ(Output(Str(CKV_TENSORBOARD_PYTHON " " CKV_SOURCE_DIR "/tests/record/read_events.py ",
                       dir.File("tensorboard"), " 2>/dev/null")),
            "loss 1 0.5\nloss 2 1.0\nloss 3 101.5\nloss 4 102.0\nloss 5 102.5\nloss 6 103.0\n"
            "valid_loss 3 1.0000000150474662e+30\n");
#endif
}

}  // namespace
}  // namespace ckv
