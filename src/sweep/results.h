// What the points of a sweep found: their numbers by metric, their curves, and means over seeds.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "record/metrics.h"
#include "sweep/point_state.h"
#include "sweep/sweep_config.h"

namespace ckv {

struct CurvePoint {
  double x = 0.0;  // tokens
  double y = 0.0;
};

struct PointResult {
  PointState state;
  std::map<std::string, double> values;  // by metric
  std::vector<CurvePoint> loss;          // training loss, thinned
  std::vector<CurvePoint> valid_loss;

  // The status of the first stage that is not done, or kDone.
  StageStatus status() const;
  std::string failed_stage() const;
  std::string message() const;
};

struct ReportMetric {
  std::string name;
  bool higher_is_better = false;
};

// Points that differ in their seed alone.
struct ResultGroup {
  std::string label;
  std::vector<size_t> points;  // in SweepResults::points, by seed

  struct Figure {
    double mean = 0.0;
    std::optional<double> error;    // of the mean, over seeds; nullopt: one seed
    std::optional<double> p;        // against the baseline, paired by seed; nullopt: too few
    std::optional<double> against;  // mean difference from the baseline over the seeds of both
    int64_t count = 0;
  };
  std::map<std::string, Figure> figures;  // by metric
};

struct SweepResults {
  std::vector<PointResult> points;
  std::vector<ReportMetric> metrics;  // columns, in order
  std::vector<ResultGroup> groups;
  std::string quality;   // the metric drawn against KV bytes; "" = none
  std::string baseline;  // label of a group; "" = none
};

// Reads all points below the sweep's folder. Points without result have what there is. `config`
// gives metrics, quality and baseline. Throws FormatError for files that are broken, ConfigError
// for a quality or baseline that is not there.
SweepResults ReadSweepResults(const SweepConfig& config);

// The numbers of a finished run's folder and of its stages' files, by the names that reports use.
std::map<std::string, double> ValuesOfRun(const std::string& folder,
                                          const std::vector<std::string>& stages);

// The curve of a metric, with at most `most` points.
std::vector<CurvePoint> CurveOf(const std::vector<MetricRow>& rows, const std::string& metric,
                                size_t most);

// Whether more of a metric is better, by its name.
bool HigherIsBetter(const std::string& metric);

// Groups on the front: no other has as few KV bytes a token and a quality as good, one of them
// better. In order of bytes.
std::vector<size_t> ParetoFront(const SweepResults& results);

}  // namespace ckv
