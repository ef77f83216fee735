#include "app/task_hook.h"

#include "app/task_ranks.h"
#include "base/error.h"
#include "base/log.h"
#include "tasks/results.h"

namespace ckv {

TaskHook::TaskHook(const TaskHookConfig& config) : config_(config) {
  for (const std::string& name : config.names) {
    tasks_.push_back(OpenTask(name, config.task_dir, config.data_dirs, config.few_shot));
    tasks_.back().Requests(0);
  }
}

bool TaskHook::DueAt(int64_t step, bool last) const {
  if (tasks_.empty()) return false;
  return last || config_.every == 0 || step % config_.every == 0;
}

std::vector<std::pair<std::string, double>> TaskHook::Evaluate(Decoder& decoder,
                                                               const Tokenizer& tokenizer,
                                                               CommGroup* group) const {
  std::vector<std::pair<std::string, double>> values;
  TaskRunOptions options;
  options.limit = config_.limit;
  for (const Task& task : tasks_) {
    const TaskResult result = MakeTaskResult(
        task, RunTaskOnRanks(decoder, tokenizer, task, options, std::nullopt, group));
    std::string line;
    for (const std::string& metric : result.metrics) {
      const double value = result.FigureOf(metric).value;
      values.emplace_back(Str("task_", result.name, "_", metric), value);
      line += Str(line.empty() ? "" : ", ", metric, " ", Fixed(value, 4));
    }
    LogInfo("eval", Str(result.name, ": ", line, " on ", result.scores.size(), " documents"));
  }
  return values;
}

}  // namespace ckv
