// Putting a task's requests to a model.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "eval/score_requests.h"
#include "tasks/response_cache.h"
#include "tasks/task.h"

namespace ckv {

struct TaskRunOptions {
  ScoreOptions score;
  bool bos = false;              // texts begin with <s>
  int64_t limit = 0;             // the first documents only; 0 = all
  int64_t generation_rows = 32;  // answers that are generated at once
  // Answers these alone, ascending, and leaves those of others empty.
  std::optional<std::vector<int64_t>> documents;

  int64_t NumDocuments(const Task& task) const;
};

// Documents done so far, and of how many.
using TaskProgress = std::function<void(int64_t done, int64_t total)>;

// The model's answers to the first documents of a task, a list a document. Those in `cache`, which
// may be nullptr, are taken from there, and new ones are put there batch by batch. Throws what
// Task::Requests, ScoreRequests and Generate throw.
std::vector<std::vector<TaskResponse>> RunTask(Decoder& decoder, const Tokenizer& tokenizer,
                                               const Task& task, const TaskRunOptions& options,
                                               ResponseCache* cache,
                                               const TaskProgress& progress = {});

}  // namespace ckv
