// Which downstream tasks to evaluate: the options of `ckv eval tasks` and the section `tasks` of a
// training run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/visitor.h"
#include "tasks/task.h"

namespace ckv {

// `tasks`: downstream tasks that are evaluated while a model is trained.
struct TaskHookConfig {
  std::vector<std::string> names;
  int64_t every = 0;
  int64_t limit = 0;
  int64_t few_shot = 0;
  std::string task_dir = "configs/tasks";
  std::vector<std::string> data_dirs = {"data/tasks", "../shared/data"};

  void Visit(ConfigVisitor& v);
};

// Opens a task by name, from `task_dir`, or by the path of its YAML file. `few_shot` < 0: as the
// file says. `sets` are "TASK.KEY=VALUE"; those of other tasks are left alone. Throws ConfigError
// that lists the tasks there are, and what Task throws.
Task OpenTask(const std::string& name, const std::string& task_dir,
              const std::vector<std::string>& data_dirs, int64_t few_shot,
              const std::vector<std::string>& sets = {});

// The names of the tasks in a folder.
std::vector<std::string> ListTasks(const std::string& task_dir);

}  // namespace ckv
