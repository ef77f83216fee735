// A whole training run: builds the parts that a TrainRun names, goes on where the run's folder
// stands, trains, and leaves metrics, checkpoints and the result there.
#pragma once

#include <string>
#include <vector>

#include "app/train_run.h"
#include "base/json.h"

namespace ckv {

// Trains, or goes on, until the run is complete, and returns its result.json. A run that is
// complete is left as it is. `arguments`: the command line, for the record. As one of several ranks
// (dist/launch.h) it works with the others; ranks but the first get null.
//
// Throws what the parts throw; Interrupted when a signal stopped the run after saving.
OrderedJson RunTraining(TrainRun run, const std::vector<std::string>& arguments);

// The result for people.
std::string DescribeTraining(const OrderedJson& result);

}  // namespace ckv
