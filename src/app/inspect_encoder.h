// What `ckv inspect` says of an encoder: its parameters, what a word costs, and a picture of the
// random field and of the iterations.
#pragma once

#include <cstdint>
#include <string>

#include "app/encoder_run.h"
#include "base/json.h"

namespace ckv {

// Every number, for sentences of `words` words. `vocabulary` 0: not known, as long as no data have
// been read. Throws ConfigError for words < 1.
OrderedJson InspectEncoderJson(const EncoderRun& run, int64_t vocabulary, int64_t words);

// For people; `json` is what InspectEncoderJson gave for the same run. `ascii`: without other
// characters than ASCII's.
std::string InspectEncoderText(const EncoderRun& run, const OrderedJson& json, bool ascii);

// The factors around one pair of words, as a self-contained SVG file. Throws ConfigError for the
// baseline, which has no random field.
std::string FactorGraphSvg(const EncoderRun& run, const std::string& title);

}  // namespace ckv
