#include "app/task_options.h"

#include "base/error.h"
#include "base/file.h"
#include "config/config.h"

namespace ckv {
namespace {

constexpr char kYaml[] = ".yaml";

bool IsYamlPath(const std::string& name) {
  return name.size() > 5 && name.compare(name.size() - 5, 5, kYaml) == 0;
}

}  // namespace

void TaskHookConfig::Visit(ConfigVisitor& v) {
  v.Field("names", names, "tasks of task_dir, or paths of their files; none = no evaluation");
  v.Field("every", every, "evaluate every so many steps, and at the end; 0 = when validating");
  v.Require(every >= 0, "must be >= 0");
  v.Field("limit", limit, "the first documents of each task only; 0 = all");
  v.Require(limit >= 0, "must be >= 0");
  v.Field("few_shot", few_shot, "examples before each document");
  v.Require(few_shot >= 0, "must be >= 0");
  v.Field("task_dir", task_dir, "folder of the tasks' YAML files");
  v.Field("data_dirs", data_dirs, "folders in which the tasks' data are looked for");
}

std::vector<std::string> ListTasks(const std::string& task_dir) {
  std::vector<std::string> names;
  if (!IsDirectory(task_dir)) return names;
  for (const std::string& name : ListDir(task_dir)) {
    if (IsYamlPath(name)) names.push_back(name.substr(0, name.size() - 5));
  }
  return names;
}

Task OpenTask(const std::string& name, const std::string& task_dir,
              const std::vector<std::string>& data_dirs, int64_t few_shot,
              const std::vector<std::string>& sets) {
  std::string path = name;
  std::string own = name;
  if (IsYamlPath(name)) {
    own = BaseName(name).substr(0, BaseName(name).size() - 5);
  } else {
    path = JoinPath(task_dir, name + kYaml);
    if (!FileExists(path)) {
      std::string known;
      for (const std::string& task : ListTasks(task_dir))
        known += (known.empty() ? "" : ", ") + task;
      throw ConfigError("--tasks", Str("there is no task '", name, "' in ", task_dir,
                                       known.empty() ? "" : Str("; there are: ", known)));
    }
  }
  std::vector<std::string> own_sets;
  for (const std::string& item : sets) {
    if (item.compare(0, own.size() + 1, own + ".") == 0)
      own_sets.push_back(item.substr(own.size() + 1));
  }
  if (few_shot >= 0) own_sets.push_back(Str("few_shot.count=", few_shot));
  return Task(LoadTaskConfig(path, own_sets), data_dirs, path);
}

}  // namespace ckv
