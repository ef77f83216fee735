// Scores of Conic10K predictions as `ckv conic check` and `ckv eval conic` report them.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "conic/parser.h"
#include "conic/predictions.h"
#include "conic/problems.h"

namespace ckv {

struct ConicCheck {
  conic::Task task = conic::Task::kParsing;
  conic::Mode mode = conic::Mode::kCompat;
  std::string arithmetic = "auto";  // of answers: "exact", "points"; "auto" = exact if built in
  std::vector<conic::GoldRow> gold;
  std::vector<std::string> predicted;  // one a gold row
  std::vector<bool> leaked;            // gold rows to leave out of a second summary; may be empty
};

struct ConicReport {
  OrderedJson summary;
  std::string text;
  std::vector<OrderedJson> rows;  // one a gold row: counts or verdict, what is unreadable
};

// Throws ConfigError for an arithmetic that this build lacks.
ConicReport CheckConic(const ConicCheck& check);

// "parsing", "answer", "reasoning". Throws ConfigError("--task", ...).
conic::Task ConicTask(const std::string& name);

}  // namespace ckv
