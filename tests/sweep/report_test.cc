#include "sweep/report.h"

#include <chrono>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "base/statistics.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

class ReportTest : public ::testing::Test {
 protected:
  void SetUp() override {
    config_.name = "study";
    config_.dir = dir_.path();
    config_.baseline = "plain";
    Add("plain", 0, 1000, 2.0);
    Add("plain", 1, 1000, 2.2);
    Add("shared & <small>", 0, 500, 2.1);
    Add("shared & <small>", 1, 500, 2.25);
    Add("worse", 0, 700, 2.5);
    PointState broken = State("broken", 0, 100);
    broken.Stage("train").status = StageStatus::kDiverged;
    broken.Stage("train").message = "error: step 3: the loss | is not finite";
    Write(broken);
  }

  static PointState State(const std::string& label, int64_t seed, double bytes) {
    PointState state;
    state.id = Str("p", std::hash<std::string>()(label) % 100000, "-", seed);
    state.label = label;
    state.seed = seed;
    state.kv_sharing = "0_1|x";
    state.kv_resident_bytes = bytes;
    state.kv_written_bytes = bytes;
    state.kv_read_bytes = 9e6;
    state.parameters = 12345678;
    state.choices = {{"layout", label}};
    return state;
  }
  std::string Write(const PointState& state) {
    const std::string folder = JoinPath(config_.RunsDir(), state.id);
    MakeDirs(folder);
    WritePointState(folder, state);
    return folder;
  }
  void Add(const std::string& label, int64_t seed, double bytes, double loss) {
    PointState state = State(label, seed, bytes);
    state.Stage("train").status = StageStatus::kDone;
    const std::string folder = Write(state);
    WriteFileAtomically(folder + "/result.json",
                        Str("{\"valid_loss\": ", loss, ", \"tokens_per_second\": 5000}"));
    std::string rows;
    for (int step = 1; step <= 400; ++step) {
      rows += Str("{\"step\":", step, ",\"tokens\":", 100 * step, ",\"loss\":", loss + 3.0 / step,
                  step % 100 == 0 ? Str(",\"valid_loss\":", loss) : std::string(), "}\n");
    }
    WriteFileAtomically(folder + "/metrics.jsonl", rows);
  }

  TempDir dir_;
  SweepConfig config_;
};

TEST_F(ReportTest, FiguresOverSeedsAndAgainstTheBaseline) {
  const SweepResults results = ReadSweepResults(config_);
  EXPECT_EQ(results.points.size(), 6u);
  ASSERT_EQ(results.groups.size(), 4u);
  EXPECT_EQ(results.quality, "valid_loss");
  const ResultGroup& shared = results.groups[2];
  EXPECT_EQ(shared.label, "shared & <small>");
  const ResultGroup::Figure& figure = shared.figures.at("valid_loss");
  EXPECT_DOUBLE_EQ(figure.mean, 2.175);
  EXPECT_NEAR(*figure.error, 0.075, 1e-12);
  EXPECT_NEAR(*figure.against, 0.075, 1e-12);
  EXPECT_NEAR(*figure.p, PairedP(0.075, StandardError({0.1, 0.05}), 1.0), 1e-9);
  const ResultGroup::Figure& worse = results.groups[3].figures.at("valid_loss");
  EXPECT_FALSE(worse.error.has_value());
  EXPECT_FALSE(worse.p.has_value());
  EXPECT_TRUE(results.groups[0].figures.empty());  // diverged
}

// What is the same for all seeds has neither an error nor a test.
TEST_F(ReportTest, ConstantsAreBareNumbers) {
  const SweepResults results = ReadSweepResults(config_);
  const ResultGroup::Figure& speed = results.groups[2].figures.at("tokens_per_second");
  EXPECT_EQ(*speed.error, 0.0);
  EXPECT_FALSE(speed.p.has_value());
  EXPECT_EQ(FigureText(speed), "5000");
}

TEST_F(ReportTest, ACurveThatIsNotShownIsNotInTheLegend) {
  SweepResults results = ReadSweepResults(config_);
  const auto labels = [&] {
    std::vector<std::string> found;
    for (const ChartSeries& series : LossChart(results, false).series) {
      if (!series.label.empty()) found.push_back(series.label);
    }
    return found;
  };
  EXPECT_THAT(labels(), UnorderedElementsAre("plain", "shared & <small>", "worse"));
  for (PointResult& point : results.points) {
    if (point.state.label != "worse") continue;
    for (CurvePoint& place : point.loss) place.y = 100.0;
  }
  EXPECT_THAT(labels(), UnorderedElementsAre("plain", "shared & <small>"));
}

TEST_F(ReportTest, TheFrontHasNothingThatIsLargerAndWorse) {
  const SweepResults results = ReadSweepResults(config_);
  std::vector<std::string> labels;
  for (const size_t index : ParetoFront(results)) labels.push_back(results.groups[index].label);
  EXPECT_THAT(labels, ElementsAre("shared & <small>", "plain"));
}

TEST_F(ReportTest, FilesSayTheSame) {
  const SweepResults results = ReadSweepResults(config_);
  const std::string html = ReportHtml(config_, results);
  EXPECT_THAT(html, HasSubstr("shared &amp; &lt;small&gt;"));
  EXPECT_THAT(html, Not(HasSubstr("<small>")));
  EXPECT_THAT(html, HasSubstr("plain (baseline)"));
  EXPECT_THAT(html, HasSubstr("prefers-color-scheme:dark"));
  EXPECT_THAT(html, HasSubstr("diverged"));
  EXPECT_THAT(html, Not(HasSubstr("http")));  // nothing from elsewhere
  const std::string markdown = ReportMarkdown(config_, results);
  EXPECT_THAT(markdown, HasSubstr("2.175"));
  EXPECT_THAT(markdown, HasSubstr("the loss \\| is not finite"));
  const std::string csv = ReportCsv(results);
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 7);
  EXPECT_THAT(csv, HasSubstr(",2.25,"));
}

TEST_F(ReportTest, ConfiguredMetricsAreTakenByTheirPath) {
  config_.metrics = {{"speed", "train", "tokens_per_second", true}};
  config_.stages = {{"eval", {"x"}, 0, {}, false}};
  config_.metrics.push_back({"acc", "eval", "results/quiz/acc,none", true});
  for (const std::string& name : ListDir(config_.RunsDir())) {
    WriteFileAtomically(JoinPath(config_.RunsDir(), name) + "/eval.json",
                        "{\"results\": {\"quiz\": {\"acc,none\": 0.25}}}");
  }
  const SweepResults results = ReadSweepResults(config_);
  EXPECT_EQ(results.points[1].values.at("speed"), 5000.0);
  EXPECT_EQ(results.points[1].values.at("acc"), 0.25);
  config_.quality = "nope";
  EXPECT_THAT(ErrorOf([&] { ReadSweepResults(config_); }),
              HasSubstr("there is no metric 'nope'; there are: speed, acc"));
  config_.quality = "";
  config_.baseline = "none";
  EXPECT_THAT(ErrorOf([&] { ReadSweepResults(config_); }), HasSubstr("there is no point 'none'"));
}

// Points of before a change of the base, or of other settings, are rows of their own.
TEST_F(ReportTest, OnlyPointsThatDifferInTheirSeedAloneAreOneRow) {
  for (const auto& [id, hash, sets] :
       {std::tuple<std::string, std::string, std::vector<std::string>>{"old", "aaaaaaaaaa", {}},
        {"other", "bbbbbbbbbb", {"lr=3", "run.seed=0"}}}) {
    PointState state = State("worse", 0, 700);
    state.id = id;
    state.hash = hash;
    state.sets = sets;
    Write(state);
  }
  const SweepResults results = ReadSweepResults(config_);
  std::vector<std::string> labels;
  for (const ResultGroup& group : results.groups) {
    labels.push_back(Str(group.label, " ", group.points.size()));
  }
  EXPECT_THAT(labels,
              UnorderedElementsAre("plain 2", "shared & <small> 2", "broken 1", "worse [] 1",
                                   "worse [aaaaaaaa] 1", "worse [bbbbbbbb] 1"));
  config_.baseline = "worse";
  EXPECT_THAT(ErrorOf([&] { ReadSweepResults(config_); }),
              HasSubstr("baseline: there are 3 points 'worse' that differ"));
}

TEST_F(ReportTest, LongCurvesAreThinned) {
  const SweepResults results = ReadSweepResults(config_);
  const PointResult& point = results.points[1];
  EXPECT_LE(point.loss.size(), 160u);
  EXPECT_EQ(point.loss.back().x, 40000.0);
  EXPECT_EQ(point.valid_loss.size(), 4u);
}

}  // namespace
}  // namespace ckv
