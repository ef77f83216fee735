// Beam search: the continuations of the highest score that a search of limited width finds.
//
// The score of a continuation is the sum of its tokens' log-probabilities (a stop id included) over
// its length to the power of `length_penalty` (Wu et al. 2016's idea in Hugging Face's form). Each
// step looks at all continuations of all beams; those that end are set aside, the best of the
// others go on. The search ends when nothing that goes on can still beat what is set aside, so with
// as many beams as there are sequences it is exhaustive.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "gen/generation.h"
#include "model/decoder.h"

namespace ckv {

struct BeamOptions {
  int64_t num_beams = 4;
  int64_t num_results = 1;      // at most num_beams
  double length_penalty = 1.0;  // above 0 favours long continuations, below 0 short ones
  int64_t max_new_tokens = 128;
  std::vector<int32_t> stop_ids;
  int64_t num_ids = 0;  // only ids below are chosen; 0 = the model's vocabulary
  DecoderRun prefill;   // how the prompt is run; without cache
  // Whether a continuation ends with its last token for another reason than a stop id (a stop
  // string). May be empty.
  std::function<bool(const std::vector<int32_t>& tokens)> is_complete;

  // Throws ConfigError, naming the option as `ckv generate` calls it.
  void Check() const;
};

struct BeamResult {
  Generation generation;
  double score = 0.0;
};

// The `num_results` best continuations of a prompt, best first; fewer if there are fewer. Beams are
// the rows of one cache. Puts the decoder into evaluation mode. Throws what Generate throws.
std::vector<BeamResult> BeamSearch(Decoder& decoder, const std::vector<int32_t>& prompt,
                                   const BeamOptions& options);

}  // namespace ckv
