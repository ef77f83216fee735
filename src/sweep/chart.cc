#include "sweep/chart.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/error.h"

namespace ckv {
namespace {

constexpr int kTop = 12;
constexpr int kRight = 14;
constexpr int kBottom = 46;
constexpr int kLeft = 58;
constexpr int kLegendRow = 20;
constexpr double kCharWidth = 6.8;  // of the 12-pixel font, about
constexpr double kLabelGap = 14.0;
constexpr int kWide = 500;

struct Range {
  double low = 0.0;
  double high = 1.0;
};

// Round steps of 1, 2 or 5 times a power of ten.
std::vector<double> Ticks(const Range& range, int about) {
  const double raw = (range.high - range.low) / std::max(1, about);
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  double step = power;
  for (const double factor : {1.0, 2.0, 5.0, 10.0}) {
    step = factor * power;
    if (step >= raw) break;
  }
  std::vector<double> ticks;
  for (double at = std::ceil(range.low / step - 1e-9) * step; at <= range.high + 1e-9 * step;
       at += step) {
    ticks.push_back(std::abs(at) < 1e-9 * step ? 0.0 : at);
  }
  return ticks;
}

// Powers of ten and, where those are few, their doubles and fives.
std::vector<double> LogTicks(const Range& range) {
  std::vector<double> ticks;
  const bool wide = range.high / range.low > 300.0;
  for (double power = std::pow(10.0, std::floor(std::log10(range.low))); power <= range.high;
       power *= 10.0) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      if (wide && factor > 1.0) continue;
      const double at = power * factor;
      if (at >= range.low * 0.999 && at <= range.high * 1.001) ticks.push_back(at);
    }
  }
  return ticks;
}

std::string TickLabel(double value, double step) {
  if (std::abs(value) >= 10000.0) return ShortNumber(value);
  const int digits = step >= 1.0 || step <= 0.0
                         ? 0
                         : std::min(6, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
  return Fixed(value, digits);
}

std::string Coordinate(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f", value);
  return text;
}

class ChartWriter {
 public:
  ChartWriter(const Chart& chart, int width, int height)
      : chart_(chart), width_(width), height_(height) {}

  std::string Write() {
    if (!FindRanges()) return "";
    LayOutLegend();
    text_ = Str("<svg class=\"chart\" viewBox=\"0 0 ", width_, " ", height_, "\" width=\"", width_,
                "\" height=\"", height_, "\" role=\"img\" aria-label=\"", EscapeHtml(chart_.title),
                "\">\n");
    WriteAxes();
    // Pale ones lie behind.
    for (const bool pale : {true, false}) {
      for (const ChartSeries& series : chart_.series) {
        if ((series.colour == 0) == pale) WriteSeries(series);
      }
    }
    WriteMarkLabels();
    WriteLegend();
    return text_ + "</svg>\n";
  }

 private:
  bool FindRanges() {
    bool any = false;
    for (const ChartSeries& series : chart_.series) {
      for (size_t i = 0; i < series.points.size(); ++i) {
        const CurvePoint& point = series.points[i];
        const double error = i < series.errors.size() ? series.errors[i] : 0.0;
        if (!any) {
          x_ = {point.x, point.x};
          y_ = {point.y, point.y};
        }
        any = true;
        x_ = {std::min(x_.low, point.x), std::max(x_.high, point.x)};
        y_ = {std::min(y_.low, point.y - error), std::max(y_.high, point.y + error)};
      }
    }
    if (!any) return false;
    log_x_ = chart_.log_x && x_.low > 0.0;
    if (log_x_) {
      x_ = {x_.low / 1.15, x_.high * 1.15};
    } else {
      Widen(x_, chart_.label_marks ? 0.06 : 0.0);
    }
    Widen(y_, 0.06);
    return true;
  }

  static void Widen(Range& range, double share) {
    double spread = range.high - range.low;
    if (spread <= 0.0) {
      spread = std::max(std::abs(range.high), 1.0) * 0.2;
      share = 0.5;
    }
    range = {range.low - share * spread, range.high + share * spread};
  }

  double X(double value) const {
    const double share =
        log_x_ ? (std::log(value) - std::log(x_.low)) / (std::log(x_.high) - std::log(x_.low))
               : (value - x_.low) / (x_.high - x_.low);
    return kLeft + share * (width_ - kLeft - kRight);
  }
  double Y(double value) const {
    return Bottom() - (value - y_.low) / (y_.high - y_.low) * (Bottom() - kTop);
  }
  double Bottom() const { return height_ - kBottom - kLegendRow * legend_rows_; }

  void LayOutLegend() {
    if (chart_.label_marks) return;
    double at = kLeft;
    for (const ChartSeries& series : chart_.series) {
      if (series.label.empty()) continue;
      // What does not fit into a row is cut.
      const auto most = static_cast<size_t>((width_ - kLeft - kRight - 30) / kCharWidth);
      std::string label = series.label;
      if (label.size() > most) label = label.substr(0, most - 3) + "...";
      const double need = 30.0 + kCharWidth * static_cast<double>(label.size()) + 12.0;
      if (legend_rows_ == 0 || at + need > width_ - kRight + 12.0) {
        ++legend_rows_;
        at = kLeft;
      }
      legend_.push_back({&series, label, at, legend_rows_ - 1});
      at += need;
    }
  }

  void Line(double x1, double y1, double x2, double y2, const char* kind) {
    text_ += Str("<line class=\"", kind, "\" x1=\"", Coordinate(x1), "\" y1=\"", Coordinate(y1),
                 "\" x2=\"", Coordinate(x2), "\" y2=\"", Coordinate(y2), "\"/>\n");
  }

  void Text(double x, double y, const std::string& text, const char* anchor,
            const std::string& more = "") {
    text_ += Str("<text x=\"", Coordinate(x), "\" y=\"", Coordinate(y), "\" text-anchor=\"", anchor,
                 "\"", more, ">", EscapeHtml(text), "</text>\n");
  }

  void WriteAxes() {
    const std::vector<double> ys = Ticks(y_, (height_ - kTop - kBottom) / 60);
    for (const double at : ys) {
      Line(kLeft, Y(at), width_ - kRight, Y(at), "grid");
      Text(kLeft - 7, Y(at) + 4, TickLabel(at, ys.size() > 1 ? ys[1] - ys[0] : 0.1), "end");
    }
    std::vector<double> xs;
    if (log_x_) xs = LogTicks(x_);
    if (xs.size() < 3) xs = Ticks(x_, (width_ - kLeft) / 90);
    for (const double at : xs) {
      Line(X(at), Bottom(), X(at), Bottom() + 5, "axis");
      Text(X(at), Bottom() + 18,
           log_x_ ? ShortNumber(at) : TickLabel(at, xs.size() > 1 ? xs[1] - xs[0] : 1.0), "middle");
    }
    Line(kLeft, Bottom(), width_ - kRight, Bottom(), "axis");
    Text(0.5 * (kLeft + width_ - kRight), Bottom() + 38, chart_.x_label, "middle");
    const double middle = 0.5 * (kTop + Bottom());
    Text(14, middle, chart_.y_label, "middle",
         Str(" transform=\"rotate(-90 14 ", Coordinate(middle), ")\""));
  }

  void WriteSeries(const ChartSeries& series) {
    if (series.points.empty()) return;
    text_ += Str("<g class=\"c", series.colour, series.dashed ? " dashed" : "", "\"><title>",
                 EscapeHtml(series.detail.empty() ? series.label : series.detail), "</title>\n");
    if (series.line && series.points.size() > 1) {
      std::string path;
      for (const CurvePoint& point : series.points) {
        path += Str(path.empty() ? "M" : "L", Coordinate(X(point.x)), " ", Coordinate(Y(point.y)));
      }
      text_ += Str("<path d=\"", path, "\"/>\n");
    } else {
      for (size_t i = 0; i < series.points.size(); ++i) {
        const double x = X(series.points[i].x);
        const double y = series.points[i].y;
        if (i < series.errors.size() && series.errors[i] > 0.0) {
          Line(x, Y(y - series.errors[i]), x, Y(y + series.errors[i]), "bar");
        }
        text_ += Str("<circle cx=\"", Coordinate(x), "\" cy=\"", Coordinate(Y(y)), "\" r=\"",
                     series.colour == 0 ? "3.5" : "5", "\"/>\n");
      }
      if (chart_.label_marks && IsLabelled(series)) labelled_.push_back(&series);
    }
    text_ += "</g>\n";
  }

  // A narrow chart has room for the names of few marks.
  bool IsLabelled(const ChartSeries& series) const {
    return !series.label.empty() && (width_ >= kWide || series.emphasis);
  }

  // Beside the marks. Marks above each other have their names in the same order, pushed apart.
  void WriteMarkLabels() {
    const auto x_of = [this](const ChartSeries* series) { return X(series->points.front().x); };
    std::sort(labelled_.begin(), labelled_.end(),
              [&](const ChartSeries* a, const ChartSeries* b) { return x_of(a) < x_of(b); });
    for (size_t begin = 0; begin < labelled_.size();) {
      size_t end = begin + 1;
      while (end < labelled_.size() && x_of(labelled_[end]) - x_of(labelled_[begin]) < 24.0) ++end;
      WriteColumn({labelled_.begin() + static_cast<std::ptrdiff_t>(begin),
                   labelled_.begin() + static_cast<std::ptrdiff_t>(end)});
      begin = end;
    }
  }

  void WriteColumn(std::vector<const ChartSeries*> column) {
    std::sort(column.begin(), column.end(), [](const ChartSeries* a, const ChartSeries* b) {
      return a->points.front().y > b->points.front().y;
    });
    std::vector<double> wanted;
    std::vector<double> places;
    double length = 0.0;
    double push = 0.0;
    for (const ChartSeries* series : column) {
      wanted.push_back(Y(series->points.front().y));
      places.push_back(places.empty() ? wanted.back()
                                      : std::max(wanted.back(), places.back() + kLabelGap));
      push += places.back() - wanted.back();
      length = std::max(length, kCharWidth * static_cast<double>(series->label.size()));
    }
    push /= static_cast<double>(column.size());
    push = std::max(push, places.back() - (Bottom() - 4.0));
    push = std::min(push, places.front() - (kTop + 4.0));
    for (size_t i = 0; i < column.size(); ++i) {
      const double x = X(column[i]->points.front().x);
      const double y = places[i] - push;
      const bool left = x + 22.0 + length > width_ - kRight;
      const double side = left ? -1.0 : 1.0;
      if (std::abs(y - wanted[i]) > 5.0) {
        Line(x + side * 6.0, wanted[i], x + side * 17.0, y, "grid");
      }
      Text(x + side * 19.0, y + 4.0, column[i]->label, left ? "end" : "start", " class=\"mark\"");
    }
  }

  void WriteLegend() {
    for (const LegendItem& item : legend_) {
      const double y = height_ - kLegendRow * (legend_rows_ - item.row) + 12;
      text_ += Str("<g class=\"c", item.series->colour, item.series->dashed ? " dashed" : "",
                   "\"><path d=\"M", Coordinate(item.x), " ", Coordinate(y - 4), "h22\"/></g>\n");
      Text(item.x + 28, y, item.label, "start");
    }
  }

  struct LegendItem {
    const ChartSeries* series;
    std::string label;
    double x;
    int row;
  };
  const Chart& chart_;
  int width_;
  int height_;
  Range x_;
  Range y_;
  bool log_x_ = false;
  int legend_rows_ = 0;
  std::vector<LegendItem> legend_;
  std::vector<const ChartSeries*> labelled_;
  std::string text_;
};

}  // namespace

std::string EscapeHtml(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '&') {
      escaped += "&amp;";
    } else if (c == '<') {
      escaped += "&lt;";
    } else if (c == '>') {
      escaped += "&gt;";
    } else if (c == '"') {
      escaped += "&quot;";
    } else {
      escaped += c;
    }
  }
  return escaped;
}

std::string ShortNumber(double value) {
  if (!std::isfinite(value)) return std::isnan(value) ? "NaN" : value > 0 ? "inf" : "-inf";
  const double size = std::abs(value);
  constexpr std::pair<double, const char*> kUnits[] = {
      {1e15, "P"}, {1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e4, "k"}};
  for (const auto& [unit, letter] : kUnits) {
    if (size < unit) continue;
    const double scale = unit == 1e4 ? 1e3 : unit;
    char text[40];
    std::snprintf(text, sizeof(text), "%.3g", value / scale);
    return Str(text, letter);
  }
  if (value == std::floor(value)) return Fixed(value, 0);
  if (size > 0.0 && size < 1e-3) {
    char text[40];
    std::snprintf(text, sizeof(text), "%.2g", value);
    return text;
  }
  return Fixed(value, size >= 1000.0 ? 0 : size >= 100.0 ? 1 : size >= 10.0 ? 2 : 4);
}

std::string ChartStyle() {
  return ".chart{display:block;max-width:100%;height:auto;font:12px system-ui,sans-serif}"
         ".chart text{fill:var(--muted)}.chart .mark{fill:var(--ink);paint-order:stroke;"
         "stroke:var(--paper);stroke-width:3px}"
         ".chart .grid{stroke:var(--line)}.chart .axis{stroke:var(--muted)}"
         ".chart g path{fill:none;stroke-width:2;stroke-linejoin:round}"
         ".chart .c0 path{stroke-width:1}.chart .dashed path{stroke-dasharray:5 4}"
         ".c0{stroke:var(--pale)}.c0 circle{fill:var(--pale);stroke:none}"
         ".c1{stroke:var(--c1)}.c2{stroke:var(--c2)}.c3{stroke:var(--c3)}.c4{stroke:var(--c4)}"
         ".c5{stroke:var(--c5)}.c6{stroke:var(--c6)}.c7{stroke:var(--c7)}"
         ".c1 circle{fill:var(--c1)}.c2 circle{fill:var(--c2)}.c3 circle{fill:var(--c3)}"
         ".c4 circle{fill:var(--c4)}.c5 circle{fill:var(--c5)}.c6 circle{fill:var(--c6)}"
         ".c7 circle{fill:var(--c7)}.chart g circle{stroke:none}.chart g text{stroke:none}"
         ".chart .bar{stroke-width:1.5}\n";
}

std::string ChartSvg(const Chart& chart, int width, int height) {
  return ChartWriter(chart, width, height).Write();
}

}  // namespace ckv
