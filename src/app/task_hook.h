// Downstream tasks as metrics of a training run.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "app/task_options.h"
#include "dist/group.h"
#include "model/decoder.h"
#include "text/tokenizer.h"

namespace ckv {

class TaskHook {
 public:
  // Reads the tasks' data, so that what is wrong with them shows before training. Throws what
  // OpenTask throws.
  explicit TaskHook(const TaskHookConfig& config);

  bool DueAt(int64_t step, bool last) const;

  // Every metric of every task, as "task_<name>_<metric>" and its value. `group`: the ranks among
  // which documents are shared (then collective); nullptr = this process answers all.
  std::vector<std::pair<std::string, double>> Evaluate(Decoder& decoder, const Tokenizer& tokenizer,
                                                       CommGroup* group) const;

 private:
  TaskHookConfig config_;
  std::vector<Task> tasks_;
};

}  // namespace ckv
