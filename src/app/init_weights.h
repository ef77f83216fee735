// `init_from`: fresh training that starts from the weights of another model.
#pragma once

#include <string>

#include "model/decoder.h"

namespace ckv {

// Copies the weights of a run (its best checkpoint, else the latest), a checkpoint or a Hugging
// Face folder. Key and value projections that this model has no use for are left out; rows of the
// embedding that a grown vocabulary adds keep their fresh values. Throws FormatError for weights
// that do not fit.
void InitializeFrom(const std::string& path, DecoderImpl& model);

// The folder with config.json and weights that `path` stands for: a run's best checkpoint, else its
// latest, or `path` itself.
std::string CheckpointOf(const std::string& path);

}  // namespace ckv
