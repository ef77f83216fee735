// What a training run measures, kept where programs can read it.
//
//   metrics.jsonl  the record: one object a line, {"step":100,"tokens":3276800,"loss":4.21}
//   metrics.csv    the same as a table: columns in the order of their first appearance, empty cells
//                  where a row lacks a metric; rewritten from metrics.jsonl when a column is added
//   tensorboard/   the same as event files
//
// JSON has no NaN and no infinity; they are written as the strings "NaN", "Infinity" and
// "-Infinity", which every JSON reader accepts and Python's float() and JavaScript's Number() turn
// into the number. The CSV has the same words.
//
// Each step occurs once, also after resuming from a checkpoint.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace ckv {

// The metrics of one step, in a fixed order.
class MetricRow {
 public:
  using Value = std::pair<std::string, double>;

  explicit MetricRow(int64_t step = 0) : step_(step) {}

  int64_t step() const { return step_; }
  const std::vector<Value>& values() const { return values_; }

  // Adds a value or replaces the one of that name. `name` must not be "step".
  void Set(const std::string& name, double value);
  std::optional<double> Find(const std::string& name) const;

 private:
  int64_t step_;
  std::vector<Value> values_;
};

// One line of metrics.jsonl, without its line feed, and back. ParseMetricRow throws
// FormatError(path, where, ...).
std::string FormatMetricRow(const MetricRow& row);
MetricRow ParseMetricRow(const std::string& line, const std::string& path,
                         const std::string& where);

// All rows of a metrics.jsonl; none if the file is not there. A half-written last line is left out;
// any other fault throws FormatError(path, "line N", ...).
std::vector<MetricRow> ReadMetrics(const std::string& path);

struct MetricSinkOptions {
  bool csv = true;
  bool tensorboard = true;
};

class MetricSink {
 public:
  // Opens the files in `run_dir`, an existing folder. Rows of steps after `resume_step` are
  // removed: they belong to work after the checkpoint, which is done again. A new run passes 0.
  MetricSink(const std::string& run_dir, int64_t resume_step,
             const MetricSinkOptions& options = {});
  ~MetricSink();
  MetricSink(const MetricSink&) = delete;
  MetricSink& operator=(const MetricSink&) = delete;

  // Appends a row; it is with the operating system when the call returns. A row of the same step as
  // the last one is merged into it. Requires that steps do not fall. Throws IoError.
  void Write(const MetricRow& row);

  // Makes what was written durable; call before a checkpoint is made the latest.
  void Sync();

 private:
  struct Files;
  std::unique_ptr<Files> files_;
};

}  // namespace ckv
