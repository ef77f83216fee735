// ParseJson: bad text gives FormatError; what is read survives being written and read again.

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  ckv::Json value;
  try {
    value = ckv::ParseJson(text, "fuzz.json");
  } catch (const ckv::FormatError&) {
    return 0;
  }
  const std::string written = value.dump();
  ckv::FuzzCheck(ckv::ParseJson(written, "fuzz.json") == value, "reads back otherwise: " + written);
  return 0;
}
