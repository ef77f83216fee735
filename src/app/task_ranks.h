// Putting a task's requests to a model on one or several ranks, and keeping the answers.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "dist/group.h"
#include "eval/run_task.h"

namespace ckv {

// The file that keeps a task's answers (tasks/response_cache.h). While several ranks work each but
// the first keeps its own beside it, "<name>.rank<N>.jsonl"; when all are done, or an evaluation
// begins that finds some of one that was interrupted, they become part of the file.
struct AnswerFile {
  std::string path;  // ends in ".jsonl"
  OrderedJson settings;
  bool required = true;  // else a file that cannot be written is a warning
};

// RunTask with its documents shared among the ranks of `group` (nullptr: this process is alone).
// All ranks get all answers, which do not depend on the number of ranks but for rounding, since
// other requests are batched together. Collective; throws on all ranks what one of them throws.
std::vector<std::vector<TaskResponse>> RunTaskOnRanks(
    Decoder& decoder, const Tokenizer& tokenizer, const Task& task, const TaskRunOptions& options,
    const std::optional<AnswerFile>& file, CommGroup* group, const TaskProgress& progress = {});

}  // namespace ckv
