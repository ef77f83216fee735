#include "data/config.h"

#include <gtest/gtest.h>

#include "tests/temp_dir.h"

namespace ckv {
namespace {

ConfigValue PartOfMixture(const std::string& path, const std::string& weight) {
  ConfigValue item = ConfigValue::Map({{"path", ConfigValue::Scalar(path)}});
  if (!weight.empty()) item.entries().push_back({"weight", ConfigValue::Scalar(weight)});
  return item;
}

TEST(DataConfig, TakesOnePathOrAMixture) {
  DataConfig config;
  config.train = ConfigValue::Scalar("a");
  ASSERT_EQ(config.TrainDatasets().size(), 1u);
  EXPECT_EQ(config.TrainDatasets()[0].path, "a");
  EXPECT_EQ(config.TrainDatasets()[0].weight, 1.0);
  config.train = ConfigValue::List({ConfigValue::Scalar("a"), PartOfMixture("b", "0.25")});
  ASSERT_EQ(config.TrainDatasets().size(), 2u);
  EXPECT_EQ(config.TrainDatasets()[1].path, "b");
  EXPECT_EQ(config.TrainDatasets()[1].weight, 0.25);
}

TEST(DataConfig, SaysWhatIsWrongWithAMixture) {
  DataConfig config;
  const auto error = [&](ConfigValue value) {
    config.train = std::move(value);
    config.train.set_origin("a.yaml:3:10");
    return ErrorOf([&] { config.TrainDatasets(); });
  };
  EXPECT_EQ(
      error(ConfigValue()),
      "2: a.yaml:3:10: 'data.train' is not given; name a folder that 'ckv data prepare' wrote");
  EXPECT_EQ(
      error(ConfigValue::List()),
      "2: a.yaml:3:10: 'data.train' is not given; name a folder that 'ckv data prepare' wrote");
  EXPECT_EQ(error(ConfigValue::Map()), "2: a.yaml:3:10: 'data.train' has an entry without a path");
  EXPECT_EQ(error(ConfigValue::List({PartOfMixture("b", "0")})),
            "2: 'data.train.weight' is 0, but must be > 0");
  EXPECT_EQ(error(ConfigValue::Map({{"pth", ConfigValue::Scalar("b")}})),
            "2: unknown key 'data.train.pth' (path and weight are known)");
}

}  // namespace
}  // namespace ckv
