#include "sweep/points.h"

#include <algorithm>
#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class SweepPointsTest : public ::testing::Test {
 protected:
  SweepPoints Expand(const std::string& yaml, const std::vector<std::string>& sets = {}) {
    WriteFileAtomically(dir_.File("s.yaml"), "config: run.yaml\n" + yaml);
    config_ = LoadSweepConfig(dir_.File("s.yaml"), sets);
    return ExpandSweep(config_, "s.yaml", [](const std::vector<std::string>& items) {
      std::map<std::string, std::string> keys = {{"lr", "1"}, {"size", "2"}};
      for (const std::string& item : items) {
        keys[item.substr(0, item.find('='))] = item.substr(item.find('=') + 1);
      }
      PointFacts facts;
      facts.config.assign(keys.begin(), keys.end());
      return facts;
    });
  }

  std::string Error(const std::string& yaml) {
    return ErrorOf([&] { Expand(yaml); });
  }

  TempDir dir_;
  SweepConfig config_;
};

std::vector<std::string> LabelsOf(const SweepPoints& found) {
  std::vector<std::string> labels;
  for (const SweepPoint& point : found.points) labels.push_back(point.label);
  return labels;
}

TEST_F(SweepPointsTest, EveryValueGoesWithEveryOther) {
  const SweepPoints found = Expand(
      "axes:\n  - {key: lr, values: [0.1, 0.2]}\n"
      "  - name: size\n    points:\n      - {label: big, set: {size: 9, depth: 3}}\n"
      "      - {set: {size: 1}}\nseeds: [3, 4]\nset: {fixed: yes}\n");
  EXPECT_EQ(found.points.size(), 8u);
  EXPECT_THAT(LabelsOf(found),
              ElementsAre("0.1, big", "0.1, big", "0.1, {size: 1}", "0.1, {size: 1}", "0.2, big",
                          "0.2, big", "0.2, {size: 1}", "0.2, {size: 1}"));
  EXPECT_THAT(found.points[1].sets,
              ElementsAre("fixed=\"yes\"", "lr=0.1", "size=9", "depth=3", "run.seed=4"));
  EXPECT_THAT(found.points[0].id, HasSubstr("0.1-big-s3-"));
  std::set<std::string> ids;
  for (const SweepPoint& point : found.points) ids.insert(point.id);
  EXPECT_EQ(ids.size(), 8u);
}

TEST_F(SweepPointsTest, AMapReplacesWhatTheRunHad) {
  const SweepPoints found = Expand(
      "axes:\n  - {key: kv, values: [{preset: cla, factor: 2}, 0_1], labels: [cla2, plain]}\n");
  EXPECT_THAT(found.points[0].sets,
              ElementsAre("kv=null", "kv={preset: cla, factor: 2}", "run.seed=0"));
  EXPECT_THAT(LabelsOf(found), ElementsAre("cla2", "plain"));
}

TEST_F(SweepPointsTest, RandomAxesAreDrawnAgainForEachSample) {
  const std::string yaml =
      "axes:\n  - {key: lr, low: 1e-4, high: 1e-2, log: true}\n"
      "  - {key: size, low: 2, high: 9, integer: true}\nsamples: 50\n";
  const SweepPoints found = Expand(yaml);
  ASSERT_GE(found.points.size(), 49u);
  int below = 0;
  for (const SweepPoint& point : found.points) {
    const double lr = std::stod(point.choices[0].second);
    EXPECT_GE(lr, 0.99e-4);
    EXPECT_LE(lr, 1.01e-2);
    below += lr < 1e-3 ? 1 : 0;  // half of them in the logarithm
    EXPECT_EQ(point.choices[1].second.find('.'), std::string::npos);
  }
  EXPECT_GT(below, 10);
  EXPECT_LT(below, 40);
  EXPECT_EQ(LabelsOf(Expand(yaml)), LabelsOf(found));  // the same again
  EXPECT_NE(LabelsOf(Expand(yaml + "random_seed: 1\n")), LabelsOf(found));
}

TEST_F(SweepPointsTest, DrawsFromANarrowRangeAreDistinctAndWithinIt) {
  const SweepPoints found =
      Expand("axes:\n  - {key: lr, low: 1e-3, high: 1.002e-3}\nsamples: 100\n");
  EXPECT_EQ(found.points.size(), 100u);
  for (const SweepPoint& point : found.points) {
    const double lr = std::stod(point.choices[0].second);
    EXPECT_GE(lr, 1e-3);
    EXPECT_LE(lr, 1.002e-3);
  }
}

TEST_F(SweepPointsTest, ConstraintsAndEqualPoints) {
  const SweepPoints found = Expand(
      "axes:\n  - {key: lr, values: [1, 2, 3]}\n  - {key: size, values: [1, 2, 2]}\n"
      "constraints: ['lr * size <= 4']\n");
  EXPECT_EQ(found.points.size(), 5u);  // 1x1 1x2 2x1 2x2 3x1
  EXPECT_EQ(found.num_equal, 2);
  EXPECT_EQ(found.num_left_out, 2);
}

TEST_F(SweepPointsTest, SaysWhatIsWrong) {
  EXPECT_THAT(Error("axes: [{key: lr}]"), HasSubstr("axes.0: must have exactly one of 'values'"));
  EXPECT_THAT(Error("axes: [{values: [1]}]"), HasSubstr("must have a 'key'"));
  EXPECT_THAT(Error("axes: [{key: lr, low: 1}]"), HasSubstr("both 'low' and 'high'"));
  EXPECT_THAT(Error("axes: [{key: lr, low: 0, high: 1, log: true}]"),
              HasSubstr("'low' must be > 0"));
  EXPECT_THAT(Error("axes: [{key: lr, values: 3}]"), HasSubstr("must be a list"));
  EXPECT_THAT(Error("axes: [{key: lr, values: [1], labels: [a, b]}]"),
              HasSubstr("has 2 labels for 1 values"));
  EXPECT_THAT(Error("samples: 2"), HasSubstr("'samples' needs an axis"));
  EXPECT_THAT(Error("axes: [{key: lr, values: [1, 2, 3], labels: [a, a, c]}]"),
              HasSubstr("s.yaml: two points that differ are called 'a'"));
  EXPECT_THAT(Error("axes: [{key: lr, values: [1]}, {key: lr, values: [2]}]"),
              HasSubstr("two axes are of the key 'lr'"));
  EXPECT_THAT(Error("axes: [{key: run.seed, values: [1]}]"), HasSubstr("named by 'seeds'"));
  EXPECT_THAT(Error("stages: [{name: x, command: [eval, '{runn}', '{a: 1}']}]"),
              HasSubstr("'{runn}' in its command, but there are {run} and {out} alone"));
  EXPECT_THAT(Error("seeds: [1, 1]"), HasSubstr("'seeds' must be distinct"));
  EXPECT_THAT(Error("stages: [{name: train, command: [x]}]"), HasSubstr("stage name 'train'"));
  EXPECT_THAT(Error("stages: [{name: a}]"), HasSubstr("must have a 'command'"));
  EXPECT_THAT(Error("metrics: [{name: m, path: a, stage: b}]"), HasSubstr("stage 'b'"));
  EXPECT_THAT(Error("axes: [{points: [{sets: {a: 1}}]}]"), HasSubstr("unknown key 'sets'"));
  EXPECT_THAT(Error("constraints: ['nope > 1']"), HasSubstr("there is no key 'nope'"));
  std::string many = "[";
  for (int i = 0; i < 2000; ++i) many += Str(i, ", ");
  many += "0.5]";
  EXPECT_THAT(Error(Str("axes: [{key: a, values: ", many, "}, {key: b, values: ", many, "}]")),
              HasSubstr("points, more than"));
}

}  // namespace
}  // namespace ckv
