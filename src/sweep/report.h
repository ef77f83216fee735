// A sweep's report: one HTML page that needs nothing else, the same as Markdown, and a CSV table of
// all points.
#pragma once

#include <string>

#include "sweep/chart.h"
#include "sweep/results.h"

namespace ckv {

std::string ReportHtml(const SweepConfig& config, const SweepResults& results);
std::string ReportMarkdown(const SweepConfig& config, const SweepResults& results);
// A row a point, with every number at full precision.
std::string ReportCsv(const SweepResults& results);

// "12.34 ± 0.05".
std::string FigureText(const ResultGroup::Figure& figure);

// The colours and layout of the page, for reports of other kinds.
std::string PageStart(const std::string& title);
std::string PageEnd();

// The charts of a report.
Chart LossChart(const SweepResults& results, bool validation);
Chart ParetoChart(const SweepResults& results);

}  // namespace ckv
