// TensorBoard event files with scalars, written without TensorFlow or Protocol Buffers.
//
// A file is a sequence of TFRecords: length (8 bytes), masked CRC32C of the length, data, masked
// CRC32C of the data, all little endian. The data is an `Event` message; the first holds the file
// version.
//
// Source: tensorflow/core/util/event.proto, framework/summary.proto and lib/io/record_writer.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"

namespace ckv {

// CRC-32C (Castagnoli), and TFRecord's masking of it.
uint32_t Crc32c(std::string_view bytes);
uint32_t MaskCrc32c(uint32_t crc);

// `data` with its frame.
std::string FrameTfRecord(std::string_view data);

class EventFileWriter {
 public:
  // Creates `folder` and in it events.out.tfevents.<seconds>.<host>.<pid>. TensorBoard forgets
  // the points at and after `purge_step` that earlier files of the folder hold: the first step that
  // is done again after a resume.
  explicit EventFileWriter(const std::string& folder,
                           std::optional<int64_t> purge_step = std::nullopt);

  // Values are stored as fp32. `wall_time` in seconds since 1970; 0 = now. Throws IoError.
  void AddScalars(int64_t step, const std::vector<std::pair<std::string, double>>& scalars,
                  double wall_time = 0.0);
  void Flush();
  void Close();

  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::unique_ptr<FileWriter> file_;
};

}  // namespace ckv
