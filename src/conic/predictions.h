// Files of gold annotations and answers, and of predictions.
//
// A gold file is one of the release's JSON files, or JSON lines with `gold` (or `statements` or
// `answer`). A prediction file is JSON lines (objects or strings) or a text file with one
// prediction a line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "conic/problems.h"

namespace ckv::conic {

struct GoldRow {
  std::string gold;
  std::string text;  // the problem's, if the file has it
};

struct PredictionFile {
  std::vector<std::string> rows;  // one a gold row, in order
  int64_t missing = 0;            // gold rows without prediction: empty ones here
};

// Gold strings for a task: spaced or unspaced statements, or answers. Throws IoError or
// FormatError.
std::vector<GoldRow> ReadGold(const std::string& path, Task task, bool spaced);

// Predictions for `num_gold` rows. JSON objects have the text under `pred`, `prediction`, `text` or
// `output`, and may say their row (from 0) under `index`; without it the order counts, and there
// must be as many as gold rows. Throws IoError, or FormatError that names file and line.
PredictionFile ReadPredictions(const std::string& path, size_t num_gold);

// Rows whose text, without white space, also stands in one of the other files' problems.
std::vector<bool> FindLeaked(const std::vector<GoldRow>& gold, const std::vector<Problem>& other);

}  // namespace ckv::conic
