#include "sharing/spec.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "tests/goldens.h"
#include "tests/sharing/random_spec.h"
#include "tests/temp_dir.h"

namespace ckv {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

template <typename Read>
std::string StageOfRead(Read read) {
  try {
    read();
  } catch (const SharingError& error) {
    switch (error.stage()) {
      case SharingError::Stage::kParse:
        return "parse";
      case SharingError::Stage::kCount:
        return "count";
      case SharingError::Stage::kRange:
        return "range";
    }
  }
  return "accepted";
}

std::string StageOf(const std::string& text, std::optional<int64_t> num_layers) {
  return StageOfRead([&] { KvSharingSpec::Parse(text, num_layers); });
}

TEST(KvSharingSpec, AnswersWhoReadsWhom) {
  const KvSharingSpec spec = KvSharingSpec::Parse("0_3_3_3_1s");
  EXPECT_EQ(spec.num_layers(), 5);
  EXPECT_THAT(spec.kv_layers(), ElementsAre(0, 1, 3));
  EXPECT_THAT(spec.k_readers(3), ElementsAre(1, 2, 3));
  EXPECT_THAT(spec.v_readers(1), ElementsAre(4));
  EXPECT_TRUE(spec.looks_up(1));
  EXPECT_FALSE(spec.looks_up(3));
  EXPECT_TRUE(spec.cyclic());
  EXPECT_TRUE(spec.symmetric());
  EXPECT_TRUE(spec.windowed(4));
  EXPECT_TRUE(spec.k_readers_windowed(1));
  EXPECT_FALSE(spec.k_readers_windowed(3));
  EXPECT_FALSE(spec.v_readers_windowed(2)) << "nobody reads layer 2";
}

TEST(KvSharingSpec, KeepsKeysAndValuesApart) {
  const KvSharingSpec spec = KvSharingSpec::Parse("0_1_2/0s_3/1");
  EXPECT_FALSE(spec.symmetric());
  EXPECT_FALSE(spec.cyclic());
  EXPECT_TRUE(spec.computes_k(2));
  EXPECT_FALSE(spec.computes_v(2));
  EXPECT_THAT(spec.v_readers(0), ElementsAre(0, 2));
  EXPECT_THAT(spec.v_readers(1), ElementsAre(1, 3));
  EXPECT_THAT(spec.kv_layers(), ElementsAre(0, 1, 2, 3));
  EXPECT_TRUE(KvSharingSpec::Parse("1/0_1").looks_up(0)) << "either source counts";
  EXPECT_TRUE(KvSharingSpec::Parse("0/1_1").looks_up(0));
}

TEST(KvSharingSpec, WritesTheCanonicalText) {
  EXPECT_EQ(KvSharingSpec::Parse("0_6*6_7").ToString(), "0_6_6_6_6_6_6_7");
  EXPECT_EQ(KvSharingSpec::Parse("3s*4").ToString(), "3s_3s_3s_3s");
  EXPECT_EQ(KvSharingSpec::Parse("00_01s_1/1_02/01*002").ToString(), "0_1s_1_2/1_2/1");
  EXPECT_EQ(KvSharingSpec::Parse("0_0/1s*1").ToString(), "0_0/1s");
  EXPECT_EQ(KvSharingSpec(3).ToString(), "0_1_2");
}

TEST(KvSharingSpec, TextRoundTrips) {
  Random random(1);
  for (int i = 0; i < 2000; ++i) {
    const KvSharingSpec spec = RandomSpec(random, 40);
    EXPECT_EQ(KvSharingSpec::Parse(spec.ToString()), spec) << spec.ToString();
    if (spec.symmetric()) {
      EXPECT_EQ(KvSharingSpec::ParseLayerTypes(spec.ToString(), spec.num_layers()), spec);
    }
  }
}

TEST(KvSharingSpec, ChecksParseThenCountThenRange) {
  EXPECT_EQ(StageOf("0_x_9", 2), "parse");
  EXPECT_EQ(StageOf("0_9", 3), "count");
  EXPECT_EQ(StageOf("0_9", 2), "range");
  EXPECT_EQ(StageOf("0_9", std::nullopt), "range");
  EXPECT_EQ(StageOf("0_1/2", std::nullopt), "range");
}

TEST(KvSharingSpec, RefusesWhatIsNoEntry) {
  for (const char* text :
       {"",   "_",  "0_",  "_0",   "0__1", "s",     "0ss", "0S",      "+0",   "-0",
        " 0", "0 ", "0\n", "0.0",  "0,0",  "0/",    "/0",  "0//0",    "0s/0", "0/0/0",
        "0*", "*1", "0*0", "0*-1", "0*1s", "0*1*1", "0x",  "\xd9\xa0"}) {
    EXPECT_EQ(StageOf(text, std::nullopt), "parse") << text;
  }
}

TEST(KvSharingSpec, BoundsItsSize) {
  EXPECT_EQ(KvSharingSpec::Parse("0*4096").num_layers(), 4096);
  EXPECT_EQ(StageOf("0*4097", std::nullopt), "count");
  EXPECT_EQ(StageOf("0_0*99999999999999999999999999", std::nullopt), "count");
  EXPECT_EQ(StageOf("0_99999999999999999999999999", std::nullopt), "range");
  EXPECT_EQ(StageOf("0_18446744073709551616", 2), "range");
  EXPECT_EQ(StageOf("0*2000_0*2000_0*97", std::nullopt), "count");
  EXPECT_EQ(StageOf("0", 0), "count");
  EXPECT_EQ(StageOf("0", -1), "count");
}

TEST(KvSharingSpec, MessagesNameTheLayer) {
  EXPECT_EQ(ErrorOf([] { KvSharingSpec::Parse("0_6_6", 8, "--set model.kv_sharing=0_6_6"); }),
            "2: --set model.kv_sharing=0_6_6: 'model.kv_sharing' has 3 entries but the model has 8 "
            "layers");
  EXPECT_EQ(ErrorOf([] { KvSharingSpec::Parse("0_1_9_3*5"); }),
            "2: layer 2 reads the KVs of layer 9, but the model has layers 0 to 7");
  EXPECT_EQ(ErrorOf([] { KvSharingSpec::Parse("0_0/2"); }),
            "2: layer 1 reads the values of layer 2, but the model has layers 0 to 1");
  EXPECT_THAT(ErrorOf([] { KvSharingSpec::Parse("0*3_1t"); }),
              HasSubstr("the entry of layer 3 is '1t'"));
  EXPECT_THAT(ErrorOf([] { KvSharingSpec::Parse("0_" + std::string(5000, '\x01')); }),
              HasSubstr("'????????????????????????????????????????...'"));
}

TEST(KvSharingSpec, ImportedLayerTypesTakeNoExtensions) {
  EXPECT_EQ(KvSharingSpec::ParseLayerTypes("00_1s_1", 3).ToString(), "0_1s_1");
  for (const char* text : {"0*2", "0_0/0", "0_0/1"}) {
    EXPECT_THAT(ErrorOf([&] { KvSharingSpec::ParseLayerTypes(text, 2); }),
                HasSubstr("'layer_types': the entry of layer "))
        << text;
  }
}

TEST(KvSharingSpec, WarnsOfWhatWorksBadly) {
  EXPECT_THAT(Warnings(KvSharingSpec::Parse("0_4*6_7")), IsEmpty());
  EXPECT_THAT(Warnings(KvSharingSpec::Parse("1_1")), ElementsAre(HasSubstr("layer 0 owns no KVs")));
  EXPECT_THAT(Warnings(KvSharingSpec::Parse("0s_0")),
              ElementsAre(HasSubstr("layer 1 has full attention but reads KVs of layer 0")));
}

TEST(KvSharingSpec, RefusesEveryRejectedRowAtItsStage) {
  const std::string path = JoinPath(GoldensRoot(), "kv/plans.json");
  if (!FileExists(path)) GTEST_SKIP() << "no kv/plans.json";
  const Json document = ReadJsonFile(path);
  ASSERT_FALSE(document.at("rejected").empty());
  for (const Json& row : document.at("rejected")) {
    const std::string text = row.at("layer_types");
    const int64_t num_layers = row.at("num_hidden_layers");
    EXPECT_EQ(StageOf(text, num_layers), row.at("stage")) << text;
    EXPECT_EQ(StageOfRead([&] { KvSharingSpec::ParseLayerTypes(text, num_layers); }),
              row.at("stage"))
        << text;
  }
}

}  // namespace
}  // namespace ckv
