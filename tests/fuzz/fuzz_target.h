// What fuzz targets share. A target reads bytes that anybody may have made: it may throw the one
// error type that stands for bad input of its kind, nothing else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

// Runs one input; returns 0.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace ckv {

// Ends the process with a message unless `holds`, so that the fuzzer keeps the input.
inline void FuzzCheck(bool holds, const std::string& what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz check failed: %s\n", what.c_str());
  std::abort();
}

}  // namespace ckv
