// Sharing out a decoder's training among ranks.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "dist/config.h"
#include "dist/group.h"
#include "model/decoder.h"
#include "train/adamw.h"
#include "train/data_parallel.h"

namespace ckv {

struct ShareOptions {
  DistConfig dist;
  OptimConfig optim;
  at::ScalarType type = at::kFloat;
  // Draws the weights, parameter by parameter; nullopt: the model has its weights.
  std::optional<uint64_t> seed;
};

struct SharedModel {
  std::unique_ptr<DataParallel> parallel;
  std::unique_ptr<AdamW> optimizer;  // of what this rank owns, with norms over all ranks
};

// Moves the model to the group's device and divides it and its optimizer among the ranks, on which
// it must be equal. The result must live as long as the model is used.
SharedModel ShareModel(Decoder& model, CommGroup& group, const ShareOptions& options);

}  // namespace ckv
