// A whole training run of an encoder: data, model, trainer, development score, test figures.
#pragma once

#include <string>
#include <vector>

#include "app/encoder_run.h"
#include "base/json.h"

namespace ckv {

// As RunTraining: trains, or goes on, until the run is complete, and returns its result.json.
OrderedJson RunEncoderTraining(EncoderRun run, const std::vector<std::string>& arguments);

// Figures as JSON; COGS's kinds under "by_kind".
OrderedJson FiguresJson(const SentenceFigures& figures);
// For people, one figure a line.
std::string DescribeFigures(const SentenceFigures& figures);

}  // namespace ckv
