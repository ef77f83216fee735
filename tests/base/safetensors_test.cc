#include "base/safetensors.h"

#include <cstring>

#include <gtest/gtest.h>

#include "base/random.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

std::string LittleEndian64(uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xff);
  return bytes;
}

// A file with that header text and `data_size` bytes behind it.
std::string FileOf(const std::string& header, size_t data_size) {
  return LittleEndian64(header.size()) + header + std::string(data_size, '\x01');
}

// Parses a copy on the heap of exactly the file's size, so that sanitizers see any over-read.
SafetensorsHeader Parse(const std::string& file) {
  const std::vector<unsigned char> copy(file.begin(), file.end());
  return ParseSafetensorsHeader(copy.data(), copy.size(), "m.safetensors");
}

// What a broken file is refused with, without exit code and path.
std::string Refusal(const std::string& file) {
  const std::string error = ErrorOf([&] { Parse(file); });
  const std::string prefix = "3: m.safetensors: ";
  return error.compare(0, prefix.size(), prefix) == 0 ? error.substr(prefix.size()) : error;
}

std::string HeaderRefusal(const std::string& header, size_t data_size = 0) {
  return Refusal(FileOf(header, data_size));
}

// --- what is accepted ---

TEST(ParseSafetensorsHeader, GivesEntriesInTheOrderOfTheirBytes) {
  const std::string text =
      R"({"b":{"dtype":"F32","shape":[2,1],"data_offsets":[2,10]},)"
      R"("__metadata__":{"format":"pt"},"a":{"dtype":"BF16","shape":[],"data_offsets":[0,2]}})";
  const SafetensorsHeader header = Parse(FileOf(text, 10));
  ASSERT_EQ(header.entries().size(), 2u);
  EXPECT_EQ(header.entries()[0].name, "a");
  EXPECT_EQ(header.entries()[0].dtype, SafetensorsDtype::kBF16);
  EXPECT_TRUE(header.entries()[0].shape.empty());
  EXPECT_EQ(header.entries()[0].begin, 8 + text.size());
  const SafetensorsEntry* b = header.Find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->shape, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(b->begin, 8 + text.size() + 2);
  EXPECT_EQ(b->end, 8 + text.size() + 10);
  EXPECT_EQ(header.Find("c"), nullptr);
  EXPECT_EQ(header.metadata().at("format"), "pt");
}

TEST(ParseSafetensorsHeader, AcceptsNoTensorsAndPaddingWithSpaces) {
  EXPECT_EQ(HeaderRefusal("{}"), "");
  EXPECT_EQ(HeaderRefusal("{}      "), "");
  EXPECT_EQ(HeaderRefusal("{\n \"__metadata__\": {} }   "), "");
}

TEST(ParseSafetensorsHeader, AcceptsEmptyTensorsAnywhere) {
  EXPECT_EQ(HeaderRefusal(R"({"a":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]},)"
                          R"("b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                          R"("c":{"dtype":"I64","shape":[7,0],"data_offsets":[4,4]}})",
                          4),
            "");
}

TEST(ParseSafetensorsHeader, KnowsEveryDtype) {
  for (const char* name : {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "I64", "I32", "I16",
                           "I8", "U64", "U32", "U16", "U8", "BOOL"}) {
    const std::optional<SafetensorsDtype> dtype = FindSafetensorsDtype(name);
    ASSERT_TRUE(dtype.has_value()) << name;
    EXPECT_EQ(SafetensorsDtypeName(*dtype), name);
    const uint64_t size = SafetensorsDtypeSize(*dtype);
    EXPECT_EQ(HeaderRefusal(Str(R"({"a":{"dtype":")", name, R"(","shape":[3],"data_offsets":[0,)",
                                3 * size, "]}}"),
                            3 * size),
              "");
  }
}

// --- each rule violated in turn ---

TEST(ParseSafetensorsHeader, RefusesFilesWithoutALength) {
  EXPECT_EQ(Refusal(""),
            "byte 0: the file has 0 bytes, but a safetensors file begins with 8 bytes of header "
            "length");
  EXPECT_EQ(Refusal("1234567"),
            "byte 0: the file has 7 bytes, but a safetensors file begins with 8 bytes of header "
            "length");
}

TEST(ParseSafetensorsHeader, RefusesHeadersThatAreTooLong) {
  EXPECT_EQ(Refusal(LittleEndian64(100'000'001) + "{}"),
            "byte 0: the header's length is 100000001; at most 100000000 is allowed. Is this a "
            "safetensors file?");
  EXPECT_EQ(Refusal(LittleEndian64(100'000'000) + "{}"),
            "byte 0: the header's length is 100000000, but only 2 bytes follow: the file is cut "
            "short");
}

// 8 + length wraps to a small number in a reader that adds before it compares.
TEST(ParseSafetensorsHeader, RefusesLengthsThatWrap) {
  for (const uint64_t length : {UINT64_MAX, UINT64_MAX - 7, UINT64_MAX - 8, uint64_t{1} << 63}) {
    EXPECT_EQ(Refusal(LittleEndian64(length) + "{}"),
              Str("byte 0: the header's length is ", length,
                  "; at most 100000000 is allowed. Is this a safetensors file?"));
  }
}

TEST(ParseSafetensorsHeader, RefusesHeadersThatDoNotBeginWithABrace) {
  EXPECT_EQ(HeaderRefusal(""), "byte 0: the header's length is 0; expected '{...}'");
  EXPECT_EQ(HeaderRefusal(" {}"), "byte 8: the header begins with 0x20; expected '{'");
  EXPECT_EQ(HeaderRefusal("[]"), "byte 8: the header begins with 0x5b; expected '{'");
  EXPECT_EQ(HeaderRefusal("\xef\xbb\xbf{}"), "byte 8: the header begins with 0xef; expected '{'");
}

TEST(ParseSafetensorsHeader, RefusesPaddingOtherThanSpaces) {
  EXPECT_EQ(HeaderRefusal("{}  \n"),
            "byte 12: the header ends with 0x0a; expected '}', then spaces only");
  EXPECT_EQ(HeaderRefusal(std::string("{}\0\0", 4)),
            "byte 11: the header ends with 0x00; expected '}', then spaces only");
  EXPECT_EQ(HeaderRefusal(std::string("{}\0}", 4)), "byte 10: a zero byte in the header");
  EXPECT_EQ(HeaderRefusal("{}{}").substr(0, 42), "byte 10: the header is not valid JSON: syn");
}

TEST(ParseSafetensorsHeader, RefusesBrokenJson) {
  EXPECT_EQ(HeaderRefusal(R"({"a" 1})").substr(0, 39), "byte 13: the header is not valid JSON: ");
  EXPECT_EQ(HeaderRefusal("{\"\xff\":{}}").substr(0, 39),
            "byte 10: the header is not valid JSON: ");
}

TEST(ParseSafetensorsHeader, RefusesDuplicateKeys) {
  const std::string tensor = R"({"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  EXPECT_EQ(HeaderRefusal(R"({"a":)" + tensor + R"(,"a":)" + tensor + "}", 1),
            "tensor 'a': occurs twice in the header");
  EXPECT_EQ(
      HeaderRefusal(R"({"a":{"dtype":"U8","dtype":"F32","shape":[1],"data_offsets":[0,1]}})", 1),
      "tensor 'a': key 'dtype' occurs twice");
  EXPECT_EQ(HeaderRefusal(R"({"__metadata__":{"k":"1","k":"1"}})"),
            "__metadata__: key 'k' occurs twice");
  EXPECT_EQ(HeaderRefusal(R"({"__metadata__":{},"__metadata__":{}})"),
            "tensor '__metadata__': occurs twice in the header");
}

TEST(ParseSafetensorsHeader, RefusesMetadataThatIsNotText) {
  EXPECT_EQ(HeaderRefusal(R"({"__metadata__":{"step":3}})"),
            "__metadata__: 'step' is the number 3; expected a string");
  EXPECT_EQ(HeaderRefusal(R"({"__metadata__":{"x":{"y":"z"}}})"),
            "__metadata__: 'x' is an object; expected a string");
  EXPECT_EQ(HeaderRefusal(R"({"__metadata__":null})"), "__metadata__: is null; expected an object");
}

TEST(ParseSafetensorsHeader, RefusesTensorsThatAreNotDescribed) {
  EXPECT_EQ(HeaderRefusal(R"({"a":7})"), "tensor 'a': is the number 7; expected an object");
  EXPECT_EQ(HeaderRefusal(R"({"a":[]})"), "tensor 'a': is an array; expected an object");
  EXPECT_EQ(HeaderRefusal(R"({"a":{}})"), "tensor 'a': has no 'dtype'");
  EXPECT_EQ(HeaderRefusal(R"({"a":{"dtype":"U8"}})"), "tensor 'a': has no 'shape'");
  EXPECT_EQ(HeaderRefusal(R"({"a":{"dtype":"U8","shape":[]}})"),
            "tensor 'a': has no 'data_offsets'");
  EXPECT_EQ(HeaderRefusal(R"({"a":{"dtype":"U8","shape":[],"data_offsets":[0,1],"x":1}})", 1),
            "tensor 'a': unknown key 'x'; expected dtype, shape and data_offsets");
}

TEST(ParseSafetensorsHeader, RefusesUnknownDtypes) {
  EXPECT_EQ(HeaderRefusal(R"({"a":{"dtype":"f32","shape":[],"data_offsets":[0,4]}})", 4),
            "tensor 'a': unknown dtype 'f32'; known are F64, F32, F16, BF16, F8_E4M3, F8_E5M2, "
            "I64, I32, I16, I8, U64, U32, U16, U8, BOOL");
  EXPECT_EQ(HeaderRefusal(R"({"a":{"dtype":4,"shape":[],"data_offsets":[0,4]}})", 4),
            "tensor 'a': 'dtype' is the number 4; expected a string");
}

TEST(ParseSafetensorsHeader, RefusesShapesThatAreNotSizes) {
  const auto with_shape = [](const std::string& shape) {
    return HeaderRefusal(R"({"a":{"dtype":"U8","shape":)" + shape + R"(,"data_offsets":[0,1]}})",
                         1);
  };
  EXPECT_EQ(with_shape("[-1]"), "tensor 'a': 'shape' has the number -1; expected integers from 0");
  EXPECT_EQ(with_shape("[1.0]"),
            "tensor 'a': 'shape' has the number 1.0; expected integers from 0");
  EXPECT_EQ(with_shape("[1e0]"),
            "tensor 'a': 'shape' has the number 1e0; expected integers from 0");
  EXPECT_EQ(with_shape("[\"1\"]"),
            "tensor 'a': 'shape' has the string '1'; expected integers from 0");
  EXPECT_EQ(with_shape("[[1]]"), "tensor 'a': 'shape' has an array; expected integers from 0");
  EXPECT_EQ(with_shape("[true]"), "tensor 'a': 'shape' has a bool; expected integers from 0");
  EXPECT_EQ(with_shape("1"), "tensor 'a': 'shape' is the number 1; expected an array");
  EXPECT_EQ(with_shape("[9223372036854775808]"),
            "tensor 'a': 'shape' has the dimension 9223372036854775808, which is too large");
  EXPECT_EQ(with_shape("[99999999999999999999999]"),
            "tensor 'a': 'shape' has the number 99999999999999999999999; expected integers from 0");
}

TEST(ParseSafetensorsHeader, RefusesOffsetsThatAreNotARange) {
  const auto with_offsets = [](const std::string& offsets) {
    return HeaderRefusal(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":)" + offsets + "}}", 1);
  };
  EXPECT_EQ(with_offsets("[]"), "tensor 'a': 'data_offsets' has 0 entries; expected 2");
  EXPECT_EQ(with_offsets("[0]"), "tensor 'a': 'data_offsets' has 1 entries; expected 2");
  EXPECT_EQ(with_offsets("[0,1,1]"), "tensor 'a': 'data_offsets' has more than 2 entries");
  EXPECT_EQ(with_offsets("[1,0]"), "tensor 'a': 'data_offsets' are [1, 0]; the end is first");
  EXPECT_EQ(with_offsets("[-1,0]"),
            "tensor 'a': 'data_offsets' has the number -1; expected two integers from 0");
}

TEST(ParseSafetensorsHeader, RefusesHoles) {
  EXPECT_EQ(HeaderRefusal(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                          R"("b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}})",
                          4),
            "tensor 'b': 'data_offsets' are [3, 4], but the tensors before it end at 1: 2 bytes "
            "belong to no tensor");
  EXPECT_EQ(HeaderRefusal(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", 2),
            "tensor 'a': 'data_offsets' are [1, 2], but the tensors before it end at 0: 1 bytes "
            "belong to no tensor");
}

TEST(ParseSafetensorsHeader, RefusesOverlaps) {
  EXPECT_EQ(HeaderRefusal(R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
                          R"("b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
                          4),
            "tensor 'b': 'data_offsets' are [2, 4], but the tensors before it end at 3: they "
            "overlap by 1 bytes");
  // An empty tensor inside another one overlaps by nothing, yet is not where it should be.
  EXPECT_EQ(HeaderRefusal(R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
                          R"("b":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}})",
                          3),
            "tensor 'b': 'data_offsets' are [1, 1], but the tensors before it end at 3: they "
            "overlap by 0 bytes");
}

TEST(ParseSafetensorsHeader, RefusesTruncatedFilesAndTrailingBytes) {
  const std::string header = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  EXPECT_EQ(HeaderRefusal(header, 7),
            "tensor 'a': 'data_offsets' are [0, 8], but the file has 7 bytes of data: it is cut "
            "short");
  EXPECT_EQ(HeaderRefusal(header, 10), Str("byte ", 8 + header.size() + 8,
                                           ": 2 bytes follow the last tensor; expected the end"));
  EXPECT_EQ(HeaderRefusal("{}", 1), "byte 10: 1 bytes follow the last tensor; expected the end");
}

// --- failures of other C++ readers ---

// Buffer sized from the shape, filled from the offsets; and the reverse, read beyond a short span.
TEST(ParseSafetensorsHeader, RefusesShapesThatDisagreeWithOffsets) {
  EXPECT_EQ(HeaderRefusal(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4096]}})", 4096),
            "tensor 'a': shape [2] of F32 takes 8 bytes, but 'data_offsets' [0, 4096] span 4096");
  EXPECT_EQ(HeaderRefusal(R"({"a":{"dtype":"F32","shape":[1024],"data_offsets":[0,4]}})", 4),
            "tensor 'a': shape [1024] of F32 takes 4096 bytes, but 'data_offsets' [0, 4] span 4");
  EXPECT_EQ(HeaderRefusal(R"({"a":{"dtype":"BF16","shape":[],"data_offsets":[0,0]}})"),
            "tensor 'a': shape [] of BF16 takes 2 bytes, but 'data_offsets' [0, 0] span 0");
}

// Products of dimensions that wrap to the span's size, with and without the dtype's factor.
TEST(ParseSafetensorsHeader, RefusesShapesThatOverflow) {
  const auto with_shape = [](const std::string& shape) {
    return HeaderRefusal(R"({"a":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":[0,0]}})");
  };
  for (const char* shape :
       {"[4294967296, 4294967296]", "[4611686018427387904, 4]", "[4611686018427387904]",
        "[2305843009213693952]", "[9223372036854775807, 9223372036854775807]",
        "[0, 4294967296, 4294967296]", "[4294967296, 4294967296, 0]"}) {
    EXPECT_EQ(with_shape(shape),
              Str("tensor 'a': shape ", shape, " has too many elements to count"));
  }
}

// data_begin + offset wraps around the address space.
TEST(ParseSafetensorsHeader, RefusesOffsetsThatWrap) {
  EXPECT_EQ(HeaderRefusal(R"({"a":{"dtype":"U8","shape":[16],)"
                          R"("data_offsets":[18446744073709551599,18446744073709551615]}})",
                          16),
            "tensor 'a': 'data_offsets' are [18446744073709551599, 18446744073709551615], but the "
            "tensors before it end at 0: 18446744073709551599 bytes belong to no tensor");
  EXPECT_EQ(HeaderRefusal(R"({"a":{"dtype":"U8","shape":[9223372036854775807],)"
                          R"("data_offsets":[0,9223372036854775807]}})",
                          16),
            "tensor 'a': 'data_offsets' are [0, 9223372036854775807], but the file has 16 bytes of "
            "data: it is cut short");
}

// More dimensions than a fixed array holds.
TEST(ParseSafetensorsHeader, BoundsTheRank) {
  std::string shape = "1";
  for (size_t i = 1; i < kSafetensorsMaxRank; ++i) shape += ",1";
  const auto with_shape = [](const std::string& text) {
    return HeaderRefusal(R"({"a":{"dtype":"U8","shape":[)" + text + R"(],"data_offsets":[0,1]}})",
                         1);
  };
  EXPECT_EQ(with_shape(shape), "");
  EXPECT_EQ(with_shape(shape + ",1"), "tensor 'a': 'shape' has more than 16 dimensions");
}

TEST(ParseSafetensorsHeader, DoesNotDivideByEmptyDimensions) {
  EXPECT_EQ(HeaderRefusal(R"({"a":{"dtype":"F64","shape":[0,0,0],"data_offsets":[0,0]}})"), "");
}

TEST(ParseSafetensorsHeader, DoesNotRecurseIntoDeepJson) {
  const std::string arrays(1'000'000, '[');
  EXPECT_EQ(HeaderRefusal(R"({"a":)" + arrays + "}"),
            "tensor 'a': is an array; expected an object");
  std::string objects = "{";
  for (int i = 0; i < 200'000; ++i) objects += R"("a":{)";
  EXPECT_EQ(HeaderRefusal(objects + "}"),
            "tensor 'a': unknown key 'a'; expected dtype, shape and data_offsets");
}

TEST(ParseSafetensorsHeader, KeepsItsMessagesOnOneShortLine) {
  const std::string error = HeaderRefusal(R"({"a\n\u0000b)" + std::string(5000, 'x') + R"(":1})");
  EXPECT_EQ(error.find('\n'), std::string::npos);
  EXPECT_EQ(error.find('\0'), std::string::npos);
  EXPECT_EQ(error.find("tensor 'a\\x0a\\x00bxxx"), 0u) << error;
  EXPECT_LT(error.size(), 250u);
}

// --- writing ---

std::vector<SafetensorsTensor> SomeTensors() {
  return {{"model.embed.weight", SafetensorsDtype::kF32, {3, 2}},
          {"empty", SafetensorsDtype::kF16, {0, 5}},
          {"scale", SafetensorsDtype::kBF16, {}},
          {"na\"me\n", SafetensorsDtype::kU8, {3}}};
}

TEST(SafetensorsWriter, WritesWhatTheParserReads) {
  TempDir dir;
  const std::string path = dir.File("m.safetensors");
  const float numbers[6] = {0, 1, 2, 3, 4, 5};
  SafetensorsWriter writer(path, SomeTensors(), {{"format", "pt"}, {"text", "\"\xc3\xa9\n"}});
  writer.Write("model.embed.weight", numbers, 8);
  writer.Write("model.embed.weight", numbers + 2, 16);
  writer.Write("scale", "ab", 2);
  writer.Write("na\"me\n", "xyz", 3);
  writer.Close();

  const MappedFile file(path);
  const SafetensorsHeader header = ParseSafetensorsHeader(file.data(), file.size(), path);
  EXPECT_EQ(header.metadata(),
            (std::map<std::string, std::string>{{"format", "pt"}, {"text", "\"\xc3\xa9\n"}}));
  for (const SafetensorsTensor& tensor : SomeTensors()) {
    const SafetensorsEntry* entry = header.Find(tensor.name);
    ASSERT_NE(entry, nullptr) << tensor.name;
    EXPECT_EQ(entry->dtype, tensor.dtype);
    EXPECT_EQ(entry->shape, tensor.shape);
  }
  const SafetensorsEntry* first = header.Find("model.embed.weight");
  EXPECT_EQ(first->begin % 8, 0u);
  EXPECT_EQ(std::memcmp(file.data() + first->begin, numbers, sizeof(numbers)), 0);
  EXPECT_EQ(file.data()[header.Find("scale")->begin], 'a');
  EXPECT_EQ(header.Find("na\"me\n")->end, file.size());
}

TEST(SafetensorsWriter, WritesAFileWithoutTensors) {
  TempDir dir;
  SafetensorsWriter(dir.File("m"), {}).Close();
  EXPECT_EQ(ReadFile(dir.File("m")), LittleEndian64(8) + "{}      ");
}

TEST(SafetensorsWriter, ChecksNamesAndSizes) {
  TempDir dir;
  const std::vector<SafetensorsTensor> tensors = {{"a", SafetensorsDtype::kU8, {2}},
                                                  {"b", SafetensorsDtype::kU8, {1}}};
  SafetensorsWriter writer(dir.File("m"), tensors);
  EXPECT_THROW(writer.Write("b", "x", 1), InternalError);
  EXPECT_THROW(writer.Write("a", "xyz", 3), InternalError);
  writer.Write("a", "xy", 2);
  EXPECT_THROW(writer.Write("a", "x", 1), InternalError);
  EXPECT_THROW(writer.Close(), InternalError);
  writer.Write("b", "x", 1);
  writer.Close();
  EXPECT_THROW(SafetensorsWriter(dir.File("n"), {tensors[0], tensors[0]}), InternalError);
  EXPECT_THROW(SafetensorsWriter(dir.File("n"), {{"__metadata__", SafetensorsDtype::kU8, {1}}}),
               InternalError);
}

// --- mutations ---

// Whatever happens to a valid file, it is read or refused; where it is read, every range lies in
// it.
TEST(ParseSafetensorsHeader, SurvivesMutations) {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
      R"("b":{"dtype":"BF16","shape":[],"data_offsets":[24,26]},)"
      R"("c":{"dtype":"U8","shape":[0,9],"data_offsets":[26,26]}}   )";
  const std::string valid = FileOf(header, 26);
  ASSERT_EQ(Refusal(valid), "");
  Random random(7);
  int accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string file = valid;
    const uint64_t edits = 1 + random.Below(3);
    for (uint64_t i = 0; i < edits && !file.empty(); ++i) {
      const size_t at = random.Below(file.size());
      switch (random.Below(5)) {
        case 0:
          file[at] = static_cast<char>(file[at] ^ (1 << random.Below(8)));
          break;
        case 1:
          file[at] = static_cast<char>(random.Below(256));
          break;
        case 2:
          file[at] = "0123456789{}[],:\"-e"[random.Below(19)];
          break;
        case 3:
          file.resize(at);
          break;
        default:
          file.insert(at, file.substr(random.Below(file.size()), 1 + random.Below(8)));
      }
    }
    try {
      for (const SafetensorsEntry& entry : Parse(file).entries()) {
        ASSERT_LE(entry.begin, entry.end);
        ASSERT_LE(entry.end, file.size());
        ASSERT_EQ(entry.size_bytes(), SafetensorsSizeBytes(entry.dtype, entry.shape));
      }
      ++accepted;
    } catch (const FormatError&) {
    }
  }
  EXPECT_GT(accepted, 0);  // bytes of data and of names may change
  EXPECT_LT(accepted, 10'000);
}

}  // namespace
}  // namespace ckv
