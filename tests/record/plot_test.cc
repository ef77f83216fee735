#include "record/plot.h"

#include <cmath>
#include <cstdlib>

#include <gtest/gtest.h>

#include "record/metrics.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

bool HasGnuplot() { return std::system("gnuplot --version > /dev/null 2>&1") == 0; }

#define CKV_NEED_GNUPLOT() \
  if (!HasGnuplot()) GTEST_SKIP() << "gnuplot is not installed (Debian: gnuplot-nox)"

// A run folder with a falling loss; its path.
std::string MakeRun(const TempDir& dir, const std::string& name, double offset = 0.0,
                    int64_t steps = 50) {
  const std::string path = dir.File(name);
  MakeDirs(path);
  MetricSinkOptions plain;
  plain.csv = false;
  plain.tensorboard = false;
  MetricSink sink(path, 0, plain);
  for (int64_t step = 1; step <= steps; ++step) {
    const double s = static_cast<double>(step);
    MetricRow row(step);
    row.Set("tokens", 1000 * s);
    row.Set("loss", 2 + offset + 8 / std::sqrt(s));
    if (step % 10 == 0) row.Set("valid_loss", 2.1 + offset + 8 / std::sqrt(s));
    if (step == 7) row.Set("loss", std::nan(""));
    sink.Write(row);
  }
  return path;
}

size_t Count(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(PlotRuns, DrawsSvgAndPng) {
  CKV_NEED_GNUPLOT();
  TempDir dir;
  const std::vector<std::string> runs = {MakeRun(dir, "one"), MakeRun(dir, "two", 0.5) + "/"};
  PlotRuns(runs, {}, dir.File("a.svg"));
  const std::string svg = ReadFile(dir.File("a.svg"));
  EXPECT_NE(svg.find("<svg"), std::string::npos);
  EXPECT_NE(svg.find("two, valid"), std::string::npos);
  EXPECT_NE(svg.find("optimizer steps"), std::string::npos);
  PlotRuns(runs, {}, dir.File("a.png"));
  EXPECT_EQ(ReadFile(dir.File("a.png")).substr(1, 3), "PNG");
  EXPECT_FALSE(FileExists(dir.File("a.gp")));
}

TEST(PlotRuns, LeavesDataAndScriptThatDrawThePictureAgain) {
  CKV_NEED_GNUPLOT();
  TempDir dir;
  PlotOptions options;
  options.keep_data = true;
  PlotRuns({MakeRun(dir, "one")}, options, dir.File("<a b's.svg"));
  const std::string first = ReadFile(dir.File("<a b's.svg"));
  RemoveAll(dir.File("<a b's.svg"));
  EXPECT_EQ(Count(ReadFile(dir.File("<a b's.dat")), "\n\n\n"), 2u);
  ASSERT_EQ(std::system(("cd " + dir.path() + " && gnuplot -d \"./<a b's.gp\"").c_str()), 0);
  EXPECT_EQ(ReadFile(dir.File("<a b's.svg")), first);
}

// Names are data: quotes, markup, back quotes and format signs are shown, not obeyed.
TEST(PlotRuns, ShowsAnyNameAsItIs) {
  CKV_NEED_GNUPLOT();
  TempDir dir;
  PlotOptions options;
  const std::string file = dir.File("hacked");
  options.title = "it's `touch " + file + "` <b>&amp; {/Symbol a}_1 %d\n\"x\"";
  const std::string run = MakeRun(dir, "a'; set output 'x'; `touch y` _1^2 @<&");
  PlotRuns({run}, options, dir.File("a.svg"));
  const std::string svg = ReadFile(dir.File("a.svg"));
  EXPECT_FALSE(FileExists(file));
  EXPECT_NE(svg.find("a'; set output 'x'; `touch y` _1^2 @&lt;&amp;, train"), std::string::npos);
  EXPECT_NE(svg.find("&lt;b>&amp;amp; {/Symbol a}_1 %d "), std::string::npos);
}

TEST(PlotRuns, TellsRunsOfTheSameNameApart) {
  CKV_NEED_GNUPLOT();
  TempDir dir;
  PlotRuns({MakeRun(dir, "s1/runs/x"), MakeRun(dir, "s2/runs/x"), MakeRun(dir, "s2/runs/y")}, {},
           dir.File("a.svg"));
  const std::string svg = ReadFile(dir.File("a.svg"));
  EXPECT_NE(svg.find("s1/runs/x, train"), std::string::npos);
  EXPECT_NE(svg.find("s2/runs/x, train"), std::string::npos);
  EXPECT_NE(svg.find(">y, train"), std::string::npos);
}

TEST(PlotRuns, ThinsLongRunsAndKeepsTheirPeaks) {
  CKV_NEED_GNUPLOT();
  TempDir dir;
  PlotOptions options;
  options.metrics = {"loss"};
  options.keep_data = true;
  options.width = 200;
  PlotRuns({MakeRun(dir, "long", 0, 5000)}, options, dir.File("a.svg"));
  const std::string data = ReadFile(dir.File("a.dat"));
  EXPECT_LT(Count(data, "\n"), 420u);
  EXPECT_NE(data.find("\n1 10\n"), std::string::npos);
}

// A straight line is its own mean, but for its end.
TEST(PlotRuns, SmoothsWithoutLag) {
  CKV_NEED_GNUPLOT();
  TempDir dir;
  PlotOptions options;
  options.metrics = {"tokens"};
  options.smoothing = 0.9;
  options.keep_data = true;
  PlotRuns({MakeRun(dir, "one", 0, 1000)}, options, dir.File("a.svg"));
  const std::string data = ReadFile(dir.File("a.dat"));
  const size_t second = data.find('#', 1);
  ASSERT_NE(second, std::string::npos);
  // The last 100 of 1000 points have fewer ahead than behind.
  size_t line = 0;
  for (int i = 0; i < 900; ++i) line = data.find('\n', line) + 1;
  EXPECT_EQ(data.substr(0, line), data.substr(second, line));
}

TEST(PlotRuns, UsesLogAxesSmoothingTokensAndPanels) {
  CKV_NEED_GNUPLOT();
  TempDir dir;
  PlotOptions options;
  options.metrics = {"loss", "valid_loss", "tokens"};
  options.x_axis = "tokens";
  options.smoothing = 0.9;
  options.log_x = true;
  options.log_y = true;
  options.keep_data = true;
  PlotRuns({MakeRun(dir, "one")}, options, dir.File("a.svg"));
  const std::string script = ReadFile(dir.File("a.gp"));
  EXPECT_NE(script.find("layout 2,1"), std::string::npos);
  EXPECT_NE(script.find("set logscale y"), std::string::npos);
  EXPECT_NE(script.find("notitle"), std::string::npos);  // the raw curve behind the smooth one
}

TEST(PlotRuns, SaysWhatCannotBeDrawn) {
  TempDir dir;
  const std::string run = MakeRun(dir, "one");
  const auto error = [&](const PlotOptions& options, const std::string& out) {
    return ErrorOf([&] { PlotRuns({run}, options, dir.File(out)); });
  };
  PlotOptions options;
  EXPECT_EQ(error(options, "a.pdf"),
            Str("2: plot: the picture is '", dir.File("a.pdf"), "', but must end in .svg or .png"));
  options.x_axis = "epochs";
  EXPECT_EQ(error(options, "a.svg"),
            "2: plot: the x axis is 'epochs', but must be step, tokens or seconds");
  options.x_axis = "seconds";
  EXPECT_EQ(error(options, "a.svg"), "2: plot: none of the runs has a point of 'loss' by seconds");
  WriteFileAtomically(dir.File("nan.jsonl"), "{\"step\":1,\"loss\":\"NaN\"}\n");
  EXPECT_EQ(ErrorOf([&] { PlotRuns({dir.File("nan.jsonl")}, {}, dir.File("a.svg")); }),
            "2: plot: none of the runs has a point of 'loss' by step");
  options = PlotOptions();
  options.smoothing = 1.0;
  EXPECT_EQ(error(options, "a.svg"), "2: plot: the smoothing is 1, but must be in [0, 1)");
  options = PlotOptions();
  options.width = 5;
  EXPECT_EQ(error(options, "a.svg"),
            "2: plot: the picture's size is 5 x 600, but each side must be 100 to 10000 pixels");
  EXPECT_EQ(ErrorOf([&] { PlotRuns({dir.File("no")}, {}, dir.File("a.svg")); }),
            Str("4: ", dir.File("no"), ": cannot open: No such file or directory"));
  EXPECT_EQ(ErrorOf([&] { PlotRuns({}, {}, dir.File("a.svg")); }), "2: plot: no runs given");
}

TEST(PlotRuns, SaysWhatToInstall) {
  TempDir dir;
  PlotOptions options;
  options.gnuplot = "no-such-gnuplot";
  EXPECT_EQ(ErrorOf([&] { PlotRuns({MakeRun(dir, "one")}, options, dir.File("a.svg")); }),
            "2: plot: needs the program 'no-such-gnuplot', which is not installed (Debian: apt-get "
            "install gnuplot-nox)");
}

TEST(PlotRuns, ReportsAGnuplotThatFailsAndKeepsTheOldPicture) {
  TempDir dir;
  WriteFileAtomically(dir.File("fake"),
                      "#!/bin/sh\necho first; echo 'line 3: no terminal' >&2; exit 1\n");
  ASSERT_EQ(std::system(("chmod +x " + dir.File("fake")).c_str()), 0);
  WriteFileAtomically(dir.File("a.svg"), "old");
  PlotOptions options;
  options.gnuplot = dir.File("fake");
  EXPECT_EQ(ErrorOf([&] { PlotRuns({MakeRun(dir, "one")}, options, dir.File("a.svg")); }),
            Str("4: ", dir.File("a.svg"), ": gnuplot failed: line 3: no terminal"));
  EXPECT_EQ(ReadFile(dir.File("a.svg")), "old");
}

}  // namespace
}  // namespace ckv
