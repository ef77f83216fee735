#include "sweep/results.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/statistics.h"
#include "record/names.h"

namespace ckv {
namespace {

constexpr size_t kCurvePoints = 160;
constexpr char kTrainResult[] = "result.json";

// Numbers of a training run's result that are worth a column.
constexpr const char* kTrainValues[] = {"valid_loss", "valid_perplexity",  "valid_accuracy",
                                        "loss",       "tokens_per_second", "seconds"};

bool IsFinite(const Json& value) { return value.is_number() && std::isfinite(value.get<double>()); }

void AddTrainValues(const Json& json, std::map<std::string, double>* values) {
  for (const char* name : kTrainValues) {
    if (json.contains(name) && IsFinite(json[name])) {
      (*values)[Str(name == std::string("seconds") ? "train_" : "", name)] =
          json[name].get<double>();
    }
  }
  for (const auto& [key, value] : json.items()) {
    if (key.rfind("task_", 0) == 0 && IsFinite(value)) (*values)[key] = value.get<double>();
  }
}

// "hellaswag acc_norm" of results.hellaswag["acc_norm,none"].
void AddTaskValues(const Json& json, std::map<std::string, double>* values) {
  if (!json.contains("results") || !json["results"].is_object()) return;
  for (const auto& [task, figures] : json["results"].items()) {
    if (!figures.is_object()) continue;
    for (const auto& [key, value] : figures.items()) {
      const size_t comma = key.find(',');
      if (comma == std::string::npos || !IsFinite(value)) continue;
      const std::string metric = key.substr(0, comma);
      if (metric.find("_stderr") != std::string::npos || metric == "acc_chars") continue;
      (*values)[Str(task, " ", metric)] = value.get<double>();
    }
  }
}

void AddPerplexityValues(const std::string& stage, const Json& json,
                         std::map<std::string, double>* values) {
  for (const char* order : {"parallel", "sequential"}) {
    if (!json.contains(order) || !json[order].is_object()) continue;
    for (const char* name : {"word_perplexity", "byte_perplexity", "token_perplexity"}) {
      if (json[order].contains(name) && IsFinite(json[order][name])) {
        (*values)[Str(stage, " ", name, order == std::string("parallel") ? "" : " sequential")] =
            json[order][name].get<double>();
      }
    }
  }
}

// What `ckv bench generate` and `bench prefill` measure, the first row of each.
void AddBenchValues(const std::string& stage, const Json& json,
                    std::map<std::string, double>* values) {
  for (const char* list : {"", "rows", "orders"}) {
    const bool whole = *list == '\0';
    if (!whole && !json.contains(list)) continue;
    const Json& items = whole ? json : json[list];
    if (!items.is_array() || items.empty()) continue;
    const Json& row = items.front();
    for (const char* name :
         {"step_ms", "tokens_per_second", "whole_tokens_per_second", "first_token_ms",
          "kv_resident_bytes", "kv_read_bytes", "kv_written_bytes", "seconds"}) {
      if (row.is_object() && row.contains(name) && IsFinite(row[name])) {
        (*values)[Str(stage, " ", name)] = row[name].get<double>();
      }
    }
  }
}

// A number by a path of keys, with "/" between them; nullopt: there is none.
std::optional<double> NumberAt(const Json& json, const std::string& path) {
  const Json* at = &json;
  size_t begin = 0;
  while (begin <= path.size()) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string key = path.substr(begin, end - begin);
    if (at->is_object() && at->contains(key)) {
      at = &(*at)[key];
    } else if (at->is_array() && !key.empty() && key.size() < 7 &&
               key.find_first_not_of("0123456789") == std::string::npos &&
               std::stoul(key) < at->size()) {
      at = &(*at)[std::stoul(key)];
    } else {
      return std::nullopt;
    }
    begin = end + 1;
  }
  return IsFinite(*at) ? std::optional<double>(at->get<double>()) : std::nullopt;
}

std::string ResultFile(const std::string& folder, const std::string& stage) {
  return JoinPath(folder, stage == "train" ? kTrainResult : stage + ".json");
}

std::map<std::string, double> ConfiguredValues(const SweepConfig& config,
                                               const std::string& folder) {
  std::map<std::string, double> values;
  std::map<std::string, Json> files;
  for (const SweepMetric& metric : config.metrics) {
    const std::string path = ResultFile(folder, metric.stage);
    if (files.count(path) == 0) files[path] = FileExists(path) ? ReadJsonFile(path) : Json();
    if (const auto value = NumberAt(files[path], metric.path)) values[metric.name] = *value;
  }
  return values;
}

PointResult ReadPoint(const SweepConfig& config, const std::string& folder, PointState state) {
  PointResult point;
  point.state = std::move(state);
  std::vector<std::string> stages;
  for (const SweepStage& stage : config.stages) stages.push_back(stage.name);
  point.values =
      config.metrics.empty() ? ValuesOfRun(folder, stages) : ConfiguredValues(config, folder);
  const std::vector<MetricRow> rows = ReadMetrics(JoinPath(folder, "metrics.jsonl"));
  point.loss = CurveOf(rows, kMetricLoss, kCurvePoints);
  point.valid_loss = CurveOf(rows, kMetricValidLoss, kCurvePoints);
  return point;
}

// The columns: those asked for, or all that a point has, the well known ones first.
std::vector<ReportMetric> ChooseMetrics(const SweepConfig& config,
                                        const std::vector<PointResult>& points) {
  std::vector<ReportMetric> metrics;
  for (const SweepMetric& metric : config.metrics) {
    metrics.push_back({metric.name, metric.higher_is_better});
  }
  if (!metrics.empty()) return metrics;
  std::set<std::string> names;
  for (const PointResult& point : points) {
    for (const auto& [name, value] : point.values) names.insert(name);
  }
  for (const char* name : kTrainValues) {
    const std::string shown = name == std::string("seconds") ? "train_seconds" : name;
    if (names.erase(shown) > 0) metrics.push_back({shown, HigherIsBetter(shown)});
  }
  for (const std::string& name : names) metrics.push_back({name, HigherIsBetter(name)});
  return metrics;
}

ResultGroup::Figure FigureOver(const SweepResults& results, const ResultGroup& group,
                               const ResultGroup* baseline, const std::string& metric) {
  ResultGroup::Figure figure;
  std::vector<double> values;
  std::map<int64_t, double> by_seed;
  for (const size_t index : group.points) {
    const PointResult& point = results.points[index];
    const auto found = point.values.find(metric);
    if (found == point.values.end()) continue;
    values.push_back(found->second);
    by_seed[point.state.seed] = found->second;
  }
  figure.count = static_cast<int64_t>(values.size());
  if (values.empty()) return figure;
  figure.mean = MeanOf(values);
  if (values.size() > 1) figure.error = StandardError(values);
  if (baseline == nullptr || baseline == &group) return figure;
  std::vector<double> differences;
  for (const size_t index : baseline->points) {
    const PointResult& point = results.points[index];
    const auto found = point.values.find(metric);
    const auto own = by_seed.find(point.state.seed);
    if (found != point.values.end() && own != by_seed.end()) {
      differences.push_back(own->second - found->second);
    }
  }
  if (!differences.empty()) figure.against = MeanOf(differences);
  // A test says nothing of what is the same for every seed, such as a count of bytes.
  const double error = differences.size() > 1 ? StandardError(differences) : 0.0;
  if (error > 0.0) {
    figure.p = PairedP(MeanOf(differences), error, static_cast<double>(differences.size() - 1));
  }
  return figure;
}

// What points that differ in their seed alone have in common. `nth`: the point is the nth of its
// label, settings and seed, such as one of before and one of after a change of the base.
std::string GroupKey(const PointState& state, int64_t nth) {
  std::string key = Str(state.label, "\n", nth);
  for (const std::string& set : state.sets) {
    if (set.rfind("run.seed=", 0) != 0) key += "\n" + set;
  }
  return key;
}

void MakeResultGroups(SweepResults* results) {
  std::map<std::string, size_t> known;
  std::map<std::pair<std::string, int64_t>, int64_t> counts;
  std::map<std::string, int64_t> groups_of_label;
  for (size_t i = 0; i < results->points.size(); ++i) {
    const PointState& state = results->points[i].state;
    const int64_t nth = counts[{GroupKey(state, 0), state.seed}]++;
    const auto [place, fresh] = known.emplace(GroupKey(state, nth), results->groups.size());
    if (fresh) {
      results->groups.push_back({state.label, {}, {}});
      ++groups_of_label[state.label];
    }
    results->groups[place->second].points.push_back(i);
  }
  for (ResultGroup& group : results->groups) {
    const PointState& first = results->points[group.points.front()].state;
    if (groups_of_label[group.label] > 1) group.label += Str(" [", first.hash.substr(0, 8), "]");
  }
  if (!results->baseline.empty() && groups_of_label[results->baseline] > 1) {
    throw ConfigError("baseline",
                      Str("there are ", groups_of_label[results->baseline], " points '",
                          results->baseline, "' that differ: remove the folders of all but one"));
  }
  const ResultGroup* baseline = nullptr;
  for (const ResultGroup& group : results->groups) {
    if (!results->baseline.empty() && group.label == results->baseline) baseline = &group;
  }
  for (ResultGroup& group : results->groups) {
    for (const ReportMetric& metric : results->metrics) {
      const ResultGroup::Figure figure = FigureOver(*results, group, baseline, metric.name);
      if (figure.count > 0) group.figures[metric.name] = figure;
    }
  }
}

}  // namespace

StageStatus PointResult::status() const {
  for (const StageState& stage : state.stages) {
    if (stage.status != StageStatus::kDone) return stage.status;
  }
  return state.stages.empty() ? StageStatus::kWaiting : StageStatus::kDone;
}

std::string PointResult::failed_stage() const {
  for (const StageState& stage : state.stages) {
    if (stage.status != StageStatus::kDone) return stage.name;
  }
  return "";
}

std::string PointResult::message() const {
  for (const StageState& stage : state.stages) {
    if (stage.status != StageStatus::kDone) return stage.message;
  }
  return "";
}

bool HigherIsBetter(const std::string& metric) {
  for (const char* part : {"acc", "exact_match", "tokens_per_second", "accuracy", "mfu"}) {
    if (metric.find(part) != std::string::npos) return true;
  }
  return false;
}

std::vector<CurvePoint> CurveOf(const std::vector<MetricRow>& rows, const std::string& metric,
                                size_t most) {
  std::vector<CurvePoint> curve;
  for (const MetricRow& row : rows) {
    const std::optional<double> value = row.Find(metric);
    if (!value.has_value() || !std::isfinite(*value)) continue;
    curve.push_back({row.Find(kMetricTokens).value_or(static_cast<double>(row.step())), *value});
  }
  if (curve.size() <= most) return curve;
  // Neighbours are joined to their mean; the last point stays where it is.
  std::vector<CurvePoint> thin;
  for (size_t i = 0; i < most; ++i) {
    const size_t begin = i * curve.size() / most;
    const size_t end = std::max(begin + 1, (i + 1) * curve.size() / most);
    CurvePoint sum;
    for (size_t k = begin; k < end; ++k) {
      sum.x += curve[k].x;
      sum.y += curve[k].y;
    }
    const auto count = static_cast<double>(end - begin);
    thin.push_back({i + 1 == most ? curve.back().x : sum.x / count, sum.y / count});
  }
  return thin;
}

std::map<std::string, double> ValuesOfRun(const std::string& folder,
                                          const std::vector<std::string>& stages) {
  std::map<std::string, double> values;
  if (FileExists(ResultFile(folder, "train"))) {
    AddTrainValues(ReadJsonFile(ResultFile(folder, "train")), &values);
  }
  for (const std::string& stage : stages) {
    const std::string path = ResultFile(folder, stage);
    if (!FileExists(path)) continue;
    const Json json = ReadJsonFile(path);
    AddTaskValues(json, &values);
    AddPerplexityValues(stage, json, &values);
    AddBenchValues(stage, json, &values);
  }
  return values;
}

SweepResults ReadSweepResults(const SweepConfig& config) {
  SweepResults results;
  const std::string runs = config.RunsDir();
  if (!IsDirectory(runs)) {
    throw IoError(runs, "there is no such folder; 'ckv sweep' makes it");
  }
  for (const std::string& name : ListDir(runs)) {
    const std::string folder = JoinPath(runs, name);
    if (!IsDirectory(folder)) continue;
    std::optional<PointState> state = ReadPointState(folder);
    if (state.has_value()) results.points.push_back(ReadPoint(config, folder, std::move(*state)));
  }
  if (results.points.empty()) throw FormatError(runs, "", "has no points of a sweep");
  std::stable_sort(results.points.begin(), results.points.end(),
                   [](const PointResult& a, const PointResult& b) {
                     return a.state.label != b.state.label ? a.state.label < b.state.label
                                                           : a.state.seed < b.state.seed;
                   });
  results.metrics = ChooseMetrics(config, results.points);
  results.baseline = config.baseline;
  const auto has = [&](const std::string& label) {
    return std::any_of(results.points.begin(), results.points.end(),
                       [&](const PointResult& point) { return point.state.label == label; });
  };
  for (const PointResult& point : results.points) {
    const std::vector<std::string>& aliases = point.state.aliases;
    if (std::find(aliases.begin(), aliases.end(), results.baseline) != aliases.end()) {
      results.baseline = point.state.label;
      break;
    }
  }
  if (!results.baseline.empty() && !has(results.baseline)) {
    throw ConfigError("baseline", Str("there is no point '", results.baseline, "'"));
  }
  results.quality = config.quality;
  if (results.quality.empty() && !results.metrics.empty()) {
    results.quality = results.metrics.front().name;
  }
  const bool known =
      std::any_of(results.metrics.begin(), results.metrics.end(),
                  [&](const ReportMetric& metric) { return metric.name == results.quality; });
  if (!results.quality.empty() && !known) {
    std::string names;
    for (const ReportMetric& metric : results.metrics) {
      names += (names.empty() ? "" : ", ") + metric.name;
    }
    throw ConfigError("quality",
                      Str("there is no metric '", results.quality, "'; there are: ", names));
  }
  MakeResultGroups(&results);
  return results;
}

std::vector<size_t> ParetoFront(const SweepResults& results) {
  struct Candidate {
    size_t group;
    double bytes;
    double quality;  // less is better
  };
  const bool higher =
      std::any_of(results.metrics.begin(), results.metrics.end(), [&](const ReportMetric& metric) {
        return metric.name == results.quality && metric.higher_is_better;
      });
  std::vector<Candidate> candidates;
  for (size_t i = 0; i < results.groups.size(); ++i) {
    const ResultGroup& group = results.groups[i];
    const auto figure = group.figures.find(results.quality);
    if (figure == group.figures.end()) continue;
    candidates.push_back({i, results.points[group.points.front()].state.kv_resident_bytes,
                          higher ? -figure->second.mean : figure->second.mean});
  }
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return a.bytes != b.bytes ? a.bytes < b.bytes : a.quality < b.quality;
  });
  std::vector<size_t> front;
  double best = HUGE_VAL;
  for (const Candidate& candidate : candidates) {
    if (candidate.quality >= best) continue;
    best = candidate.quality;
    front.push_back(candidate.group);
  }
  return front;
}

}  // namespace ckv
