// What a model gave for problems, kept while it is generated, so that an interrupted
// `ckv eval conic` goes on.
//
// Beside the file of predictions lies `<file>.partial`: a line with the settings, then a line for
// each problem that is done, in the order in which they were. Each is handed to the system at once.
// It is removed when the predictions are written.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"

namespace ckv {

struct ConicOutput {
  std::string text;
  std::string finish = "prompt_too_long";
  size_t tokens = 0;
};

class ConicOutputs {
 public:
  // Of the problems 0 to `count` - 1. `predictions` "" = nothing is kept. `settings`: all that
  // decides what the outputs are. Reads what an earlier call left; a last line that is not complete
  // is dropped. Throws ConfigError("--predictions ...") if that was another job's, FormatError and
  // IoError.
  ConicOutputs(const std::string& predictions, const OrderedJson& settings, size_t count);

  bool Has(size_t index) const { return outputs_[index].has_value(); }
  size_t num_kept() const { return num_kept_; }  // there when this object was made

  void Add(size_t index, ConicOutput output);

  // All of them; those that were never added as they are by default.
  std::vector<ConicOutput> All() const;

  // What was kept is of no more use.
  void Remove();

 private:
  void ReadKept(const OrderedJson& settings);

  std::string path_;
  std::vector<std::optional<ConicOutput>> outputs_;
  size_t num_kept_ = 0;
  std::unique_ptr<FileWriter> writer_;
};

}  // namespace ckv
