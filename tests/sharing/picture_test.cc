#include "sharing/picture.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sharing/lanes.h"
#include "tests/sharing/random_spec.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string PictureOf(const char* text, bool ascii = false) {
  return SharingPicture(IterationPlan(KvSharingSpec::Parse(text), 7, 2), ascii);
}

TEST(SharingPicture, ShowsOwnersReadersAndPasses) {
  EXPECT_EQ(PictureOf("0_2_2_2_4"),
            "               layer  KVs  reads\n"
            "      1 pass ┌     4  K V  itself\n"
            "             └     3       2 below  ─┐\n"
            "7 + 2 passes ┌     2  K V  itself   ─●\n"
            "             └     1       2 above  ─┘\n"
            "      1 pass ─     0  K V  itself\n");
}

TEST(SharingPicture, DoesWithoutBoxDrawing) {
  EXPECT_EQ(PictureOf("0s_0_0/1s", true),
            "         layer  KVs  reads                 sees\n"
            "       +     2       K 0 below, V 1 below  window  ---+-+\n"
            "1 pass +     1    V  0 below               all     -+-V |\n"
            "       +     0  K V  itself                window  -*---K\n");
}

TEST(SharingPicture, HasALineForEachLayerOfAnySpec) {
  Random random(4);
  for (int i = 0; i < 500; ++i) {
    const KvSharingSpec spec = RandomSpec(random, 40);
    const std::string picture = SharingPicture(IterationPlan(spec, 7, 2), i % 2 == 0);
    EXPECT_EQ(std::count(picture.begin(), picture.end(), '\n'), spec.num_layers() + 1);
  }
}

TEST(Lanes, DoNotOverlap) {
  Random random(5);
  for (int i = 0; i < 500; ++i) {
    const KvSharingSpec spec = RandomSpec(random, 40);
    const std::vector<Lane> lanes = LayOutLanes(spec);
    size_t k_reads = 0;
    size_t v_reads = 0;
    for (const Lane& a : lanes) {
      if (a.keys) k_reads += a.readers.size();
      if (a.values) v_reads += a.readers.size();
      for (const Lane& b : lanes) {
        if (&a == &b || a.column != b.column) continue;
        EXPECT_TRUE(a.high < b.low || b.high < a.low) << spec.ToString();
      }
    }
    for (int layer = 0; layer < spec.num_layers(); ++layer) {
      if (spec.k_source(layer) == layer) ++k_reads;
      if (spec.v_source(layer) == layer) ++v_reads;
    }
    EXPECT_EQ(k_reads, static_cast<size_t>(spec.num_layers()));
    EXPECT_EQ(v_reads, static_cast<size_t>(spec.num_layers()));
  }
}

TEST(SharingSvg, IsOneClosedElementAndEscapesItsTitle) {
  const IterationPlan plan(KvSharingSpec::Parse("0_3s_3_3/0_4"), 7, 2);
  const std::string svg = SharingSvg(plan, "a < b & c");
  EXPECT_THAT(svg, HasSubstr("a &lt; b &amp; c"));
  EXPECT_THAT(svg, HasSubstr("7 + 2 passes"));
  EXPECT_THAT(svg, HasSubstr(">window<"));
  EXPECT_THAT(svg, ::testing::StartsWith("<svg xmlns="));
  EXPECT_THAT(svg, ::testing::EndsWith("</svg>\n"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
}

TEST(SharingSvg, CutsLongTitles) {
  const std::string svg = SharingSvg(IterationPlan(KvSharingSpec(2), 7, 2), std::string(500, 'x'));
  EXPECT_THAT(svg, HasSubstr("xxx...</text>"));
}

}  // namespace
}  // namespace ckv
