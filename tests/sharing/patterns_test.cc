#include "sharing/patterns.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "tests/goldens.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::HasSubstr;

std::string Pattern(const char* pattern, const char* target, int64_t num_layers, int64_t kv_layers,
                    bool first = false) {
  return MakePattern(ParseSharingPattern(pattern), ParseGroupTarget(target), num_layers, kv_layers,
                     first)
      .ToString();
}

TEST(Patterns, EqualEveryRecordedRow) {
  const std::string path = JoinPath(GoldensRoot(), "kv/patterns.json");
  if (!FileExists(path)) GTEST_SKIP() << "no kv/patterns.json";
  for (const Json& row : ReadJsonFile(path)) {
    EXPECT_EQ(
        Pattern(row.at("pattern").get<std::string>().c_str(),
                row.at("target").get<std::string>().c_str(), row.at("layers"), row.at("kv_layers")),
        row.at("spec"))
        << row;
  }
}

TEST(Patterns, PutTheTargetWhereTheNameSays) {
  EXPECT_EQ(Pattern("sandwich", "middle", 8, 3), "0_3_3_3_3_3_3_7");
  EXPECT_EQ(Pattern("pizza", "middle-1/4", 9, 2), "0_2_2_2_2_2_2_2_2");
  EXPECT_EQ(Pattern("pizza", "middle-3/4", 9, 2), "0_6_6_6_6_6_6_6_6");
}

TEST(Patterns, CanLeaveLayerZeroItsKvs) {
  EXPECT_EQ(Pattern("lasagna", "top", 7, 3, true), "0_3_3_3_6_6_6");
  EXPECT_EQ(Pattern("pizza", "top", 4, 2, true), "0_3_3_3");
  EXPECT_EQ(Pattern("pizza", "top", 1, 1, true), "0");
  EXPECT_THAT(ErrorOf([] { Pattern("pizza", "top", 4, 1, true); }), HasSubstr("2 to 4"));
}

TEST(Patterns, HaveAsManyOwnersAsAskedForAndAllMayBeOwners) {
  for (const std::string& pattern : SharingPatternNames()) {
    for (const std::string& target : GroupTargetNames()) {
      for (int layers = 1; layers <= 24; ++layers) {
        for (int owners = 1; owners <= layers; ++owners) {
          const KvSharingSpec spec =
              MakePattern(ParseSharingPattern(pattern), ParseGroupTarget(target), layers, owners);
          ASSERT_EQ(static_cast<int>(spec.kv_layers().size()), owners) << spec.ToString();
        }
        EXPECT_EQ(Pattern(pattern.c_str(), target.c_str(), layers, layers),
                  KvSharingSpec(layers).ToString());
      }
    }
  }
}

TEST(Patterns, RoundTheReductionHalfUp) {
  EXPECT_EQ(KvLayersForReduction(9, 2), 5);
  EXPECT_EQ(KvLayersForReduction(22, 4), 6);  // 5.5
  EXPECT_EQ(KvLayersForReduction(22, 3), 7);
  EXPECT_EQ(KvLayersForReduction(2, 8), 1);
  EXPECT_EQ(KvLayersForReduction(12, 1.5), 8);
  EXPECT_THAT(ErrorOf([] { KvLayersForReduction(4, 0.5); }), HasSubstr("at least 1"));
}

TEST(Patterns, RefuseWhatCannotBe) {
  EXPECT_THAT(ErrorOf([] { Pattern("pizza", "top", 4, 5); }), HasSubstr("1 to 4"));
  EXPECT_THAT(ErrorOf([] { Pattern("pizza", "top", 4, 0); }), HasSubstr("not 0"));
  EXPECT_THAT(ErrorOf([] { Pattern("pizza", "top", 4097, 2); }), HasSubstr("4096"));
  EXPECT_THAT(ErrorOf([] { Pattern("pasta", "top", 4, 2); }),
              HasSubstr("pizza, sandwich, lasagna"));
  EXPECT_THAT(ErrorOf([] { Pattern("pizza", "side", 4, 2); }), HasSubstr("middle-3/4"));
}

}  // namespace
}  // namespace ckv
