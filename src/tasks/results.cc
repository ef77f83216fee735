#include "tasks/results.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "tasks/python_text.h"

namespace ckv {
namespace {

constexpr char kFilter[] = "none";  // the harness's name for answers as they are

const Metric& MetricOf(const std::string& name) {
  const Metric* metric = FindMetric(name);
  CKV_CHECK(metric != nullptr, name);
  return *metric;
}

std::string FourDigits(double value) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.4f", value);
  return text;
}

// A cell: `right` stands at the right.
std::string Cell(const std::string& text, size_t width, bool right) {
  const auto length = static_cast<size_t>(NumCodePoints(text));
  const std::string blanks(width > length ? width - length : 0, ' ');
  return right ? blanks + text : text + blanks;
}

std::string Centred(const std::string& text, size_t width) {
  const size_t left = (width - text.size()) / 2;
  return std::string(left, ' ') + text + std::string(width - text.size() - left, ' ');
}

std::string MarkdownTable(const std::vector<std::string>& heads, const std::vector<bool>& right,
                          const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (size_t i = 0; i < heads.size(); ++i) {
    size_t width = std::max<size_t>(3, heads[i].size());
    for (const auto& row : rows) {
      width = std::max(width, static_cast<size_t>(NumCodePoints(row[i])));
    }
    widths.push_back(width);
  }
  std::string text = "|";
  for (size_t i = 0; i < heads.size(); ++i) text += Centred(heads[i], widths[i]) + "|";
  text += "\n|";
  for (size_t i = 0; i < heads.size(); ++i) {
    text += std::string(widths[i] - (right[i] ? 1 : 0), '-') + (right[i] ? ":|" : "|");
  }
  for (const auto& row : rows) {
    text += "\n|";
    for (size_t i = 0; i < row.size(); ++i) text += Cell(row[i], widths[i], right[i]) + "|";
  }
  return text + "\n";
}

OrderedJson NumberOf(const std::string& version) {
  char* end = nullptr;
  const double number = std::strtod(version.c_str(), &end);
  return end != version.c_str() && *end == '\0' ? OrderedJson(number) : OrderedJson(version);
}

OrderedJson PerDocument(const TaskResult& result, const std::string& metric) {
  OrderedJson list = OrderedJson::array();
  for (const DocumentScores& scores : result.scores) {
    const DocumentScore& score = scores.at(metric);
    if (MetricOf(metric).weighted) {
      list.push_back({score.value, score.weight});
    } else {
      list.push_back(score.value);
    }
  }
  return list;
}

}  // namespace

MetricFigure TaskResult::FigureOf(const std::string& metric) const {
  std::vector<DocumentScore> values;
  values.reserve(scores.size());
  for (const DocumentScores& score : scores) values.push_back(score.at(metric));
  return Aggregate(MetricOf(metric), values);
}

TaskResult MakeTaskResult(const Task& task, const std::vector<std::vector<TaskResponse>>& answers) {
  TaskResult result;
  result.name = task.config().name;
  result.version = task.config().version;
  result.fingerprint = HashHex(task.Fingerprint());
  result.metrics = task.config().metrics;
  result.num_few_shot = task.config().few_shot.count;
  result.num_documents = task.size();
  for (size_t i = 0; i < answers.size(); ++i) {
    result.scores.push_back(task.Score(static_cast<int64_t>(i), answers[i]));
  }
  return result;
}

std::string ResultTable(const std::vector<TaskResult>& results) {
  std::vector<std::vector<std::string>> rows;
  for (const TaskResult& result : results) {
    std::vector<std::string> metrics = result.metrics;
    std::sort(metrics.begin(), metrics.end());
    bool first = true;
    for (const std::string& metric : metrics) {
      const MetricFigure figure = result.FigureOf(metric);
      rows.push_back({first ? result.name : "", first ? result.version : "", kFilter,
                      Str(result.num_few_shot), metric,
                      MetricOf(metric).higher_is_better ? "↑" : "↓", FourDigits(figure.value), "±",
                      figure.stderr_of_value ? FourDigits(*figure.stderr_of_value) : "N/A"});
      first = false;
    }
  }
  return MarkdownTable(
      {"Tasks", "Version", "Filter", "n-shot", "Metric", "", "Value", "", "Stderr"},
      {false, true, false, true, false, false, true, false, true}, rows);
}

OrderedJson ResultJson(const std::vector<TaskResult>& results, const OrderedJson& about) {
  OrderedJson json;
  for (const char* key : {"results", "group_subtasks", "configs", "versions", "n-shot",
                          "higher_is_better", "n-samples", "task_hashes"}) {
    json[key] = OrderedJson::object();
  }
  OrderedJson per_document = OrderedJson::object();
  for (const TaskResult& result : results) {
    const std::string& name = result.name;
    OrderedJson figures = {{"name", name}, {"alias", name}, {"sample_len", result.scores.size()}};
    for (const std::string& metric : result.metrics) {
      const MetricFigure figure = result.FigureOf(metric);
      figures[Str(metric, ",", kFilter)] = figure.value;
      const std::string error = Str(metric, "_stderr,", kFilter);
      if (figure.stderr_of_value) {
        figures[error] = *figure.stderr_of_value;
      } else {
        figures[error] = "N/A";
      }
      json["higher_is_better"][name][metric] = MetricOf(metric).higher_is_better;
      per_document[name][metric] = PerDocument(result, metric);
    }
    json["results"][name] = figures;
    json["group_subtasks"][name] = OrderedJson::array();
    json["configs"][name] = {{"task", name},
                             {"num_fewshot", result.num_few_shot},
                             {"metadata", {{"version", NumberOf(result.version)}}}};
    json["versions"][name] = NumberOf(result.version);
    json["n-shot"][name] = result.num_few_shot;
    json["n-samples"][name] = {{"original", result.num_documents},
                               {"effective", result.scores.size()}};
    json["task_hashes"][name] = result.fingerprint;
  }
  for (const auto& [key, value] : about.items()) json[key] = value;
  json["per_document"] = per_document;
  return json;
}

OrderedJson SampleJson(const Task& task, int64_t document,
                       const std::vector<TaskResponse>& answers) {
  OrderedJson json;
  json["doc_id"] = document;
  json["doc"] = OrderedJson::parse(task.document(document).dump());
  json["target"] = task.TargetOf(document);
  const std::vector<TaskRequest> requests = task.Requests(document);
  OrderedJson arguments = OrderedJson::object();
  OrderedJson responses = OrderedJson::array();
  for (size_t i = 0; i < requests.size(); ++i) {
    const TaskRequest& request = requests[i];
    OrderedJson& argument = arguments[Str("gen_args_", i)];
    if (request.kind == TaskRequest::Kind::kRolling) {
      argument["arg_0"] = request.continuation;
      responses.push_back({answers[i].log_prob});
    } else if (request.kind == TaskRequest::Kind::kGenerate) {
      argument["arg_0"] = request.context;
      argument["arg_1"] = {{"until", task.config().generation.until},
                           {"max_gen_toks", task.config().generation.max_tokens}};
      responses.push_back({answers[i].text});
    } else {
      argument["arg_0"] = request.context;
      argument["arg_1"] = request.continuation;
      responses.push_back({answers[i].log_prob, answers[i].greedy});
    }
  }
  json["arguments"] = arguments;
  json["resps"] = responses;
  json["filtered_resps"] = responses;
  json["filter"] = kFilter;
  json["metrics"] = task.config().metrics;
  for (const auto& [metric, score] : task.Score(document, answers)) {
    if (MetricOf(metric).weighted) {
      json[metric] = {score.value, score.weight};
    } else {
      json[metric] = score.value;
    }
  }
  return json;
}

std::vector<TaskResult> ReadResults(const std::string& path) {
  const Json json = ReadJsonFile(path);
  std::vector<TaskResult> results;
  try {
    if (!json.contains("per_document")) {
      throw FormatError(path, "", "is no results file of 'ckv eval tasks': no key 'per_document'");
    }
    for (const auto& [name, metrics] : json.at("per_document").items()) {
      TaskResult result;
      result.name = name;
      result.fingerprint = json.at("task_hashes").at(name).get<std::string>();
      result.num_few_shot = json.at("n-shot").at(name).get<int64_t>();
      result.num_documents = json.at("n-samples").at(name).at("original").get<int64_t>();
      for (const auto& [metric, scores] : metrics.items()) {
        if (FindMetric(metric) == nullptr) {
          throw FormatError(path, name, Str("has an unknown metric '", metric, "'"));
        }
        result.metrics.push_back(metric);
        result.scores.resize(scores.size());
        for (size_t i = 0; i < scores.size(); ++i) {
          const Json& score = scores[i];
          result.scores[i][metric] =
              score.is_array() ? DocumentScore{score.at(0).get<double>(), score.at(1).get<double>()}
                               : DocumentScore{score.get<double>(), 1.0};
        }
      }
      if (result.scores.empty()) throw FormatError(path, name, "has no documents");
      results.push_back(std::move(result));
    }
  } catch (const Json::exception& error) {
    throw FormatError(path, "", Str("is no results file of 'ckv eval tasks': ", error.what()));
  }
  return results;
}

}  // namespace ckv
