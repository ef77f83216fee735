// A task's YAML file: where its documents are and how they become requests and scores.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/value.h"
#include "config/visitor.h"

namespace ckv {

// How documents of one shape are read. A task lists one for every shape its data may come in.
struct DocumentForm {
  std::vector<std::string> needs;
  ConfigValue derive;
  std::string context;
  ConfigValue contexts;
  ConfigValue choices;
  ConfigValue target;
  std::string continuation;
  std::string counted;

  void Visit(ConfigVisitor& v);
};

struct FewShotConfig {
  std::vector<std::string> data;
  std::string labels;
  int64_t count = 0;
  std::string delimiter = "\n\n";

  void Visit(ConfigVisitor& v);
};

struct GenerationConfig {
  std::vector<std::string> until = {"\n\n"};
  int64_t max_tokens = 256;
  std::vector<std::string> normalize;

  void Visit(ConfigVisitor& v);
};

struct TaskConfig {
  std::string name;
  std::string version = "1";
  std::string about;
  std::string kind = "multiple_choice";
  std::vector<std::string> data;
  std::string format = "auto";
  std::string labels;
  std::string description;
  std::string delimiter = " ";
  std::vector<DocumentForm> forms;
  std::vector<std::string> metrics;
  FewShotConfig few_shot;
  GenerationConfig generation;

  void Visit(ConfigVisitor& v);
};

// Reads a task's file, with `sets` ("few_shot.count=5") over it; its name is that of the file
// unless it gives one. Throws ConfigError.
TaskConfig LoadTaskConfig(const std::string& path, const std::vector<std::string>& sets = {});

}  // namespace ckv
