#include "base/safetensors.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <limits>
#include <set>
#include <tuple>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"

namespace ckv {
namespace {

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kDataAlignment = 8;
constexpr char kMetadataKey[] = "__metadata__";

struct DtypeRow {
  SafetensorsDtype dtype;
  const char* name;
  uint64_t size_bytes;
};

constexpr std::array<DtypeRow, 15> kDtypes = {{
    {SafetensorsDtype::kF64, "F64", 8},
    {SafetensorsDtype::kF32, "F32", 4},
    {SafetensorsDtype::kF16, "F16", 2},
    {SafetensorsDtype::kBF16, "BF16", 2},
    {SafetensorsDtype::kF8E4M3, "F8_E4M3", 1},
    {SafetensorsDtype::kF8E5M2, "F8_E5M2", 1},
    {SafetensorsDtype::kI64, "I64", 8},
    {SafetensorsDtype::kI32, "I32", 4},
    {SafetensorsDtype::kI16, "I16", 2},
    {SafetensorsDtype::kI8, "I8", 1},
    {SafetensorsDtype::kU64, "U64", 8},
    {SafetensorsDtype::kU32, "U32", 4},
    {SafetensorsDtype::kU16, "U16", 2},
    {SafetensorsDtype::kU8, "U8", 1},
    {SafetensorsDtype::kBool, "BOOL", 1},
}};

const DtypeRow& RowOf(SafetensorsDtype dtype) {
  for (const DtypeRow& row : kDtypes) {
    if (row.dtype == dtype) return row;
  }
  throw InternalError("a safetensors dtype without a row in the table");
}

std::string HexByte(unsigned char byte) {
  char text[8];
  std::snprintf(text, sizeof(text), "0x%02x", static_cast<unsigned>(byte));
  return text;
}

// A name from the file, fit for a message of one line.
std::string Shown(std::string_view name) {
  constexpr size_t kMaxShown = 120;
  std::string shown;
  for (const char c : name.substr(0, kMaxShown)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      shown += "\\" + HexByte(byte).substr(1);
    } else {
      shown += c;
    }
  }
  return name.size() > kMaxShown ? shown + "..." : shown;
}

std::string TensorPlace(std::string_view name) { return Str("tensor '", Shown(name), "'"); }

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

// Nothing if a dimension is negative, or if the product of the dimensions, zeros counted as ones,
// does not fit: strides are such products, so a zero further right must not excuse them.
std::optional<uint64_t> CheckedSizeBytes(SafetensorsDtype dtype,
                                         const std::vector<int64_t>& shape) {
  constexpr uint64_t kMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  uint64_t size = SafetensorsDtypeSize(dtype);
  bool empty = false;
  for (const int64_t dim : shape) {
    if (dim < 0) return std::nullopt;
    empty = empty || dim == 0;
    const uint64_t factor = static_cast<uint64_t>(std::max<int64_t>(dim, 1));
    if (size > kMax / factor) return std::nullopt;
    size *= factor;
  }
  return empty ? 0 : size;
}

// Receives the header's JSON piece by piece and accepts nothing but the format's three levels, so
// neither depth nor size of foreign JSON matters.
class HeaderReader : public nlohmann::json_sax<Json> {
 public:
  explicit HeaderReader(const std::string& path) : path_(path) {}

  std::vector<SafetensorsEntry> TakeEntries() { return std::move(entries_); }
  std::map<std::string, std::string> TakeMetadata() { return std::move(metadata_); }

  bool null() override { return Value("null"); }
  bool boolean(bool) override { return Value("a bool"); }
  bool number_integer(number_integer_t value) override { return Value(Str("the number ", value)); }
  bool number_float(number_float_t, const string_t& text) override {
    return Value(Str("the number ", Shown(text)));
  }
  bool binary(binary_t&) override { return Value("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ != Place::kShape && place_ != Place::kOffsets) {
      return Value(Str("the number ", value));
    }
    if (place_ == Place::kOffsets) {
      if (offsets_.size() == 2) Fail("'data_offsets' has more than 2 entries");
      offsets_.push_back(value);
      return true;
    }
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      Fail(Str("'shape' has the dimension ", value, ", which is too large"));
    }
    if (entry_.shape.size() == kSafetensorsMaxRank) {
      Fail(Str("'shape' has more than ", kSafetensorsMaxRank, " dimensions"));
    }
    entry_.shape.push_back(static_cast<int64_t>(value));
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == Place::kMetadata) {
      metadata_[key_] = value;
      return true;
    }
    if (place_ != Place::kTensor || key_ != "dtype") {
      return Value(Str("the string '", Shown(value), "'"));
    }
    const std::optional<SafetensorsDtype> dtype = FindSafetensorsDtype(value);
    if (!dtype) {
      std::string known;
      for (const DtypeRow& row : kDtypes) known += Str(known.empty() ? "" : ", ", row.name);
      Fail(Str("unknown dtype '", Shown(value), "'; known are ", known));
    }
    entry_.dtype = *dtype;
    return true;
  }

  bool start_object(size_t) override {
    if (place_ == Place::kStart) {
      place_ = Place::kTop;
    } else if (place_ == Place::kTop && key_ == kMetadataKey) {
      place_ = Place::kMetadata;
    } else if (place_ == Place::kTop) {
      place_ = Place::kTensor;
      entry_ = SafetensorsEntry();
      entry_.name = key_;
      offsets_.clear();
      tensor_keys_.clear();
    } else {
      return Value("an object");
    }
    return true;
  }

  bool key(string_t& name) override {
    key_ = name;
    if (place_ == Place::kTop) {
      if (!names_.insert(name).second) {
        throw FormatError(path_, TensorPlace(name), "occurs twice in the header");
      }
    } else if (place_ == Place::kMetadata) {
      if (metadata_.count(name) != 0) {
        throw FormatError(path_, kMetadataKey, Str("key '", Shown(name), "' occurs twice"));
      }
    } else {
      if (name != "dtype" && name != "shape" && name != "data_offsets") {
        Fail(Str("unknown key '", Shown(name), "'; expected dtype, shape and data_offsets"));
      }
      if (!tensor_keys_.insert(name).second) Fail(Str("key '", name, "' occurs twice"));
    }
    return true;
  }

  bool end_object() override {
    if (place_ == Place::kTensor) FinishTensor();
    place_ = place_ == Place::kTop ? Place::kStart : Place::kTop;
    return true;
  }

  bool start_array(size_t) override {
    if (place_ == Place::kTensor && key_ == "shape") {
      place_ = Place::kShape;
    } else if (place_ == Place::kTensor && key_ == "data_offsets") {
      place_ = Place::kOffsets;
    } else {
      return Value("an array");
    }
    return true;
  }

  bool end_array() override {
    place_ = Place::kTensor;
    return true;
  }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    // The library counts the bytes it has read; its text starts with "[...] parse error at ...: ".
    const std::string what = error.what();
    const size_t colon = what.find(": ");
    throw FormatError(path_, Str("byte ", kLengthBytes + (position > 0 ? position - 1 : 0)),
                      Str("the header is not valid JSON: ",
                          Shown(colon == std::string::npos ? what : what.substr(colon + 2))));
  }

 private:
  enum class Place { kStart, kTop, kMetadata, kTensor, kShape, kOffsets };

  [[noreturn]] void Fail(const std::string& what) const {
    throw FormatError(path_, TensorPlace(entry_.name), what);
  }

  // Reports a value that may not stand here.
  [[noreturn]] bool Value(const std::string& found) const {
    switch (place_) {
      case Place::kMetadata:
        throw FormatError(path_, kMetadataKey,
                          Str("'", Shown(key_), "' is ", found, "; expected a string"));
      case Place::kTensor:
        Fail(Str("'", key_, "' is ", found, "; expected ",
                 key_ == "dtype" ? "a string" : "an array"));
      case Place::kShape:
        Fail(Str("'shape' has ", found, "; expected integers from 0"));
      case Place::kOffsets:
        Fail(Str("'data_offsets' has ", found, "; expected two integers from 0"));
      case Place::kTop:
        throw FormatError(path_, key_ == kMetadataKey ? kMetadataKey : TensorPlace(key_),
                          Str("is ", found, "; expected an object"));
      case Place::kStart:
        break;
    }
    throw FormatError(path_, "byte 8", Str("the header is ", found, "; expected an object"));
  }

  void FinishTensor() {
    for (const char* needed : {"dtype", "shape", "data_offsets"}) {
      if (tensor_keys_.count(needed) == 0) Fail(Str("has no '", needed, "'"));
    }
    if (offsets_.size() != 2) {
      Fail(Str("'data_offsets' has ", offsets_.size(), " entries; expected 2"));
    }
    entry_.begin = offsets_[0];
    entry_.end = offsets_[1];
    if (entry_.begin > entry_.end) {
      Fail(Str("'data_offsets' are [", entry_.begin, ", ", entry_.end, "]; the end is first"));
    }
    const std::optional<uint64_t> size = CheckedSizeBytes(entry_.dtype, entry_.shape);
    if (!size) Fail(Str("shape ", ShapeText(entry_.shape), " has too many elements to count"));
    if (*size != entry_.size_bytes()) {
      Fail(Str("shape ", ShapeText(entry_.shape), " of ", SafetensorsDtypeName(entry_.dtype),
               " takes ", *size, " bytes, but 'data_offsets' [", entry_.begin, ", ", entry_.end,
               "] span ", entry_.size_bytes()));
    }
    entries_.push_back(std::move(entry_));
  }

  const std::string& path_;
  Place place_ = Place::kStart;
  std::string key_;
  SafetensorsEntry entry_;
  std::vector<uint64_t> offsets_;
  std::set<std::string> tensor_keys_;
  std::set<std::string> names_;
  std::vector<SafetensorsEntry> entries_;
  std::map<std::string, std::string> metadata_;
};

// The header's text, without the padding behind it.
std::string_view HeaderText(const unsigned char* data, size_t file_size, const std::string& path) {
  if (file_size < kLengthBytes) {
    throw FormatError(path, "byte 0",
                      Str("the file has ", file_size,
                          " bytes, but a safetensors file begins with 8 bytes of header length"));
  }
  uint64_t length = 0;
  for (uint64_t i = 0; i < kLengthBytes; ++i) length |= uint64_t{data[i]} << (8 * i);
  if (length > kSafetensorsMaxHeader) {
    throw FormatError(path, "byte 0",
                      Str("the header's length is ", length, "; at most ", kSafetensorsMaxHeader,
                          " is allowed. Is this a safetensors file?"));
  }
  if (length > file_size - kLengthBytes) {
    throw FormatError(path, "byte 0",
                      Str("the header's length is ", length, ", but only ",
                          file_size - kLengthBytes, " bytes follow: the file is cut short"));
  }
  if (length == 0) throw FormatError(path, "byte 0", "the header's length is 0; expected '{...}'");

  const unsigned char* begin = data + kLengthBytes;
  if (*begin != '{') {
    throw FormatError(path, "byte 8",
                      Str("the header begins with ", HexByte(*begin), "; expected '{'"));
  }
  std::string_view text(reinterpret_cast<const char*>(begin), length);
  while (text.back() == ' ') text.remove_suffix(1);
  if (text.back() != '}') {
    throw FormatError(path, Str("byte ", kLengthBytes + text.size() - 1),
                      Str("the header ends with ", HexByte(static_cast<unsigned char>(text.back())),
                          "; expected '}', then spaces only"));
  }
  // The JSON library takes a zero byte for the end of its input.
  const size_t zero = text.find('\0');
  if (zero != std::string_view::npos) {
    throw FormatError(path, Str("byte ", kLengthBytes + zero), "a zero byte in the header");
  }
  return text;
}

// Checks that the entries, sorted, cover `data_size` bytes without holes and overlaps.
void CheckLayout(const std::vector<SafetensorsEntry>& entries, uint64_t data_size,
                 uint64_t data_begin, const std::string& path) {
  uint64_t covered = 0;
  for (const SafetensorsEntry& entry : entries) {
    const std::string offsets = Str("'data_offsets' are [", entry.begin, ", ", entry.end, "]");
    if (entry.begin > covered) {
      throw FormatError(path, TensorPlace(entry.name),
                        Str(offsets, ", but the tensors before it end at ", covered, ": ",
                            entry.begin - covered, " bytes belong to no tensor"));
    }
    if (entry.begin < covered) {
      throw FormatError(
          path, TensorPlace(entry.name),
          Str(offsets, ", but the tensors before it end at ", covered, ": they overlap by ",
              std::min(covered, entry.end) - entry.begin, " bytes"));
    }
    if (entry.end > data_size) {
      throw FormatError(
          path, TensorPlace(entry.name),
          Str(offsets, ", but the file has ", data_size, " bytes of data: it is cut short"));
    }
    covered = entry.end;
  }
  if (covered < data_size) {
    throw FormatError(path, Str("byte ", data_begin + covered),
                      Str(data_size - covered, " bytes follow the last tensor; expected the end"));
  }
}

}  // namespace

std::string_view SafetensorsDtypeName(SafetensorsDtype dtype) { return RowOf(dtype).name; }

std::optional<SafetensorsDtype> FindSafetensorsDtype(std::string_view name) {
  for (const DtypeRow& row : kDtypes) {
    if (row.name == name) return row.dtype;
  }
  return std::nullopt;
}

uint64_t SafetensorsDtypeSize(SafetensorsDtype dtype) { return RowOf(dtype).size_bytes; }

uint64_t SafetensorsSizeBytes(SafetensorsDtype dtype, const std::vector<int64_t>& shape) {
  const std::optional<uint64_t> size = CheckedSizeBytes(dtype, shape);
  CKV_CHECK(size.has_value(), "shape ", ShapeText(shape), " has no size");
  return *size;
}

SafetensorsHeader::SafetensorsHeader(std::vector<SafetensorsEntry> entries,
                                     std::map<std::string, std::string> metadata)
    : entries_(std::move(entries)), metadata_(std::move(metadata)) {
  std::sort(entries_.begin(), entries_.end(),
            [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
              return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
            });
  for (size_t i = 0; i < entries_.size(); ++i) index_.emplace(entries_[i].name, i);
}

const SafetensorsEntry* SafetensorsHeader::Find(std::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &entries_[it->second];
}

SafetensorsHeader ParseSafetensorsHeader(const unsigned char* data, size_t file_size,
                                         const std::string& path) {
  const std::string_view text = HeaderText(data, file_size, path);
  HeaderReader reader(path);
  Json::sax_parse(text.begin(), text.end(), &reader);

  uint64_t length = 0;
  for (uint64_t i = 0; i < kLengthBytes; ++i) length |= uint64_t{data[i]} << (8 * i);
  const uint64_t data_begin = kLengthBytes + length;
  // Sorted by the header's constructor.
  std::vector<SafetensorsEntry> entries = SafetensorsHeader(reader.TakeEntries(), {}).entries();
  CheckLayout(entries, file_size - data_begin, data_begin, path);
  for (SafetensorsEntry& entry : entries) {
    entry.begin += data_begin;
    entry.end += data_begin;
  }
  return SafetensorsHeader(std::move(entries), reader.TakeMetadata());
}

SafetensorsWriter::SafetensorsWriter(const std::string& path,
                                     const std::vector<SafetensorsTensor>& tensors,
                                     const std::map<std::string, std::string>& metadata)
    : file_(path) {
  OrderedJson header = OrderedJson::object();
  if (!metadata.empty()) header[kMetadataKey] = metadata;
  uint64_t offset = 0;
  std::set<std::string> names = {kMetadataKey};
  for (const SafetensorsTensor& tensor : tensors) {
    CKV_CHECK(names.insert(tensor.name).second, "two tensors are named ", tensor.name);
    CKV_CHECK(tensor.shape.size() <= kSafetensorsMaxRank, tensor.name, " has too many dimensions");
    const uint64_t size = SafetensorsSizeBytes(tensor.dtype, tensor.shape);
    OrderedJson& entry = header[tensor.name];
    entry["dtype"] = SafetensorsDtypeName(tensor.dtype);
    entry["shape"] = tensor.shape;
    entry["data_offsets"] = {offset, offset + size};
    offset += size;
    pending_.push_back({tensor.name, size});
  }
  std::string text = header.dump();
  text.append((kDataAlignment - text.size() % kDataAlignment) % kDataAlignment, ' ');
  CKV_CHECK(text.size() <= kSafetensorsMaxHeader, "the header has ", text.size(), " bytes");

  std::string length;
  for (uint64_t i = 0; i < kLengthBytes; ++i) {
    length += static_cast<char>(text.size() >> (8 * i) & 0xff);
  }
  file_.Write(length);
  file_.Write(text);
}

void SafetensorsWriter::Write(const std::string& name, const void* data, size_t num_bytes) {
  while (next_ < pending_.size() && pending_[next_].left == 0 && pending_[next_].name != name) {
    ++next_;
  }
  CKV_CHECK(next_ < pending_.size() && pending_[next_].name == name, "bytes of ", name,
            " came, but expected are those of ",
            next_ < pending_.size() ? pending_[next_].name : "no further tensor");
  CKV_CHECK(num_bytes <= pending_[next_].left, name, " got ", num_bytes, " bytes, but only ",
            pending_[next_].left, " are missing");
  file_.Write(data, num_bytes);
  pending_[next_].left -= num_bytes;
}

void SafetensorsWriter::Close() {
  for (const Pending& tensor : pending_) {
    CKV_CHECK(tensor.left == 0, tensor.name, " misses ", tensor.left, " bytes");
  }
  file_.Close();
}

}  // namespace ckv
