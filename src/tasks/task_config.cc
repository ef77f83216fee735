#include "tasks/task_config.h"

#include "base/error.h"
#include "base/file.h"
#include "config/config.h"
#include "tasks/metrics.h"

namespace ckv {

void DocumentForm::Visit(ConfigVisitor& v) {
  v.Field("needs", needs, "fields by which documents of this form are known; the first form fits");
  v.Field("derive", derive, "a map of further fields, each a template");
  v.Field("context", context, "what stands before the text that is scored; a template");
  v.Field("contexts", contexts,
          "multiple choice between contexts of one target: a list of templates");
  v.Field("choices", choices, "multiple choice: a list of templates, or a template that is a list");
  v.Field("target", target,
          "the number of the right choice from 0; else the text that is scored or expected");
  v.Field("continuation", continuation, "with contexts: the text that is scored behind each");
  v.Field("counted", counted,
          "rolling: the text whose words and bytes count; empty = the target itself");
}

void FewShotConfig::Visit(ConfigVisitor& v) {
  v.Field("data", data, "as data; examples are the first documents. Empty = those of the task");
  v.Field("labels", labels, "as labels");
  v.Field("count", count, "examples before each document");
  v.Require(count >= 0, "must be >= 0");
  v.Field("delimiter", delimiter, "text behind each example");
}

void GenerationConfig::Visit(ConfigVisitor& v) {
  v.Field("until", until, "texts that end an answer, beside the end of sentence");
  v.Field("max_tokens", max_tokens, "tokens of an answer at most");
  v.Require(max_tokens >= 1, "must be >= 1");
  v.Field("normalize", normalize,
          "done to answer and target before they are compared: strip, lower, punctuation, digits");
  for (const std::string& name : normalize) {
    v.Require(name == "strip" || name == "lower" || name == "punctuation" || name == "digits",
              "must be of strip, lower, punctuation, digits");
  }
}

void TaskConfig::Visit(ConfigVisitor& v) {
  v.Field("name", name, "empty = the file's name");
  v.Field("version", version, "changes whenever scores may");
  v.Field("about", about, "one line on what it is");
  v.Choice("kind", kind, {"multiple_choice", "log_likelihood", "rolling", "generate"},
           "multiple_choice: the likeliest of several texts; log_likelihood: of one text behind a "
           "context; rolling: of a whole text; generate: an answer");
  v.Field(
      "data", data,
      "files or patterns, of which the first that exists is taken; relative to the data folder");
  v.Choice("format", format, {"auto", "jsonl", "json", "text", "wikitext"},
           "jsonl: an object a line; json: a list of objects; text: {text}, one a file; wikitext: "
           "{page}, one an article; auto: by the file's name");
  v.Field("labels", labels,
          "a file with one value a line, which becomes the field 'label' of each document; where "
          "documents have no such field");
  v.Field("description", description, "text at the start of every context");
  v.Field("delimiter", delimiter, "text between a context and a choice or target");
  v.List("forms", forms, "the shapes that documents come in");
  v.Field("metrics", metrics, "acc, acc_norm, acc_chars, acc_bytes, exact_match, perplexity, ...");
  for (const std::string& metric : metrics) {
    v.Require(FindMetric(metric) != nullptr,
              Str("must be of ", MetricNames(), ", but '", metric, "' is not"));
  }
  v.Section("few_shot", few_shot, "examples before each document");
  v.Section("generation", generation, "answers of kind generate");
}

TaskConfig LoadTaskConfig(const std::string& path, const std::vector<std::string>& sets) {
  TaskConfig config;
  ReadConfig(LoadConfig(path, sets), config);
  if (config.name.empty()) {
    const std::string name = BaseName(path);
    config.name = name.substr(0, name.rfind('.'));
  }
  if (config.name.find_first_of("/,: \n") != std::string::npos) {
    throw ConfigError(path,
                      Str("'name' is '", config.name, "', but must be without / , : and blanks"));
  }
  if (config.data.empty()) throw ConfigError(path, "'data' must name at least one file");
  if (config.forms.empty()) throw ConfigError(path, "'forms' must have at least one entry");
  if (config.metrics.empty()) throw ConfigError(path, "'metrics' must name at least one");
  for (const std::string& name : config.metrics) {
    const Metric& metric = *FindMetric(name);
    if (!metric.IsOf(config.kind)) {
      throw ConfigError(path, Str("the metric '", name, "' is none of kind '", config.kind, "'"));
    }
  }
  return config;
}

}  // namespace ckv
