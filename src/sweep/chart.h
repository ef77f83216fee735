// Charts as SVG that takes its colours from the page around it, light or dark.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sweep/results.h"

namespace ckv {

struct ChartSeries {
  std::string label;   // in the legend; "" = none, and drawn pale
  std::string detail;  // shown when pointed at; "" = the label
  std::vector<CurvePoint> points;
  std::vector<double> errors;  // of y, for single marks; empty: none
  bool line = true;            // else marks
  bool dashed = false;
  bool emphasis = false;  // of marks: named on a narrow chart, too
  int colour = 0;         // 1 to kNumChartColours; 0: pale
};

inline constexpr int kNumChartColours = 7;

struct Chart {
  std::string title;  // for screen readers
  std::string x_label;
  std::string y_label;
  bool log_x = false;
  std::vector<ChartSeries> series;
  bool label_marks = false;  // write the labels beside marks, instead of a legend
};

// The chart for a page `width` pixels wide; text has the size of the page's. "" without any point.
std::string ChartSvg(const Chart& chart, int width, int height);

// What the class names in the SVG mean; to be put into the page once.
std::string ChartStyle();

// Text with & < > and quotes escaped.
std::string EscapeHtml(const std::string& text);

// "1.23", "45.6k", "7.8M": three or four digits.
std::string ShortNumber(double value);

}  // namespace ckv
