// A downstream task: documents that become requests to a model, and answers that become scores.
//
// Prompts are character by character those of lm-evaluation-harness: description, examples (each a
// context, the delimiter, its answer and the examples' delimiter), context; what is scored is the
// delimiter with a choice, or a target as it stands.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/json.h"
#include "tasks/documents.h"
#include "tasks/metrics.h"
#include "tasks/task_config.h"
#include "tasks/template.h"

namespace ckv {

struct TaskRequest {
  enum class Kind {
    kLogLikelihood,  // of `continuation` behind `context`
    kRolling,        // of `continuation`, as a text of its own
    kGenerate,       // an answer to `context`
  };
  Kind kind = Kind::kLogLikelihood;
  std::string context;
  std::string continuation;
};

struct TaskResponse {
  double log_prob = 0.0;
  bool greedy = false;  // each token of the continuation is the likeliest
  std::string text;     // of kGenerate
};

using DocumentScores = std::map<std::string, DocumentScore>;  // by metric

class Task {
 public:
  // Reads the documents. `folders` are searched for data, in their order. Throws ConfigError for a
  // template that is none, IoError and FormatError for the data.
  Task(TaskConfig config, const std::vector<std::string>& folders, const std::string& origin);
  ~Task();
  Task(Task&&) noexcept;

  const TaskConfig& config() const { return config_; }
  int64_t size() const { return static_cast<int64_t>(documents_.items.size()); }
  const Json& document(int64_t index) const { return documents_.items[static_cast<size_t>(index)]; }
  const std::vector<std::string>& files() const { return documents_.files; }

  // Of everything that scores depend on besides the model: configuration, documents, examples.
  uint64_t Fingerprint() const;

  // The requests of a document, one or one a choice. Throws FormatError for a document that no form
  // fits or that lacks something.
  std::vector<TaskRequest> Requests(int64_t index) const;

  // Its score in every metric of the task, from the answers to its requests.
  DocumentScores Score(int64_t index, const std::vector<TaskResponse>& answers) const;

  // The right choice or text, for logs.
  std::string TargetOf(int64_t index) const;

 private:
  struct Form;
  struct Item;

  Item Fill(const Json& document, const std::string& where) const;
  Item ItemOf(int64_t index) const;
  std::string Where(int64_t index) const;
  std::string ContextBefore(int64_t index) const;
  std::string ExampleText(const Item& item) const;

  TaskConfig config_;
  std::vector<Form> forms_;
  Documents documents_;
  Documents examples_;
  bool own_examples_ = false;  // examples come from the documents themselves
};

}  // namespace ckv
