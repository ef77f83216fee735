// Sharing out a decoder's training among ranks.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "dist/config.h"
#include "dist/group.h"
#include "model/decoder.h"
#include "train/adamw.h"
#include "train/data_parallel.h"

namespace ckv {

using FillParameter = std::function<void(const std::string& name, const Tensor& parameter)>;

struct ShareOptions {
  DistConfig dist;
  OptimConfig optim;
  at::ScalarType type = at::kFloat;
  bool fused = true;  // as train.fused
  // Gives a parameter its value, equal on all ranks; called for each in the model's order right
  // before it is moved: what a rank does not keep it never holds. Empty: they have theirs.
  FillParameter fill;
};

struct SharedModel {
  std::unique_ptr<DataParallel> parallel;
  std::unique_ptr<AdamW> optimizer;  // of what this rank owns, with norms over all ranks
};

// Moves the model to the group's device and divides it and its optimizer among the ranks, on which
// it must be equal. The result must live as long as the model is used.
SharedModel ShareModel(Decoder& model, CommGroup& group, const ShareOptions& options);

}  // namespace ckv
