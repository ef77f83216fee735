// What an evaluation found, as lm-evaluation-harness writes it: its table, its JSON, its samples.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "tasks/task.h"

namespace ckv {

struct TaskResult {
  std::string name;
  std::string version;
  std::string fingerprint;
  std::vector<std::string> metrics;
  int64_t num_few_shot = 0;
  int64_t num_documents = 0;           // of the task
  std::vector<DocumentScores> scores;  // of the documents that were evaluated, from the first

  MetricFigure FigureOf(const std::string& metric) const;
};

// Scores all of a task's first documents by `answers`, one list a document.
TaskResult MakeTaskResult(const Task& task, const std::vector<std::vector<TaskResponse>>& answers);

// The table that the harness prints: a row a metric.
std::string ResultTable(const std::vector<TaskResult>& results);

// The harness's results file; `about` is merged in at its end. Beside the harness's keys it has
// "per_document": the scores of each document, from which CompareResults works.
OrderedJson ResultJson(const std::vector<TaskResult>& results, const OrderedJson& about);

// A line of the harness's samples file.
OrderedJson SampleJson(const Task& task, int64_t document,
                       const std::vector<TaskResponse>& answers);

// A results file read back. Throws FormatError.
std::vector<TaskResult> ReadResults(const std::string& path);

}  // namespace ckv
