#include "record/metrics.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "record/names.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

MetricRow Row(int64_t step, const std::vector<MetricRow::Value>& values) {
  MetricRow row(step);
  for (const auto& [name, value] : values) row.Set(name, value);
  return row;
}

// Only metrics.jsonl.
MetricSinkOptions Plain() {
  MetricSinkOptions options;
  options.csv = false;
  options.tensorboard = false;
  return options;
}

TEST(MetricRow, KeepsTheOrderAndReplacesValues) {
  MetricRow row = Row(3, {{"b", 1}, {"a", 2}});
  row.Set("b", 5);
  EXPECT_EQ(row.values(), (std::vector<MetricRow::Value>{{"b", 5}, {"a", 2}}));
  EXPECT_EQ(row.Find("a"), 2.0);
  EXPECT_EQ(row.Find("c"), std::nullopt);
  EXPECT_THROW(row.Set("step", 1), InternalError);
}

TEST(FormatMetricRow, WritesOneJsonObject) {
  EXPECT_EQ(FormatMetricRow(Row(100, {{"tokens", 3276800}, {"loss", 4.25}, {"lr", 3e-4}})),
            R"({"step":100,"tokens":3276800,"loss":4.25,"lr":0.0003})");
  EXPECT_EQ(FormatMetricRow(Row(0, {{"a\"b", -0.0}})), R"({"step":0,"a\"b":0})");
}

TEST(FormatMetricRow, WritesEveryDoubleSoThatItReadsBack) {
  for (const double value : {0.1, 1.0 / 3.0, 1e300, 5e-324, 123456789012345680.0, -2.5e-7,
                             9007199254740991.0, 1.7976931348623157e308}) {
    const std::string line = FormatMetricRow(Row(1, {{"x", value}}));
    EXPECT_EQ(ParseMetricRow(line, "m", "line 1").Find("x"), value) << line;
    EXPECT_EQ(Json::parse(line)["x"].get<double>(), value) << line;
  }
}

// JSON has no such numbers, and "NaN" without quotes is refused by many readers.
TEST(FormatMetricRow, WritesNumbersThatAreNotFiniteAsStrings) {
  const std::string line = FormatMetricRow(Row(1, {{"a", kNan}, {"b", kInf}, {"c", -kInf}}));
  EXPECT_EQ(line, R"({"step":1,"a":"NaN","b":"Infinity","c":"-Infinity"})");
  const MetricRow row = ParseMetricRow(line, "m", "line 1");
  EXPECT_TRUE(std::isnan(*row.Find("a")));
  EXPECT_EQ(row.Find("b"), kInf);
  EXPECT_EQ(row.Find("c"), -kInf);
}

TEST(ParseMetricRow, SaysWhatIsWrong) {
  const auto error = [](const std::string& line) {
    return ErrorOf([&] { ParseMetricRow(line, "m.jsonl", "line 7"); });
  };
  EXPECT_EQ(error("x"), "3: m.jsonl: line 7: is not a JSON object");
  EXPECT_EQ(error("[1]"), "3: m.jsonl: line 7: is not a JSON object");
  EXPECT_EQ(error(R"({"loss":1})"), "3: m.jsonl: line 7: has no 'step' that is an integer from 0");
  EXPECT_EQ(error(R"({"step":-1})"), "3: m.jsonl: line 7: has no 'step' that is an integer from 0");
  EXPECT_EQ(error(R"({"step":1.5})"),
            "3: m.jsonl: line 7: has no 'step' that is an integer from 0");
  EXPECT_EQ(error(R"({"step":1,"loss":"high"})"), "3: m.jsonl: line 7: 'loss' is not a number");
  EXPECT_EQ(error(R"({"step":1,"loss":null})"), "3: m.jsonl: line 7: 'loss' is not a number");
}

TEST(ReadMetrics, LeavesOutAHalfWrittenLastLine) {
  TempDir dir;
  EXPECT_TRUE(ReadMetrics(dir.File("m")).empty());
  const std::string begin = "{\"step\":1,\"loss\":2}\n";
  for (const std::string& tail :
       {std::string("{\"step\":2,\"lo"), std::string("{"), std::string("\0\0\0\0", 4)}) {
    WriteFileAtomically(dir.File("m"), begin + tail);
    EXPECT_EQ(ReadMetrics(dir.File("m")).size(), 1u);
  }
  WriteFileAtomically(dir.File("m"), begin + "{\"step\":2,\"loss\":1}");
  EXPECT_EQ(ReadMetrics(dir.File("m")).size(), 2u);
}

TEST(ReadMetrics, RefusesABrokenLineElsewhere) {
  TempDir dir;
  WriteFileAtomically(dir.File("m"), "{\"step\":1}\n{\"st\n{\"step\":3}\n");
  EXPECT_EQ(ErrorOf([&] { ReadMetrics(dir.File("m")); }),
            Str("3: ", dir.File("m"), ": line 2: is not a JSON object"));
}

TEST(MetricSink, AppendsRowsThatAreThereAtOnce) {
  TempDir dir;
  MetricSink sink(dir.path(), 0, Plain());
  sink.Write(Row(1, {{"loss", 3}}));
  sink.Write(Row(2, {{"loss", 2.5}}));
  EXPECT_EQ(ReadFile(dir.File("metrics.jsonl")),
            "{\"step\":1,\"loss\":3}\n{\"step\":2,\"loss\":2.5}\n");
  EXPECT_EQ(ListDir(dir.path()), std::vector<std::string>{"metrics.jsonl"});
}

TEST(MetricSink, MergesRowsOfOneStep) {
  TempDir dir;
  MetricSink sink(dir.path(), 0);
  sink.Write(Row(1, {{"loss", 3}}));
  sink.Write(Row(2, {{"loss", 2.5}}));
  sink.Write(Row(2, {{"valid_loss", 2.75}}));
  sink.Write(Row(2, {{"loss", 2.25}}));
  sink.Write(Row(3, {{"loss", 2}}));
  EXPECT_EQ(ReadFile(dir.File("metrics.jsonl")),
            "{\"step\":1,\"loss\":3}\n{\"step\":2,\"loss\":2.25,\"valid_loss\":2.75}\n"
            "{\"step\":3,\"loss\":2}\n");
  EXPECT_EQ(ReadFile(dir.File("metrics.csv")), "step,loss,valid_loss\n1,3,\n2,2.25,2.75\n3,2,\n");
  EXPECT_THROW(sink.Write(Row(2, {{"loss", 1}})), InternalError);
}

TEST(MetricSink, CutsBackToTheCheckpointOnResume) {
  TempDir dir;
  {
    MetricSink sink(dir.path(), 0);
    for (int64_t step = 1; step <= 7; ++step) {
      sink.Write(Row(step, {{"loss", static_cast<double>(step)}}));
    }
  }
  const std::string whole = ReadFile(dir.File("metrics.jsonl"));
  WriteFileAtomically(dir.File("metrics.jsonl"), whole + "{\"step\":8,\"l");
  {
    MetricSink sink(dir.path(), 5);
    sink.Write(Row(6, {{"loss", 0.5}, {"lr", 0.25}}));
  }
  std::vector<int64_t> steps;
  for (const MetricRow& row : ReadMetrics(dir.File("metrics.jsonl"))) steps.push_back(row.step());
  EXPECT_EQ(steps, (std::vector<int64_t>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(ReadFile(dir.File("metrics.csv")),
            "step,loss,lr\n1,1,\n2,2,\n3,3,\n4,4,\n5,5,\n6,0.5,0.25\n");
}

TEST(MetricSink, MergesIntoTheLastRowThatAnEarlierProcessWrote) {
  TempDir dir;
  { MetricSink(dir.path(), 0).Write(Row(5, {{"loss", 1}})); }
  { MetricSink(dir.path(), 5).Write(Row(5, {{"valid_loss", 2}})); }
  EXPECT_EQ(ReadFile(dir.File("metrics.jsonl")), "{\"step\":5,\"loss\":1,\"valid_loss\":2}\n");
  EXPECT_EQ(ReadFile(dir.File("metrics.csv")), "step,loss,valid_loss\n5,1,2\n");
}

TEST(MetricSink, StartsAgainWithoutACheckpoint) {
  TempDir dir;
  { MetricSink(dir.path(), 0, Plain()).Write(Row(4, {{"loss", 1}})); }
  { MetricSink sink(dir.path(), 0, Plain()); }
  EXPECT_EQ(ReadFile(dir.File("metrics.jsonl")), "");
}

TEST(MetricSink, QuotesCsvHeadersAndWritesNonFiniteCells) {
  TempDir dir;
  MetricSink sink(dir.path(), 0);
  sink.Write(Row(1, {{"a,\"b\"", kNan}, {"c", -kInf}}));
  sink.Write(Row(2, {{"c", kInf}}));
  EXPECT_EQ(ReadFile(dir.File("metrics.csv")),
            "step,\"a,\"\"b\"\"\",c\n1,NaN,-Infinity\n2,,Infinity\n");
}

TEST(MetricSink, SaysWhichFileCannotBeWritten) {
  EXPECT_EQ(ErrorOf([] { MetricSink sink("/nowhere", 0); }).substr(0, 24),
            "4: /nowhere/metrics.json");
}

}  // namespace
}  // namespace ckv
