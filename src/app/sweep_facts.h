// What a point of a sweep is and costs, from its training configuration.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "app/train_run.h"
#include "sweep/points.h"

namespace ckv {

class PointDescriber {
 public:
  // `config`: the training run's file. Throws ConfigError, or IoError if it cannot be read.
  explicit PointDescriber(std::string config)
      : config_(std::move(config)), tree_(LoadConfig(config_)) {}

  // Throws ConfigError. Without the data's tokenizer the vocabulary is not known; then
  // vocabulary_known() is false and counts leave it out.
  PointFacts Describe(const std::vector<std::string>& sets);

  bool vocabulary_known() const { return vocabulary_known_; }

 private:
  int64_t VocabularyOf(const TrainRun& run);

  std::string config_;
  ConfigValue tree_;                             // of the file, which is read once
  std::map<std::string, int64_t> vocabularies_;  // by tokenizer
  bool vocabulary_known_ = true;
};

}  // namespace ckv
