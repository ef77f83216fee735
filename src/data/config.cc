#include "data/config.h"

#include "base/error.h"

namespace ckv {
namespace {

constexpr char kTrainKey[] = "data.train";

WeightedDataset ParseWeighted(const ConfigValue& value) {
  if (value.kind() == ConfigValue::Kind::kScalar) return {AsString(value, kTrainKey), 1.0};
  if (value.kind() != ConfigValue::Kind::kMap) {
    throw ConfigError(value.origin(), Str("'", kTrainKey, "' has ", value.Describe(),
                                          " where a folder or {path, weight} is needed"));
  }
  WeightedDataset result;
  for (const ConfigValue::Entry& entry : value.entries()) {
    if (entry.first == "path") {
      result.path = AsString(entry.second, "data.train.path");
    } else if (entry.first == "weight") {
      result.weight = AsDouble(entry.second, "data.train.weight");
      if (!(result.weight > 0)) {
        throw ConfigError(entry.second.origin(),
                          Str("'data.train.weight' is ", result.weight, ", but must be > 0"));
      }
    } else {
      throw ConfigError(entry.second.key_origin(), Str("unknown key 'data.train.", entry.first,
                                                       "' (path and weight are known)"));
    }
  }
  if (result.path.empty()) {
    throw ConfigError(value.origin(), Str("'", kTrainKey, "' has an entry without a path"));
  }
  return result;
}

}  // namespace

std::vector<WeightedDataset> DataConfig::TrainDatasets() const {
  if (train.is_null() || (train.kind() == ConfigValue::Kind::kList && train.items().empty())) {
    throw ConfigError(train.origin(), Str("'", kTrainKey,
                                          "' is not given; name a folder that 'ckv data prepare' "
                                          "wrote"));
  }
  std::vector<WeightedDataset> datasets;
  if (train.kind() == ConfigValue::Kind::kList) {
    for (const ConfigValue& item : train.items()) datasets.push_back(ParseWeighted(item));
  } else {
    datasets.push_back(ParseWeighted(train));
  }
  return datasets;
}

}  // namespace ckv
