#include "sweep/chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ckv {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Chart, DrawsLinesMarksAndALegend) {
  Chart chart;
  chart.title = "A & B";
  chart.x_label = "tokens";
  ChartSeries line;
  line.label = "run <1>";
  line.points = {{0, 3}, {1000, 2}, {2000, 1.5}};
  line.colour = 2;
  ChartSeries marks;
  marks.points = {{500, 2.5}};
  marks.errors = {0.25};
  marks.line = false;
  chart.series = {line, marks};
  const std::string svg = ChartSvg(chart, 860, 420);
  EXPECT_THAT(svg, HasSubstr("aria-label=\"A &amp; B\""));
  EXPECT_THAT(svg, HasSubstr("run &lt;1&gt;"));
  EXPECT_THAT(svg, HasSubstr("<circle"));
  EXPECT_THAT(svg, HasSubstr("class=\"bar\""));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_EQ(ChartSvg({}, 860, 420), "");
}

TEST(Chart, OnePointAndEqualValuesHaveARange) {
  Chart chart;
  chart.series.resize(1);
  chart.series[0].points = {{5, 0}};
  for (const bool log : {false, true}) {
    chart.log_x = log;
    const std::string svg = ChartSvg(chart, 300, 300);
    EXPECT_THAT(svg, Not(HasSubstr("nan")));
    EXPECT_THAT(svg, Not(HasSubstr("inf")));
    EXPECT_THAT(svg, HasSubstr("<circle"));
  }
}

TEST(Chart, ALogarithmicAxisOfAShortRangeHasRoundNumbers) {
  Chart chart;
  chart.log_x = true;
  chart.series.resize(1);
  chart.series[0].points = {{128, 1}, {256, 2}};
  const std::string svg = ChartSvg(chart, 860, 420);
  for (const char* tick : {">150<", ">200<", ">250<"}) EXPECT_THAT(svg, HasSubstr(tick));
  chart.series[0].points = {{100, 1}, {10000, 2}};
  const std::string wide = ChartSvg(chart, 860, 420);
  for (const char* tick : {">100<", ">500<", ">1000<"}) EXPECT_THAT(wide, HasSubstr(tick));
}

TEST(Chart, ShortNumbers) {
  EXPECT_EQ(ShortNumber(0.0), "0");
  EXPECT_EQ(ShortNumber(12.0), "12");
  EXPECT_EQ(ShortNumber(3.14159), "3.1416");
  EXPECT_EQ(ShortNumber(31.4159), "31.42");
  EXPECT_EQ(ShortNumber(12288.0), "12.3k");
  EXPECT_EQ(ShortNumber(3.1e9), "3.1G");
  EXPECT_EQ(ShortNumber(-0.00012), "-0.00012");
}

}  // namespace
}  // namespace ckv
