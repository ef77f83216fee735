// ParseSafetensorsHeader: a file is refused with FormatError, or its entries cover its data.

#include "base/error.h"
#include "base/safetensors.h"
#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ckv::SafetensorsHeader header;
  try {
    header = ckv::ParseSafetensorsHeader(data, size, "fuzz.safetensors");
  } catch (const ckv::FormatError&) {
    return 0;
  }
  uint64_t covered = header.entries().empty() ? size : header.entries().front().begin;
  for (const ckv::SafetensorsEntry& entry : header.entries()) {
    ckv::FuzzCheck(entry.begin == covered && entry.end >= covered, "a hole before " + entry.name);
    ckv::FuzzCheck(entry.size_bytes() == ckv::SafetensorsSizeBytes(entry.dtype, entry.shape),
                   "shape and range differ: " + entry.name);
    ckv::FuzzCheck(header.Find(entry.name) == &entry, "not found: " + entry.name);
    covered = entry.end;
  }
  ckv::FuzzCheck(covered == size, "bytes behind the last tensor");
  return 0;
}
