#include "record/tensorboard.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/str.h"
#include "record/host.h"

namespace ckv {
namespace {

constexpr char kFilePrefix[] = "events.out.tfevents.";
constexpr char kFileVersion[] = "brain.Event:2";
constexpr uint64_t kSessionStart = 1;  // SessionLog.START

// Field numbers of the messages.
enum EventField { kEventWallTime = 1, kEventStep = 2, kEventFileVersion = 3 };
enum EventPayload { kEventSummary = 5, kEventSessionLog = 7 };
enum SummaryField { kSummaryValue = 1 };
enum ValueField { kValueTag = 1, kValueSimple = 2 };
enum SessionField { kSessionStatus = 1 };

// Protocol Buffers' ways of laying out a field.
enum WireType { kWireVarint = 0, kWireFixed64 = 1, kWireBytes = 2, kWireFixed32 = 5 };

template <typename T>
std::string LittleEndian(T value) {
  std::string bytes(sizeof(T), '\0');
  for (size_t i = 0; i < sizeof(T); ++i) bytes[i] = static_cast<char>(value >> (8 * i) & 0xff);
  return bytes;
}

std::string Varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>((value & 0x7f) | 0x80);
  return bytes + static_cast<char>(value);
}

std::string FieldHead(int field, WireType type) {
  return Varint(static_cast<uint64_t>(field) << 3 | static_cast<uint64_t>(type));
}

std::string VarintField(int field, uint64_t value) {
  return FieldHead(field, kWireVarint) + Varint(value);
}

std::string BytesField(int field, std::string_view bytes) {
  return FieldHead(field, kWireBytes) + Varint(bytes.size()) + std::string(bytes);
}

std::string DoubleField(int field, double value) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  return FieldHead(field, kWireFixed64) + LittleEndian(bits);
}

std::string FloatField(int field, float value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  return FieldHead(field, kWireFixed32) + LittleEndian(bits);
}

std::string EventHead(double wall_time, int64_t step) {
  std::string event = DoubleField(kEventWallTime, wall_time);
  if (step != 0) event += VarintField(kEventStep, static_cast<uint64_t>(step));
  return event;
}

std::array<uint32_t, 256> MakeCrcTable() {
  constexpr uint32_t kReflectedPolynomial = 0x82f63b78u;
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < table.size(); ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? kReflectedPolynomial : 0);
    table[i] = crc;
  }
  return table;
}

// TensorBoard reads the files of a folder in the order of their names, so this one must come last,
// also after a clock that was ahead and within the same second.
std::string EventFileName(const std::string& folder) {
  auto seconds = static_cast<long long>(WallTime());
  for (const std::string& name : ListDir(folder)) {
    if (name.rfind(kFilePrefix, 0) != 0) continue;
    seconds = std::max(seconds, std::atoll(name.c_str() + sizeof(kFilePrefix) - 1) + 1);
  }
  char text[32];
  std::snprintf(text, sizeof(text), "%010lld", seconds);
  return Str(kFilePrefix, text, ".", HostName(), ".", ::getpid());
}

}  // namespace

uint32_t Crc32c(std::string_view bytes) {
  static const std::array<uint32_t, 256> table = MakeCrcTable();
  uint32_t crc = 0xffffffffu;
  for (const char c : bytes) crc = crc >> 8 ^ table[(crc ^ static_cast<unsigned char>(c)) & 0xff];
  return ~crc;
}

uint32_t MaskCrc32c(uint32_t crc) { return (crc >> 15 | crc << 17) + 0xa282ead8u; }

std::string FrameTfRecord(std::string_view data) {
  const std::string length = LittleEndian(uint64_t{data.size()});
  return length + LittleEndian(MaskCrc32c(Crc32c(length))) + std::string(data) +
         LittleEndian(MaskCrc32c(Crc32c(data)));
}

EventFileWriter::EventFileWriter(const std::string& folder, std::optional<int64_t> purge_step) {
  MakeDirs(folder);
  path_ = JoinPath(folder, EventFileName(folder));
  file_ = std::make_unique<FileWriter>(path_);
  const double now = WallTime();
  file_->Write(FrameTfRecord(EventHead(now, 0) + BytesField(kEventFileVersion, kFileVersion)));
  if (purge_step) {
    file_->Write(
        FrameTfRecord(EventHead(now, *purge_step) +
                      BytesField(kEventSessionLog, VarintField(kSessionStatus, kSessionStart))));
  }
  file_->Flush();
}

void EventFileWriter::AddScalars(int64_t step,
                                 const std::vector<std::pair<std::string, double>>& scalars,
                                 double wall_time) {
  std::string summary;
  for (const auto& [tag, value] : scalars) {
    summary += BytesField(kSummaryValue, BytesField(kValueTag, tag) +
                                             FloatField(kValueSimple, static_cast<float>(value)));
  }
  file_->Write(FrameTfRecord(EventHead(wall_time > 0 ? wall_time : WallTime(), step) +
                             BytesField(kEventSummary, summary)));
}

void EventFileWriter::Flush() { file_->Flush(); }

void EventFileWriter::Close() { file_->Close(); }

}  // namespace ckv
