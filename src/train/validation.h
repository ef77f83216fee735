// Loss, perplexity and next-token accuracy of a decoder over a finite source.
#pragma once

#include <cstdint>

#include "data/source.h"
#include "dist/group.h"
#include "model/decoder.h"

namespace ckv {

struct ValidationResult {
  double loss = 0.0;      // mean negative log-likelihood a target, nats
  double accuracy = 0.0;  // share of targets that have the largest logit
  int64_t targets = 0;

  double perplexity() const;
};

// Runs the decoder in evaluation mode over what is left of `source`, on all ranks of `group` each
// its rows; nullptr = this process is alone.
ValidationResult Validate(Decoder& decoder, const DecoderRun& run, DataSource& source,
                          const at::Device& device, CommGroup* group = nullptr);

}  // namespace ckv
