// What a run that starts from the weights of another model must have in common with it.
#pragma once

#include <string>

#include "model/decoder.h"
#include "text/tokenizer.h"

namespace ckv {

// Compares the model in `folder`, the run's `init_from`, with the run's own. Throws ConfigError for
// what would give the same numbers another meaning: heads of another size, or a head of its own
// that tied embeddings have no place for. Warns of other mathematics (rotation, activation,
// epsilon, hidden own positions) and of a vocabulary whose first entries are not those of the
// model; says by how much the vocabulary grows. Sharing, passes and dropout may differ.
// `tokenizer`: of the run, nullptr if it has none.
void CheckInitFrom(const std::string& folder, const DecoderConfig& target,
                   const Tokenizer* tokenizer);

}  // namespace ckv
