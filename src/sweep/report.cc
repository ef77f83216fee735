#include "sweep/report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <set>

#include "base/error.h"

namespace ckv {
namespace {

// Curves with a colour and a name; the others are pale.
constexpr size_t kNamedCurves = 7;
constexpr size_t kMostPaleCurves = 200;

std::string QuotedCsv(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

std::string FullNumber(double value) {
  char text[40];
  std::snprintf(text, sizeof(text), "%.10g", value);
  return text;
}

std::string PValueText(double p) {
  if (std::isnan(p)) return "";
  if (p < 1e-3) return "p < 0.001";
  return Str("p = ", Fixed(p, 3));
}

const ReportMetric* QualityOf(const SweepResults& results) {
  for (const ReportMetric& metric : results.metrics) {
    if (metric.name == results.quality) return &metric;
  }
  return nullptr;
}

// Groups by quality, the best first; those without it at the end.
std::vector<size_t> ByQuality(const SweepResults& results) {
  const ReportMetric* quality = QualityOf(results);
  std::vector<size_t> order(results.groups.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  if (quality == nullptr) return order;
  const auto rank = [&](size_t index) {
    const auto& figures = results.groups[index].figures;
    const auto found = figures.find(quality->name);
    if (found == figures.end()) return HUGE_VAL;
    return quality->higher_is_better ? -found->second.mean : found->second.mean;
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return rank(a) < rank(b); });
  return order;
}

// The groups whose curves have colours: the baseline and the best.
std::vector<size_t> NamedGroups(const SweepResults& results) {
  std::vector<size_t> named;
  for (size_t i = 0; i < results.groups.size(); ++i) {
    if (results.groups[i].label == results.baseline) named.push_back(i);
  }
  for (const size_t index : ByQuality(results)) {
    if (named.size() == kNamedCurves) break;
    if (std::find(named.begin(), named.end(), index) == named.end()) named.push_back(index);
  }
  return named;
}

int ColourOf(const std::vector<size_t>& named, size_t group) {
  const auto found = std::find(named.begin(), named.end(), group);
  return found == named.end() ? 0 : static_cast<int>(found - named.begin()) + 1;
}

struct StatusCount {
  int64_t done = 0;
  int64_t other = 0;
};

StatusCount CountStatus(const SweepResults& results) {
  StatusCount count;
  for (const PointResult& point : results.points) {
    ++(point.status() == StageStatus::kDone ? count.done : count.other);
  }
  return count;
}

const PointState& FirstState(const SweepResults& results, const ResultGroup& group) {
  return results.points[group.points.front()].state;
}

// The table of groups: heads, and rows of cells; `marks` are true for cells of the best figure.
struct GroupTable {
  std::vector<std::string> heads;
  std::vector<bool> left;  // columns of text
  std::vector<std::vector<std::string>> rows;
  std::vector<std::vector<bool>> marks;
};

std::string GroupCell(const ResultGroup& group, const std::string& metric) {
  const auto found = group.figures.find(metric);
  if (found == group.figures.end()) return "";
  std::string text = FigureText(found->second);
  if (found->second.p.has_value() && !std::isnan(*found->second.p)) {
    text += Str(" (", PValueText(*found->second.p), ")");
  }
  return text;
}

// Whether no other group's mean is better.
bool IsBest(const SweepResults& results, const ResultGroup& group, const ReportMetric& metric) {
  const auto own = group.figures.find(metric.name);
  if (own == group.figures.end()) return false;
  for (const ResultGroup& other : results.groups) {
    const auto theirs = other.figures.find(metric.name);
    if (theirs == other.figures.end()) continue;
    const double ahead = theirs->second.mean - own->second.mean;
    if (metric.higher_is_better ? ahead > 0.0 : ahead < 0.0) return false;
  }
  return results.groups.size() > 1;
}

GroupTable MakeGroupTable(const SweepResults& results) {
  GroupTable table;
  const auto head = [](const ReportMetric& metric) {
    return Str(metric.name, metric.higher_is_better ? " ↑" : " ↓");
  };
  // What is looked for first comes first: a table is wider than a phone.
  std::vector<ReportMetric> metrics = results.metrics;
  std::stable_partition(metrics.begin(), metrics.end(),
                        [&](const ReportMetric& metric) { return metric.name == results.quality; });
  table.heads = {"point"};
  for (size_t i = 0; i < metrics.size(); ++i) {
    table.heads.push_back(head(metrics[i]));
    if (i > 0) continue;
    table.heads.insert(table.heads.end(),
                       {"KV resident B/token", "KV written B/step", "KV read B/step"});
  }
  table.heads.insert(table.heads.end(), {"parameters", "runs", "kv_sharing"});
  table.left.assign(table.heads.size(), false);
  table.left.front() = table.left.back() = true;
  for (const size_t index : ByQuality(results)) {
    const ResultGroup& group = results.groups[index];
    const PointState& state = FirstState(results, group);
    int64_t done = 0;
    for (const size_t point : group.points) {
      done += results.points[point].status() == StageStatus::kDone ? 1 : 0;
    }
    std::vector<std::string> row = {state.FullLabel() +
                                    (group.label == results.baseline ? " (baseline)" : "")};
    std::vector<bool> marks = {false};
    for (size_t i = 0; i < metrics.size(); ++i) {
      row.push_back(GroupCell(group, metrics[i].name));
      marks.push_back(IsBest(results, group, metrics[i]));
      if (i > 0) continue;
      for (const double bytes :
           {state.kv_resident_bytes, state.kv_written_bytes, state.kv_read_bytes}) {
        row.push_back(ShortNumber(bytes));
        marks.push_back(false);
      }
    }
    for (const std::string& text :
         {ShortNumber(state.parameters), Str(done, "/", group.points.size()), state.kv_sharing}) {
      row.push_back(text);
      marks.push_back(false);
    }
    table.rows.push_back(std::move(row));
    table.marks.push_back(std::move(marks));
  }
  return table;
}

std::string HtmlTable(const GroupTable& table) {
  std::string html = "<div class=\"scroll\"><table><thead><tr>";
  for (size_t i = 0; i < table.heads.size(); ++i) {
    html +=
        Str(table.left[i] ? "<th class=\"name\">" : "<th>", EscapeHtml(table.heads[i]), "</th>");
  }
  html += "</tr></thead><tbody>\n";
  for (size_t i = 0; i < table.rows.size(); ++i) {
    html += "<tr>";
    for (size_t k = 0; k < table.rows[i].size(); ++k) {
      const bool best = i < table.marks.size() && table.marks[i][k];
      html += Str(table.heads[k] == "message" ? "<td class=\"name message\">"
                  : table.left[k]             ? "<td class=\"name\">"
                  : best                      ? "<td class=\"best\">"
                                              : "<td>",
                  EscapeHtml(table.rows[i][k]), "</td>");
    }
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

std::string MarkdownRow(const std::vector<std::string>& cells) {
  std::string row = "|";
  for (std::string cell : cells) {
    for (size_t at = 0; (at = cell.find('|', at)) != std::string::npos; at += 2) {
      cell.insert(at, "\\");
    }
    row += Str(" ", cell, " |");
  }
  return row + "\n";
}

// Points that are not done, with why.
GroupTable FailureTable(const SweepResults& results) {
  GroupTable table;
  table.heads = {"point", "seed", "stage", "status", "message", "kv_sharing"};
  table.left = {true, false, true, true, true, true};
  for (const PointResult& point : results.points) {
    if (point.status() == StageStatus::kDone) continue;
    table.rows.push_back({point.state.label, Str(point.state.seed), point.failed_stage(),
                          StageStatusName(point.status()), point.message(),
                          point.state.kv_sharing});
  }
  return table;
}

// Two sizes of a chart, of which the page shows the one that fits.
std::string TwoSizes(const Chart& chart) {
  const std::string wide = ChartSvg(chart, 860, 420);
  if (wide.empty()) return "<p>No data.</p>\n";
  return Str("<div class=\"wide\">", wide, "</div><div class=\"narrow\">",
             ChartSvg(chart, 340, 360), "</div>\n");
}

std::string Summary(const SweepResults& results) {
  const StatusCount count = CountStatus(results);
  std::set<int64_t> seeds;
  for (const PointResult& point : results.points) seeds.insert(point.state.seed);
  std::string text =
      Str(results.points.size(), " runs: ", results.groups.size(), " points, ", seeds.size(),
          seeds.size() == 1 ? " seed. " : " seeds. ", count.done, " done");
  if (count.other > 0) text += Str(", ", count.other, " not");
  text += ". Figures are means over seeds ± standard error.";
  if (!results.baseline.empty()) {
    text += Str(" p: two-sided paired t-test against ", results.baseline,
                " over the seeds of both, where there are at least two.");
  }
  return text;
}

constexpr char kBytesNote[] =
    "KV bytes in bf16: resident is what the cache grows by with each token, written what a "
    "decoding "
    "step adds, read what a decoding step reads behind a whole training sample. Sharing makes the "
    "first two less, not the third.";

}  // namespace

std::string FigureText(const ResultGroup::Figure& figure) {
  if (figure.error.value_or(0.0) == 0.0) return ShortNumber(figure.mean);
  return Str(ShortNumber(figure.mean), " ± ", ShortNumber(*figure.error));
}

Chart LossChart(const SweepResults& results, bool validation) {
  Chart chart;
  chart.title = validation ? "Validation loss" : "Training loss";
  chart.x_label = "tokens";
  chart.y_label = "nats per token";
  const std::vector<size_t> named = NamedGroups(results);
  size_t pale = 0;
  for (size_t i = 0; i < results.groups.size(); ++i) {
    const int colour = ColourOf(named, i);
    for (const size_t index : results.groups[i].points) {
      const PointResult& point = results.points[index];
      if (colour == 0 && ++pale > kMostPaleCurves) break;
      ChartSeries series;
      series.detail = Str(results.groups[i].label, ", seed ", point.state.seed);
      series.points = validation ? point.valid_loss : point.loss;
      if (series.points.empty()) continue;
      if (colour > 0) series.label = results.groups[i].label;
      series.colour = colour;
      chart.series.push_back(std::move(series));
    }
  }
  // The first part of training would press all else together.
  double last = HUGE_VAL;
  for (const ChartSeries& series : chart.series) last = std::min(last, series.points.back().y);
  for (ChartSeries& series : chart.series) {
    series.points.erase(
        std::remove_if(series.points.begin(), series.points.end(),
                       [&](const CurvePoint& point) { return point.y > last * 1.4 + 0.5; }),
        series.points.end());
  }
  chart.series.erase(
      std::remove_if(chart.series.begin(), chart.series.end(),
                     [](const ChartSeries& series) { return series.points.empty(); }),
      chart.series.end());
  std::set<std::string> in_legend;  // one entry for the seeds of a point
  for (ChartSeries& series : chart.series) {
    if (!in_legend.insert(series.label).second) series.label.clear();
  }
  return chart;
}

Chart ParetoChart(const SweepResults& results) {
  Chart chart;
  chart.title = Str(results.quality, " against KV bytes");
  chart.x_label = "resident KV bytes per token (bf16)";
  const ReportMetric* quality = QualityOf(results);
  if (quality == nullptr) return chart;
  chart.y_label =
      Str(quality->name, quality->higher_is_better ? " (more is better)" : " (less is better)");
  chart.label_marks = true;
  chart.log_x = true;
  const std::vector<size_t> front = ParetoFront(results);
  const auto place = [&](size_t index) {
    const ResultGroup& group = results.groups[index];
    return CurvePoint{FirstState(results, group).kv_resident_bytes,
                      group.figures.at(quality->name).mean};
  };
  ChartSeries line;
  line.detail = "Pareto front";
  line.dashed = true;
  line.colour = 1;
  for (const size_t index : front) line.points.push_back(place(index));
  if (front.size() > 1) chart.series.push_back(std::move(line));
  const bool few = results.groups.size() <= 30;
  for (size_t i = 0; i < results.groups.size(); ++i) {
    const ResultGroup& group = results.groups[i];
    const auto found = group.figures.find(quality->name);
    if (found == group.figures.end()) continue;
    ChartSeries series;
    series.line = false;
    const bool on_front = std::find(front.begin(), front.end(), i) != front.end();
    const bool baseline = group.label == results.baseline;
    series.colour = on_front ? 1 : baseline ? 2 : few ? 3 : 0;
    series.label = on_front || baseline || few ? group.label : "";
    series.emphasis = on_front || baseline;
    series.detail = Str(group.label, ": ", FigureText(found->second));
    series.points = {place(i)};
    series.errors = {found->second.error.value_or(0.0)};
    chart.series.push_back(std::move(series));
  }
  return chart;
}

std::string PageStart(const std::string& title) {
  return Str(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
      "<meta name=\"color-scheme\" content=\"light dark\"><title>",
      EscapeHtml(title),
      "</title>\n<style>"
      ":root{--paper:#fff;--ink:#1a1a1a;--muted:#5c5c5c;--line:#e3e3e3;--pale:#c4c4c4;"
      "--stripe:#f6f7f8;--mark:#e3f1e7;--c1:#0072b2;--c2:#d55e00;--c3:#009e73;--c4:#b0578d;"
      "--c5:#8a6d00;--c6:#3b8fc4;--c7:#555}"
      "@media (prefers-color-scheme:dark){:root{--paper:#16181b;--ink:#e8e8e8;--muted:#a4a8ad;"
      "--line:#33373c;--pale:#50555b;--stripe:#1e2125;--mark:#1d3a28;--c1:#56b4e9;--c2:#ff8c42;"
      "--c3:#2fc79a;--c4:#e291c0;--c5:#e0b93a;--c6:#8ac6ec;--c7:#b9b9b9}}"
      "body{margin:0 auto;padding:1rem 1.2rem 3rem;max-width:72rem;background:var(--paper);"
      "color:var(--ink);font:16px/1.5 system-ui,sans-serif}"
      "h1{font-size:1.6rem;line-height:1.2;margin:.6rem 0}h2{font-size:1.15rem;margin:2rem 0 .5rem}"
      "p{max-width:46rem;margin:.5rem 0}.note{color:var(--muted);font-size:.88rem}"
      ".scroll{overflow-x:auto;border:1px solid var(--line);border-radius:6px}"
      "table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums;"
      "min-width:100%}"
      "th,td{padding:.35rem .7rem;text-align:right;white-space:nowrap;"
      "border-bottom:1px solid var(--line)}"
      "th{font-weight:600;color:var(--muted)}td.name,th.name{text-align:left}"
      "td:first-child,th:first-child{position:sticky;left:0;background:var(--paper)}"
      "tbody tr:nth-child(even),tbody tr:nth-child(even) "
      "td:first-child{background:var(--stripe)}tbody tr:last-child td{border-bottom:0}"
      "td.message{white-space:normal;min-width:16rem}"
      "td.best{background:var(--mark);font-weight:600}"
      "table.left td,table.left th{text-align:left}"
      ".narrow{display:none}@media (max-width:700px){body{padding:.6rem .7rem 2rem}"
      ".wide{display:none}.narrow{display:block}h1{font-size:1.3rem}"
      "td.name:first-child{white-space:normal;min-width:7.5rem;max-width:9rem}}\n",
      ChartStyle(), "</style></head><body>\n");
}

std::string PageEnd() { return "</body></html>\n"; }

std::string ReportHtml(const SweepConfig& config, const SweepResults& results) {
  const std::string title = config.title.empty() ? config.name : config.title;
  std::string html = PageStart(title) + Str("<h1>", EscapeHtml(title), "</h1>\n<p>",
                                            EscapeHtml(Summary(results)), "</p>\n");
  html += Str("<h2>Points</h2>\n", HtmlTable(MakeGroupTable(results)), "<p class=\"note\">",
              kBytesNote, "</p>\n");
  html += Str("<h2>Quality against KV bytes</h2>\n", TwoSizes(ParetoChart(results)),
              "<p class=\"note\">Dashed: the Pareto front. Bars: standard error over seeds.</p>\n");
  html += Str("<h2>Validation loss</h2>\n", TwoSizes(LossChart(results, true)));
  html += Str("<h2>Training loss</h2>\n", TwoSizes(LossChart(results, false)),
              "<p class=\"note\">The start of the curves is left out.</p>\n");
  const GroupTable failures = FailureTable(results);
  if (!failures.rows.empty()) {
    html += Str("<h2>Not done</h2>\n", HtmlTable(failures));
  }
  return html + PageEnd();
}

std::string ReportMarkdown(const SweepConfig& config, const SweepResults& results) {
  const std::string title = config.title.empty() ? config.name : config.title;
  std::string text = Str("# ", title, "\n\n", Summary(results), "\n\n");
  const GroupTable table = MakeGroupTable(results);
  text += MarkdownRow(table.heads);
  text += "|";
  for (size_t i = 0; i < table.heads.size(); ++i) text += table.left[i] ? "---|" : "---:|";
  text += "\n";
  for (size_t i = 0; i < table.rows.size(); ++i) {
    std::vector<std::string> cells = table.rows[i];
    cells.back() = Str("`", cells.back(), "`");
    for (size_t k = 0; k < cells.size(); ++k) {
      if (table.marks[i][k]) cells[k] = Str("**", cells[k], "**");
    }
    text += MarkdownRow(cells);
  }
  text += Str("\n", kBytesNote, "\n\n");
  const std::vector<size_t> front = ParetoFront(results);
  if (!front.empty()) {
    text += Str("Pareto front of ", results.quality, " against resident KV bytes:\n\n");
    for (const size_t index : front) {
      const ResultGroup& group = results.groups[index];
      text +=
          Str("- ", group.label, ": ", ShortNumber(FirstState(results, group).kv_resident_bytes),
              " bytes a token, ", FigureText(group.figures.at(results.quality)), "\n");
    }
    text += "\n";
  }
  const GroupTable failures = FailureTable(results);
  if (!failures.rows.empty()) {
    text += "Not done:\n\n" + MarkdownRow(failures.heads) + "|---|---|---|---|---|---|\n";
    for (const auto& row : failures.rows) text += MarkdownRow(row);
  }
  return text;
}

std::string ReportCsv(const SweepResults& results) {
  std::string text =
      "id,label,seed,status,kv_sharing,parameters,tokens,train_flops,kv_resident_bytes,"
      "kv_written_bytes,kv_read_bytes";
  for (const auto& [axis, choice] : results.points.front().state.choices) {
    text += "," + QuotedCsv("axis " + axis);
  }
  for (const ReportMetric& metric : results.metrics) text += "," + QuotedCsv(metric.name);
  text += "\n";
  for (const PointResult& point : results.points) {
    const PointState& state = point.state;
    text += Str(QuotedCsv(state.id), ",", QuotedCsv(state.label), ",", state.seed, ",",
                StageStatusName(point.status()), ",", QuotedCsv(state.kv_sharing), ",",
                FullNumber(state.parameters), ",", FullNumber(state.tokens), ",",
                FullNumber(state.train_flops), ",", FullNumber(state.kv_resident_bytes), ",",
                FullNumber(state.kv_written_bytes), ",", FullNumber(state.kv_read_bytes));
    for (size_t i = 0; i < results.points.front().state.choices.size(); ++i) {
      text += "," + (i < state.choices.size() ? QuotedCsv(state.choices[i].second) : "");
    }
    for (const ReportMetric& metric : results.metrics) {
      const auto found = point.values.find(metric.name);
      text += "," + (found == point.values.end() ? "" : FullNumber(found->second));
    }
    text += "\n";
  }
  return text;
}

}  // namespace ckv
