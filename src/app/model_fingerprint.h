// What tells two models apart: their weights, config and tokenizer.
#pragma once

#include <cstdint>

#include "app/load_model.h"

namespace ckv {

// A hash of the folder's config.json, of the bytes of the weights that were loaded, and of the
// tokenizer. Throws IoError.
uint64_t ModelFingerprint(const LoadedModel& model);

}  // namespace ckv
