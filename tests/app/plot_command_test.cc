#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "tests/app/run_program.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class PlotCommandTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* run : {"a", "b"}) {
      MakeDirs(dir_.File(run));
      std::string rows;
      for (int step = 1; step <= 5; ++step) {
        rows += Str("{\"step\":", step, ",\"tokens\":", 100 * step, ",\"loss\":", 6 - step,
                    step % 2 == 0 ? ",\"valid_loss\":3" : "", ",\"lr\":0.001}\n");
      }
      WriteFileAtomically(dir_.File(Str(run, "/metrics.jsonl")), rows);
    }
  }

  bool HasGnuplot() const { return RunProcess({"sh", "-c", "command -v gnuplot"}).exit_code == 0; }

  std::vector<std::string> Plot(const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = {"plot", dir_.File("a"), dir_.File("b"), "--out", out_};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  TempDir dir_;
  std::string out_ = dir_.File("picture.svg");
};

TEST_F(PlotCommandTest, DrawsRunsIntoOnePicture) {
  if (!HasGnuplot()) GTEST_SKIP() << "gnuplot is not installed";
  const Json json = RunCkvJson(
      Plot({"--title", "Two runs", "--width", "777", "--log-x", "--log-y", "--smoothing", "0.5"}));
  EXPECT_EQ(json["file"], out_);
  EXPECT_THAT(json["runs"], ElementsAre(dir_.File("a"), dir_.File("b")));
  EXPECT_THAT(json["metrics"], ElementsAre("loss", "valid_loss"));
  const std::string svg = ReadFile(out_);
  EXPECT_THAT(svg, HasSubstr("<svg"));
  EXPECT_THAT(svg, HasSubstr("Two runs"));
  EXPECT_THAT(svg, HasSubstr("width=\"777\""));
  EXPECT_THAT(svg, HasSubstr("optimizer steps"));
}

TEST_F(PlotCommandTest, DrawsTheMetricsAndAxisAskedFor) {
  if (!HasGnuplot()) GTEST_SKIP() << "gnuplot is not installed";
  const Json json = RunCkvJson(Plot(
      {"--metric", "lr", "--metric", "loss", "--x", "tokens", "--height", "333", "--keep-data"}));
  EXPECT_THAT(json["metrics"], ElementsAre("lr", "loss"));
  const std::string svg = ReadFile(out_);
  EXPECT_THAT(svg, HasSubstr("learning rate"));
  EXPECT_THAT(svg, HasSubstr("training tokens"));
  EXPECT_THAT(svg, HasSubstr("height=\"333\""));
  EXPECT_TRUE(FileExists(dir_.File("picture.gp")));
  EXPECT_TRUE(FileExists(dir_.File("picture.dat")));
}

TEST_F(PlotCommandTest, EveryAxisMayBeLogarithmic) {
  if (!HasGnuplot()) GTEST_SKIP() << "gnuplot is not installed";
  for (const std::string axis : {"x", "y"}) {
    ASSERT_EQ(RunCkv(Plot({"--keep-data", "--log-" + axis})).exit_code, 0);
    const std::string script = ReadFile(dir_.File("picture.gp"));
    EXPECT_EQ(script.find("set logscale x") != std::string::npos, axis == "x");
    EXPECT_EQ(script.find("set logscale y") != std::string::npos, axis == "y");
  }
}

TEST_F(PlotCommandTest, RefusesWhatItCannotDrawAndLeavesNothing) {
  EXPECT_THAT(CkvError(kExitIo, {"plot", dir_.File("a"), dir_.File("none"), "--out", out_}),
              HasSubstr("none: cannot open: No such file"));
  MakeDirs(dir_.File("empty"));
  EXPECT_THAT(CkvError(kExitIo, {"plot", dir_.File("empty"), "--out", out_}),
              HasSubstr("empty/metrics.jsonl: cannot open"));
  WriteFileAtomically(dir_.File("empty/metrics.jsonl"), "{\"step\":1}\nnot json\n{\"step\":2}\n");
  EXPECT_THAT(CkvError(kExitFormat, {"plot", dir_.File("empty"), "--out", out_}),
              HasSubstr("metrics.jsonl: line 2"));
  EXPECT_THAT(CkvError(kExitConfig, Plot({"--metric", "lossy"})), HasSubstr("'lossy'"));
  EXPECT_THAT(CkvError(kExitConfig, Plot({"--x", "seconds"})), HasSubstr("seconds"));
  EXPECT_THAT(CkvError(kExitConfig, Plot({"--smoothing", "1"})), HasSubstr("smoothing"));
  EXPECT_THAT(CkvError(kExitConfig, Plot({"--width", "0"})), HasSubstr("0 x 600"));
  EXPECT_THAT(CkvError(kExitConfig, Plot({"--gnuplot", "no-such-gnuplot"})),
              HasSubstr("no-such-gnuplot"));
  EXPECT_THAT(CkvError(kExitConfig, {"plot", dir_.File("a"), "--out", dir_.File("picture.pdf")}),
              HasSubstr("picture.pdf"));
  EXPECT_THAT(ListDir(dir_.path()), ElementsAre("a", "b", "empty"));
}

}  // namespace
}  // namespace ckv
