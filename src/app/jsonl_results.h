// The results of a batch job as JSON lines, in the order of the prompts.
//
// A file can be continued: beside it lies `<file>.settings.json`, and a job with the same settings
// and prompts keeps the complete lines and goes on behind them. Every line is handed to the system
// at once, so that a job that is killed loses only what it was working on.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "app/jsonl_prompts.h"
#include "base/file.h"
#include "base/json.h"

namespace ckv {

class JsonlResults {
 public:
  // `path` "" = stdout, which starts anew. Drops an incomplete last line of the file. Throws
  // ConfigError if it holds something else than the results of these settings for the first of
  // these prompts, FormatError if it is broken, and IoError.
  JsonlResults(std::string path, const OrderedJson& settings,
               const std::vector<JsonlPrompt>& prompts, const JsonlFields& fields);

  // Results that were there already.
  size_t num_kept() const { return num_kept_; }

  // Appends the result of the next prompt.
  void Write(const JsonlPrompt& prompt, const OrderedJson& results);

  // Syncs the file.
  void Close();

 private:
  void CheckSettings(const OrderedJson& settings) const;
  void KeepCompleteLines(const std::vector<JsonlPrompt>& prompts);
  std::string SettingsPath() const { return path_ + ".settings.json"; }

  std::string path_;
  JsonlFields fields_;
  size_t num_kept_ = 0;
  std::unique_ptr<FileWriter> writer_;
};

}  // namespace ckv
